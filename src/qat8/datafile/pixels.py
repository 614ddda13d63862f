"""uint8 images to what the network takes."""

from __future__ import annotations

import numpy as np


def normalise(image: np.ndarray, mean, std, out: np.ndarray | None = None) -> np.ndarray:
    """uint8 [3, H, W] -> float32 [3, H, W], ``(u / 255 - mean) / std`` with float32 rounding at each step."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (mean, std))
    # The dtype is named: NumPy 1 takes float16 for uint8 and a scalar that float16 can hold.
    result = np.divide(image, np.float32(255), out=out, dtype=np.float32)
    np.subtract(result, mean, out=result)
    return np.divide(result, std, out=result)
