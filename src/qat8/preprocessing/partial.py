"""The data file while it grows, with a journal of the chunks that are in it: a killed run is gone on with.

Beside `val.bin` lie `.val.bin.partial`, of the final size with holes, and `.val.bin.journal`, text lines:

    {"identity": ..., "chunk": 16}     what the partial file is made of; another identity starts anew
    INDEX DIGEST CRC,CRC,...           this chunk is written
    synced N                           the first N chunk lines' images have reached the disk

After kill -9 the kernel still writes what it was given, so every chunk line holds. After a power cut it may not have:
chunks behind the last `synced` line are compared with their CRC-32 before they count.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from qat8 import datafile
from qat8.checksum import crc32
from qat8.older_python import zip_strict
from qat8.preprocessing.listing import CHUNK, Chunk
from qat8.preprocessing.work import Done, write_at

_LINE = re.compile(rb"(\d{1,18}) ([0-9a-f]{16}) (\d{1,10}(?:,\d{1,10})*)\n")
SYNC_SECONDS = 10.0
_LIBC = ctypes.CDLL(None, use_errno=True)
LABELS_AT_ONCE = 65536


class Partial:
    """Open or start the partial file of `output`; a context manager. `done` counts the images that are in it."""

    def __init__(self, output: Path, header: datafile.Header, identity: str) -> None:
        self.path, self._journal_path = _partial_path(output), _journal_path(output)
        self.header, self._identity = header, identity
        self._digests = np.zeros(-(-header.count // CHUNK), np.uint64)  # 0: not done
        self.done, self._lines, self._last_sync = 0, 0, time.monotonic()
        self._syncing: Future | None = None
        self._first = json.dumps({"identity": identity, "chunk": CHUNK}) + "\n"

    def __enter__(self) -> Partial:
        fresh = not self._read_first()
        if fresh:
            self.remove()
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.truncate(self._file, self.header.file_bytes)
        self._pool = ThreadPoolExecutor(1)  # syncing takes seconds, in which the workers shall have work
        if not fresh:
            self._resume()
        self._journal = open(self._journal_path, "a", encoding="ascii")
        if fresh:
            self._write(self._first)
        return self

    def __exit__(self, *exc) -> None:
        self._pool.shutdown(wait=True)
        self._journal.close()
        os.close(self._file)
        if not self.done and self.path.exists():
            self.remove()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)

    def reserve(self) -> None:
        """Take the file's room on the disk, see `allocate`."""
        allocate(self._file, self.header.file_bytes)

    def has(self, chunk: Chunk) -> bool:
        """Whether the chunk is in the file, made of the images that are there now."""
        return bool(self._digests[chunk.index] == _number(chunk.digest))

    def forget(self, chunk: Chunk) -> int:
        """The chunk is to be done again: how many images fewer are done."""
        images = len(chunk.paths) if self._digests[chunk.index] else 0
        self._digests[chunk.index] = 0
        self.done -= images
        return images

    def record(self, done: Done) -> None:
        """A chunk is written: say so in the journal."""
        self._note(done)
        self._write(f"{done.index} {done.digest} {','.join(map(str, done.crcs))}\n")
        self._lines += 1
        if self._syncing is None and time.monotonic() - self._last_sync > SYNC_SECONDS:
            self._syncing, self._syncing_lines = self._pool.submit(os.fdatasync, self._file), self._lines
        elif self._syncing is not None and self._syncing.done():
            self._syncing.result()  # an error of the disk is an error here
            self._write(f"synced {self._syncing_lines}\n")
            os.fsync(self._journal.fileno())
            self._syncing, self._last_sync = None, time.monotonic()

    def finish(self, labels) -> None:
        """Write labels, trailer's checksum and header, and bring all to the disk; `labels` come in the file's order.

        Raises:
            ValueError: another number of labels or of finished images than the header promises.
        """
        h = self.header
        labels_crc, offset, count = 0, h.labels_offset, 0
        for block in _blocks(labels):
            write_at(self._file, block, offset)
            labels_crc, offset, count = crc32(block, labels_crc), offset + len(block), count + len(block) // 8
        if count != h.count or self.done != h.count:
            raise ValueError(f"{self.done} images and {count} labels, {h.count} promised")
        if not h.raw:
            values = {**h.__dict__, "labels_crc": labels_crc, "trailer_crc": self._trailer_crc()}
            write_at(self._file, datafile.encode_header(datafile.Header(**values)), 0)
        write_at(self._file, h.count.to_bytes(8, "little"), h.images_offset - 8)
        os.fsync(self._file)

    def publish(self, output: Path) -> None:
        os.replace(self.path, output)
        self._journal_path.unlink()
        directory = os.open(output.parent, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def _trailer_crc(self) -> int:
        crc, at, end = 0, self._trailer(0), self._trailer(self.header.count)
        while at < end:
            block = os.pread(self._file, min(1 << 20, end - at), at)
            crc, at = crc32(block, crc), at + len(block)
        return crc

    def _trailer(self, row: int) -> int:
        return self.header.labels_offset + 8 * self.header.count + 4 * row

    def _note(self, done: Done) -> None:
        self._digests[done.index] = _number(done.digest)
        self.done += done.images
        if not self.header.raw:
            write_at(self._file, np.asarray(done.crcs, "<u4").tobytes(), self._trailer(done.index * CHUNK))

    def _write(self, line: str) -> None:
        self._journal.write(line)
        self._journal.flush()

    def _read_first(self) -> bool:
        """Whether there is a partial file of just this identity."""
        try:
            with open(self._journal_path, encoding="ascii") as f:
                return f.readline() == self._first and self.path.stat().st_size == self.header.file_bytes
        except (OSError, UnicodeDecodeError):
            return False

    def _resume(self) -> None:
        synced = whole = 0
        with open(self._journal_path, "rb") as f:
            for line in f:  # the last `synced` line first
                if match := re.fullmatch(rb"synced (\d{1,18})\n", line):
                    synced = int(match[1])
        with open(self._journal_path, "rb") as f:
            for n, line in enumerate(f):
                done = _parse(line) if n else None
                if n and done is None and not line.startswith(b"synced "):
                    break  # a line that was being written
                whole += len(line)
                if done is None:
                    continue
                self._lines += 1
                if self._fits(done) and (self._lines <= synced or self._crcs_hold(done)):
                    if self._digests[done.index]:  # done twice: the image had changed in between
                        self.done -= done.images
                    self._note(done)
        os.truncate(self._journal_path, whole)

    def _fits(self, done: Done) -> bool:
        first = done.index * CHUNK
        return 0 <= first < self.header.count and done.images == min(CHUNK, self.header.count - first)

    def _crcs_hold(self, done: Done) -> bool:
        size = self.header.image_bytes
        start = self.header.images_offset + done.index * CHUNK * size
        images = (os.pread(self._file, size, start + i * size) for i in range(done.images))
        return all(crc32(image) == crc for image, crc in zip_strict(images, done.crcs))


def allocate(file: int, size: int) -> None:
    """Give a file its blocks: nobody else can take them then, and writing to them is faster than to holes.

    Where the file system cannot, nothing happens; os.posix_fallocate would write to each of its blocks instead.

    Raises:
        OSError: no room.
    """
    while _LIBC.fallocate(file, 0, ctypes.c_int64(0), ctypes.c_int64(size)):
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def remove_journal(output: Path) -> None:
    """What is left of a run that was killed when its file had just got its name: a journal of no file."""
    if not _partial_path(output).exists():
        _journal_path(output).unlink(missing_ok=True)


def _partial_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.partial")


def _journal_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.journal")


def _number(digest: str) -> np.uint64:
    return np.uint64(int(digest, 16) | 1)  # never 0


def _parse(line: bytes) -> Done | None:
    match = _LINE.fullmatch(line)
    if not match:
        return None
    index, digest, crcs = match.groups()
    numbers = [int(crc) for crc in crcs.split(b",")]
    return Done(int(index), digest.decode(), len(numbers), numbers) if max(numbers) < 1 << 32 else None


def _blocks(labels):
    block: list[int] = []
    for label in labels:
        block.append(label)
        if len(block) == LABELS_AT_ONCE:
            yield np.asarray(block, "<i8").tobytes()
            block = []
    yield np.asarray(block, "<i8").tobytes()
