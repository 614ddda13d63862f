"""Writes a parameter as Paddle 1.x did, by the description in src/qat8/models/weights/lodtensor.py."""

from __future__ import annotations

import struct

import numpy as np


def encode(array: np.ndarray) -> bytes:
    """float32 of any shape with sides below 128."""
    description = bytes([1 << 3, 5]) + b"".join(bytes([2 << 3, side]) for side in array.shape)
    head = struct.pack("<IQIi", 0, 0, 0, len(description))
    return head + description + np.asarray(array, "<f4").tobytes()
