"""qat8: quantization-aware training to oneDNN INT8, with speed and accuracy proved on the user's own CPU."""

__version__ = "0.1.0"
