"""The label list, walked and never held: memory does not grow with the number of images."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qat8 import labels

CHUNK = 16  # images that one worker takes at a time, and that are redone at most when it dies


@dataclass(frozen=True)
class Listing:
    """A label list and the directory that its paths are relative to."""

    data_dir: Path
    label_list: Path
    classes: int

    def entries(self) -> Iterator[tuple[Path, int]]:
        return labels.stream(self.data_dir, self.label_list, self.classes)


@dataclass
class Survey:
    """What a walk over the list found. `digest` changes with every name, size and time of an image that is there."""

    count: int = 0
    missing: list[Path] = field(default_factory=list)
    digest: str = ""


@dataclass(frozen=True)
class Chunk:
    """Consecutive images that are there. `first` is the row of the first in the data file."""

    index: int
    first: int
    paths: list[Path]
    digest: str  # of names, sizes and times: a chunk that is done stays done while these are what they were


def survey(listing: Listing) -> Survey:
    """Walk the list once.

    Raises:
        DataError: no list, or a bad line of it.
    """
    found, digest = Survey(), hashlib.sha256()
    for path, _ in listing.entries():
        state = _state(path)
        if state:
            found.count += 1
            digest.update(state)
        else:
            found.missing.append(path)
    found.digest = digest.hexdigest()
    return found


def present(listing: Listing, missing: list[Path]) -> Iterator[tuple[Path, int]]:
    """The entries but those that the survey missed; what has gone since then is for the decoder to complain of."""
    gone = frozenset(missing)
    return (entry for entry in listing.entries() if entry[0] not in gone)


def chunks(listing: Listing, missing: list[Path]) -> Iterator[Chunk]:
    entries = present(listing, missing)
    for index in itertools.count():
        paths = [path for path, _ in itertools.islice(entries, CHUNK)]
        if not paths:
            return
        states = hashlib.sha256(b"".join(_state(path) or b"gone" for path in paths))
        yield Chunk(index, index * CHUNK, paths, states.hexdigest()[:16])


def _state(path: Path) -> bytes | None:
    """Sizes and times, not contents: hashing 50,000 photographs would cost as much as reading them for real."""
    try:
        status = os.stat(path)  # of what a link leads to: the user laid the link
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):  # a directory, or a FIFO that nobody writes to
        return None
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape")
