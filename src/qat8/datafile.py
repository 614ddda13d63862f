"""The binary data file: preprocessed images and their labels, written once, read by the C++ and the Python tester.

Two layouts, told apart by the first eight bytes. All numbers are little endian.

**raw**, the tutorial's (section 4.1)::

    int64 N | N x float32[3, H, W] | N x int64 label

**qat8, version 1** (the default): a header of 4,088 bytes, then the very same bytes, then one CRC-32 per image::

    offset  type      field
         0  8 bytes   magic "QAT8DATA"
         8  uint32    version = 1
        12  uint32    header size = 4088 (so that with the payload's int64 N image 0 starts on a page boundary)
        16  uint64    N, number of images (the same number again at 4088, as in the raw layout)
        24  uint32    channels = 3
        28  uint32    height H
        32  uint32    width W
        36  uint32    dtype of the images: 1 = float32 (normalised), 2 = uint8 (as decoded; the reader normalises)
        40  uint32    classes C; every label is in [0, C)
        44  uint32    CRC-32 of the labels (N x 8 bytes)
        48  uint32    CRC-32 of the trailer (N x 4 bytes)
        52  uint32    length L of the fingerprint
        56  3xfloat32 mean, per channel in RGB order, of values in [0, 1]
        68  3xfloat32 std, likewise
        80  uint64    size of the whole file in bytes
        88  L bytes   fingerprint: UTF-8 JSON of the preprocessing (`Fingerprint`); zeros follow it up to 4084
      4084  uint32    CRC-32 of the bytes 0..4083
      4088  payload   int64 N | N x dtype[3, H, W] | N x int64 label
       ...  trailer   N x uint32: CRC-32 of each image's bytes

CRC-32 is zlib's (IEEE 802.3, reflected polynomial 0xEDB88320). Images are planes in RGB order (CHW). A uint8 image u
stands for the float32 image ``(float32(u) / float32(255) - mean) / std``, each step rounded to float32, so that both
dtypes give the same network input bit for bit.

N = 50,000 at 224 x 224 makes a raw file of 30,106,000,008 bytes. Readers read image by image, so memory does not grow
with N; they do not map the file, whose pages would count as the process's memory, and whose shrinking would end it by
SIGBUS. Header, labels and trailer are checked at opening, each image's CRC-32 when it is first read.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Iterator
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


def normalise(image: np.ndarray, mean, std, out: np.ndarray | None = None) -> np.ndarray:
    """uint8 [3, H, W] -> float32 [3, H, W], ``(u / 255 - mean) / std`` with float32 rounding at each step."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (mean, std))
    # The dtype is named: NumPy 1 takes float16 for uint8 and a scalar that float16 can hold.
    result = np.divide(image, np.float32(255), out=out, dtype=np.float32)
    np.subtract(result, mean, out=result)
    return np.divide(result, std, out=result)


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


class Writer:
    """Writes images one by one in a stream; the header comes last, so that an unfinished file has none.

    The caller gives a path of its own (see `artifacts.atomic_file`). Disk-full and other OS errors pass through.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.header = header
        self._file = open(path, "wb")  # noqa: SIM115  (closed by close or abort)
        self._labels: list[int] = []
        self._crcs: list[int] = []
        if not header.raw:
            self._file.write(bytes(HEADER_BYTES))
        self._file.write(struct.pack("<q", header.count))

    def append(self, image: np.ndarray, label: int) -> None:
        """Add one image: [3, H, W] in the header's dtype; `label` in [0, classes)."""
        h = self.header
        if image.shape != (CHANNELS, h.height, h.width) or image.dtype != h.dtype:
            raise ValueError(f"image is {image.dtype}{list(image.shape)}, the file takes {h.dtype}{h.height}x{h.width}")
        if not 0 <= label < h.classes:
            raise DataError(f"label {label}", f"a class number from 0 to {h.classes - 1}")
        data = np.ascontiguousarray(image).tobytes()
        self._file.write(data)
        self._crcs.append(crc32(data))
        self._labels.append(label)

    def close(self) -> None:
        """Write labels, trailer and header, and bring everything to the disk.

        Raises:
            ValueError: another number of images than the header promised.
        """
        h = self.header
        if len(self._labels) != h.count:
            raise ValueError(f"{len(self._labels)} images were written, {h.count} promised")
        labels = np.asarray(self._labels, "<i8").tobytes()
        self._file.write(labels)
        if not h.raw:
            trailer = np.asarray(self._crcs, "<u4").tobytes()
            self._file.write(trailer)
            self._file.seek(0)
            sums = {"labels_crc": crc32(labels), "trailer_crc": crc32(trailer)}
            self._file.write(encode_header(Header(**{**h.__dict__, **sums})))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abort(self) -> None:
        self._file.close()


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


