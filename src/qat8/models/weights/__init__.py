"""Pretrained weights of other tools: a reader per file format, a table of names per layout, and what matched."""
