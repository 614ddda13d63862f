"""Quantization-aware training, a module per concern; `stages/train.py` puts them in order."""
