"""Writes a data file in a stream."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from qat8.checksum import crc32
from qat8.datafile.header import CHANNELS, HEADER_BYTES, Header, encode_header
from qat8.errors import DataError


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
