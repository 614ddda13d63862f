"""Reads a data file of either layout, image by image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from qat8.checksum import crc32
from qat8.datafile.header import CHANNELS, DTYPES, read_header
from qat8.datafile.pixels import normalise
from qat8.errors import DataError


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
