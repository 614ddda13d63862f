"""A data file's header: what the file says of itself, to bytes and back, checked; see the package for the format."""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8.checksum import crc32
from qat8.errors import DataError

MAGIC = b"QAT8DATA"
VERSION = 1
HEADER_BYTES = 4088
FIXED_BYTES = 88  # up to the fingerprint
MAX_FINGERPRINT = HEADER_BYTES - FIXED_BYTES - 4
_HEADER = struct.Struct("<8sIIQ8I3f3fQ")
DTYPES = {1: np.dtype("<f4"), 2: np.dtype("u1")}
CHANNELS = 3
MAX_SIDE = 4096


@dataclass(frozen=True)
class Header:
    """What a data file says of itself. `mean` and `std` are of values in [0, 1], in RGB order; None in a raw file."""

    count: int
    height: int
    width: int
    dtype: np.dtype
    classes: int
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    fingerprint: dict | None = None
    labels_crc: int = 0
    trailer_crc: int = 0
    raw: bool = False

    @property
    def image_bytes(self) -> int:
        return CHANNELS * self.height * self.width * self.dtype.itemsize

    @property
    def images_offset(self) -> int:
        return 8 if self.raw else HEADER_BYTES + 8

    @property
    def labels_offset(self) -> int:
        return self.images_offset + self.count * self.image_bytes

    @property
    def file_bytes(self) -> int:
        return self.labels_offset + self.count * (8 if self.raw else 12)


def encode_header(h: Header) -> bytes:
    """The header's 4,088 bytes, with its CRC-32."""
    text = json.dumps(h.fingerprint or {}, sort_keys=True).encode()
    if len(text) > MAX_FINGERPRINT:
        raise DataError(f"the preprocessing fingerprint takes {len(text)} bytes", f"at most {MAX_FINGERPRINT}")
    code = next(code for code, dtype in DTYPES.items() if dtype == h.dtype)
    fixed = _HEADER.pack(
        MAGIC, VERSION, HEADER_BYTES, h.count, CHANNELS, h.height, h.width, code, h.classes, h.labels_crc,
        h.trailer_crc, len(text), *h.mean, *h.std, h.file_bytes,
    )  # fmt: skip
    body = (fixed + text).ljust(HEADER_BYTES - 4, b"\0")
    return body + struct.pack("<I", crc32(body))


def _decode_header(block: bytes, path: Path) -> Header:
    if len(block) < HEADER_BYTES:
        raise DataError(f"{path}: {len(block)} bytes", f"at least {HEADER_BYTES}", "preprocess the images again")
    fields = _HEADER.unpack_from(block)
    _, version, size, count, channels, height, width, code, classes, labels_crc, trailer_crc, length = fields[:12]
    mean, std = fields[12:15], fields[15:18]
    if version != VERSION or size != HEADER_BYTES:
        raise DataError(f"{path}: data file version {version}", f"version {VERSION}", "preprocess the images again")
    if struct.unpack_from("<I", block, HEADER_BYTES - 4)[0] != crc32(block[: HEADER_BYTES - 4]):
        raise DataError(f"{path}: the header's CRC-32 is wrong", "an undamaged file", "preprocess the images again")
    if channels != CHANNELS or code not in DTYPES or not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise DataError(f"{path}: {channels} channels, {height} x {width}, dtype {code}", "3 channels, dtype 1 or 2")
    if length > MAX_FINGERPRINT:
        raise DataError(f"{path}: fingerprint of {length} bytes", f"at most {MAX_FINGERPRINT}")
    if not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise DataError(f"{path}: mean {mean}, std {std}", "finite numbers, std over 0")
    try:
        fingerprint = json.loads(block[FIXED_BYTES : FIXED_BYTES + length])
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: the preprocessing fingerprint is not JSON: {e}") from e
    if not isinstance(fingerprint, dict):
        raise DataError(f"{path}: the preprocessing fingerprint is not a JSON object")
    header = Header(count, height, width, DTYPES[code], classes, mean, std, fingerprint, labels_crc, trailer_crc)
    if fields[18] != header.file_bytes:
        raise DataError(f"{path}: {count} images in {fields[18]} bytes, as its header says", str(header.file_bytes))
    return header


def read_header(path: Path, data_dim: int = 224, classes: int = 1000) -> Header:
    """Read and check the header; for a raw file, `data_dim` (pixels) and `classes` are what the caller says they are.

    Raises:
        DataError: missing, truncated, damaged or longer than its header says.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: not a regular file", "a data file", "`inv preprocess` writes one")
        size = status.st_size
        with open(path, "rb") as f:
            block = f.read(HEADER_BYTES)
            count_again = f.read(8)
    except OSError as e:
        raise DataError(f"{path}: {e.strerror}", "a data file", "`inv preprocess` writes one") from e
    if len(block) < 8:
        raise DataError(f"{path}: {size} bytes", "a data file", "`inv preprocess` writes one")
    if block[:8] == MAGIC:
        header = _decode_header(block, path)
        if count_again != struct.pack("<Q", header.count):
            raise DataError(f"{path}: the payload's number of images is damaged", str(header.count))
    else:
        count = struct.unpack_from("<q", block)[0]
        header = Header(max(count, 0), data_dim, data_dim, DTYPES[1], classes, raw=True)
    if header.count < 1 or header.file_bytes != size:
        kind = f"raw data file of {data_dim} x {data_dim} images" if header.raw else "data file"
        raise DataError(
            f"{path}: {size} bytes", f"{header.file_bytes} for a {kind} with {header.count} images",
            "the file is truncated or not a data file; preprocess the images again",
        )  # fmt: skip
    return header
