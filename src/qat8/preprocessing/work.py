"""One chunk: decode, resize, crop, normalise, write. Runs in the process that owns a core."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import datafile, imaging
from qat8.checksum import crc32
from qat8.preprocessing.listing import Chunk


@dataclass(frozen=True)
class Target:
    """Where the images go: any worker writes its own rows of `file`, so that none waits for another."""

    file: Path
    header: datafile.Header
    spec: imaging.Preprocessing  # says mean and std for a raw file, too


@dataclass(frozen=True)
class Done:
    index: int
    digest: str
    images: int
    crcs: list[int]  # CRC-32 of each image's bytes in the file


def preprocess(chunk: Chunk, target: Target) -> Done:
    """Raises:
    DataError: an image that is missing or unreadable; it is named.
    """
    return store(chunk, (imaging.preprocess(path, target.spec) for path in chunk.paths), target)


def store(chunk: Chunk, images, target: Target) -> Done:
    """Write uint8 [3, H, W] images to the chunk's rows, in the file's dtype."""
    h, crcs = target.header, []
    buffer = np.empty((datafile.CHANNELS, h.height, h.width), h.dtype)
    file = os.open(target.file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for row, image in enumerate(images, chunk.first):
            if h.dtype == datafile.DTYPES[1]:
                image = datafile.normalise(image, target.spec.mean, target.spec.std, out=buffer)
            crcs.append(crc32(image))
            write_at(file, memoryview(image).cast("B"), h.images_offset + row * h.image_bytes)
    finally:
        os.close(file)
    return Done(chunk.index, chunk.digest, len(crcs), crcs)


def write_at(file: int, data, offset: int) -> None:
    """All of `data`: the kernel may take less at a time, on a full disk for example."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