class Reader:
    """Reads a data file of either layout; a context manager.

    `batch(start, n)` gives float32 [n, 3, H, W] and int64 [n]; a uint8 file is normalised on the way.
    """

    def __init__(self, path: Path, data_dim: int = 224, classes: int = 1000) -> None:
        self.path, self.header = Path(path), read_header(Path(path), data_dim, classes)
        h = self.header
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by __exit__)
        raw_labels = self._read(h.labels_offset, 8 * h.count)
        self.labels = np.frombuffer(raw_labels, "<i8")
        if not h.raw:
            trailer = self._read(h.labels_offset + 8 * h.count, 4 * h.count)
            self._crcs = np.frombuffer(trailer, "<u4")
            if crc32(raw_labels) != h.labels_crc or crc32(trailer) != h.trailer_crc:
                raise DataError(f"{path}: labels or trailer are damaged (CRC-32)", "", "preprocess the images again")
        if self.labels.min() < 0 or self.labels.max() >= h.classes:
            bad = int(np.flatnonzero((self.labels < 0) | (self.labels >= h.classes))[0])
            raise DataError(f"{path}: image {bad} has label {self.labels[bad]}", f"0 to {h.classes - 1}")
        self._checked = np.zeros(h.count, bool)

    def __len__(self) -> int:
        return self.header.count

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc) -> None:
        self._file.close()

    def _read(self, offset: int, size: int) -> bytearray:
        data = bytearray(size)
        self._read_into(offset, memoryview(data))
        return data

    def _read_into(self, offset: int, view: memoryview) -> None:
        while view:  # the kernel reads at most 2 GiB at a time
            n = os.preadv(self._file.fileno(), [view], offset)
            if not n:
                raise DataError(f"{self.path}: ends {len(view)} bytes early", "a file that nobody truncates meanwhile")
            view, offset = view[n:], offset + n

    def image(self, i: int) -> np.ndarray:
        """Image `i` as the network takes it: float32 [3, H, W].

        Raises:
            DataError: its bytes do not give the CRC-32 that was written with it.
        """
        h = self.header
        image = np.empty((CHANNELS, h.height, h.width), np.float32)
        self._image_into(i, image)
        return image

    def _image_into(self, i: int, out: np.ndarray) -> None:
        h = self.header
        stored = out if h.dtype == DTYPES[1] else np.empty(out.shape, np.uint8)
        view = memoryview(stored).cast("B")
        self._read_into(h.images_offset + i * h.image_bytes, view)
        if not h.raw and not self._checked[i]:
            if crc32(view) != self._crcs[i]:
                raise DataError(f"{self.path}: image {i} is damaged (CRC-32)", "", "preprocess the images again")
            self._checked[i] = True
        if stored is not out:
            normalise(stored, h.mean, h.std, out=out)

    def batch(self, start: int, n: int, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Images [start, start + n) as far as there are so many, in `out` when it is given, and their labels."""
        h, stop = self.header, min(start + n, len(self))
        shape = (stop - start, CHANNELS, h.height, h.width)
        images = np.empty(shape, np.float32) if out is None else out[: stop - start]
        for i, image in enumerate(images, start):
            self._image_into(i, image)
        return images, self.labels[start:stop]

    def will_read(self, start: int, n: int) -> None:
        """Ask the kernel to fetch these images while others are worked on."""
        h, count = self.header, min(n, len(self) - start)
        if count > 0:
            offset = h.images_offset + start * h.image_bytes
            os.posix_fadvise(self._file.fileno(), offset, count * h.image_bytes, os.POSIX_FADV_WILLNEED)

    def batches(self, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All images in order, `n` at a time; the last batch may be smaller."""
        for start in range(0, len(self), n):
            yield self.batch(start, n)
