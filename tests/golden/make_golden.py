"""Makes the golden data files beside it: `python make_golden.py`.

It follows the format's description (docstring of src/qat8/datafile) with `struct` and `zlib` alone, so that it
agrees with the writer and the two readers only if all of them agree with the description. Three images of 8 x 8 pixels.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

HERE = Path(__file__).parent
COUNT, SIDE, CLASSES = 3, 8, 10
LABELS = [7, 0, 9]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINGERPRINT = b'{"resize": 256, "what": "golden file"}'


def pixel(image: int, channel: int, y: int, x: int) -> int:
    """Any uint8; 0 and 255 occur."""
    return (97 * image + 51 * channel + 32 * y + 4 * x + x * y) % 256


def float32(value: float) -> float:
    """Rounds to float32. A sum or quotient of two float32 computed in double and rounded so is the float32 result."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def normalised(level: int, channel: int) -> float:
    scaled = float32(level / 255.0)
    shifted = float32(scaled - float32(MEAN[channel]))
    return float32(shifted / float32(STD[channel]))


def planes(image: int) -> list[int]:
    return [pixel(image, c, y, x) for c in range(3) for y in range(SIDE) for x in range(SIDE)]


def float_planes(image: int) -> list[float]:
    return [normalised(level, i // SIDE**2) for i, level in enumerate(planes(image))]


def image_bytes(image: int, dtype: int) -> bytes:
    if dtype == 1:
        return struct.pack(f"<{3 * SIDE**2}f", *float_planes(image))
    return bytes(planes(image))


def payload(dtype: int) -> bytes:
    images = b"".join(image_bytes(i, dtype) for i in range(COUNT))
    return struct.pack("<q", COUNT) + images + struct.pack(f"<{COUNT}q", *LABELS)


def qat8_file(dtype: int) -> bytes:
    labels = struct.pack(f"<{COUNT}q", *LABELS)
    trailer = b"".join(struct.pack("<I", zlib.crc32(image_bytes(i, dtype))) for i in range(COUNT))
    body = payload(dtype)
    header = b"QAT8DATA" + struct.pack("<IIQ", 1, 4088, COUNT) + struct.pack("<4I", 3, SIDE, SIDE, dtype)
    header += struct.pack("<4I", CLASSES, zlib.crc32(labels), zlib.crc32(trailer), len(FINGERPRINT))
    header += struct.pack("<6f", *MEAN, *STD) + struct.pack("<Q", 4088 + len(body) + len(trailer))
    header = (header + FINGERPRINT).ljust(4084, b"\0")
    return header + struct.pack("<I", zlib.crc32(header)) + body + trailer


def files() -> dict[str, bytes]:
    return {"raw.bin": payload(1), "float32.bin": qat8_file(1), "uint8.bin": qat8_file(2)}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content)
