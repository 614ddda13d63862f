"""Archives that others made, read without trusting them: nothing that one says decides where a file is written, how
many there are, or how much memory they take.

Names that lead out, links, devices and what unpacks to more than its limit are errors, never left out silently.
Sources for what hostile archives do: CVE-2007-4559 (names and links), CWE-409 (bombs).
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from qat8.errors import DataError

BLOCK = 1 << 20
HEADER = 16 << 20  # bytes of one read that tarfile makes: its long names and PAX headers are read whole
_COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError, NotImplementedError,
           lzma.LZMAError)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How many members an archive may have, and how many bytes when it is unpacked."""

    files: int
    bytes: int


PACKAGE = Limits(20_000, 1 << 30)  # of a package whose files are data
SOURCE = Limits(1_000_000, 20 << 30)  # of a checkout of Paddle with its submodules
RESULT = Limits(1, 256 << 20)  # of a results file that comes out of a container


def members(path: Path, limits: Limits = PACKAGE) -> dict[str, bytes]:
    """The content of every regular file of a zip or tar archive, by its name there.

    Raises:
        DataError: no such archive, a name that leads out or comes twice, a link, a device, or more than `limits`.
    """
    read = _zip if zipfile.is_zipfile(path) else _tar
    try:
        return read(path, limits)
    except _BROKEN as e:
        raise DataError(f"{path}: {e}", "a whole zip or tar archive", "fetch it again") from e


def only_file(stream: BinaryIO, what: str, limits: Limits = RESULT) -> bytes:
    """The content of a tar archive with one regular file, as an engine gives it for a path of a container.

    Raises:
        DataError: something else.
    """
    try:
        with tarfile.open(fileobj=_Bounded(stream, limits.bytes + (1 << 20)), mode="r:") as archive:
            found = list(_checked(archive, what, limits))
            if len(found) != 1 or not found[0].isreg():
                raise DataError(f"{what}: {_kind(found[0]) if found else 'nothing'}", "one regular file")
            return _content(archive, found[0])
    except _BROKEN as e:
        raise DataError(f"{what}: {e}", "a tar archive with one file") from e


def require_source_tree(path: Path, limits: Limits = SOURCE) -> None:
    """A tarball of a checkout may be unpacked by `tar`: one top folder; links lead no higher than that folder.

    Raises:
        DataError: otherwise; the first member at fault is named.
    """
    links: dict[str, str] = {}
    files: set[str] = set()
    tops: set[str] = set()
    try:
        with _open(path, limits) as archive:
            for member in _checked(archive, str(path), limits):
                name = str(PurePosixPath(member.name))
                tops.add(name.partition("/")[0])
                if member.issym():
                    links[name] = _inside(path, name, member.linkname)
                elif member.islnk() and str(PurePosixPath(member.linkname)) not in files:
                    raise _fault(path, name, f"a hard link to {member.linkname[:80]!r}, which is no file before it")
                elif not (member.isreg() or member.isdir() or member.islnk()):
                    raise _fault(path, name, _kind(member))
                files.add(name)
                archive.members = []  # tarfile keeps every header that it has read
    except _BROKEN as e:
        raise DataError(f"{path}: {e}", "a tarball of a checkout") from e
    if len(tops) != 1:
        raise DataError(f"{path}: {len(tops)} folders at its top", "a checkout in one folder")
    for name in files:
        for parent in map(str, PurePosixPath(name).parents):
            if parent in links:
                raise _fault(path, name, f"below the link {parent!r}")


def _inside(path: Path, name: str, target: str) -> str:
    """The target of a link, if it is one that climbs first and stays below the archive's top folder."""
    parts = PurePosixPath(target).parts
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    depth = len(PurePosixPath(name).parts) - 2  # of its folder, below the top one
    if not parts or target.startswith("/") or ".." in parts[climbs:] or climbs > depth:
        raise _fault(path, name, f"a link to {target[:80]!r}, which leads out")
    return target


def _zip(path: Path, limits: Limits) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _require(path, len(entries), sum(entry.file_size for entry in entries), limits)
        found: dict[str, bytes] = {}
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            _require_name(path, entry.orig_filename, found)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _fault(path, entry.filename, "a link or a device")
            if not entry.is_dir():
                found[entry.filename] = archive.read(entry)  # zipfile reads what it announced and checks the CRC
        return found


def _tar(path: Path, limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _open(path, limits) as archive:
        for member in _checked(archive, str(path), limits):
            if member.isdir():
                continue
            if not member.isreg():
                raise _fault(path, member.name, _kind(member))
            _require_name(path, member.name, found)
            found[member.name] = _content(archive, member)
    return found


@contextlib.contextmanager
def _open(path: Path, limits: Limits) -> Iterator[tarfile.TarFile]:
    with open(path, "rb") as file:
        start = file.read(6)
    opener = next((o for magic, o in _COMPRESSED.items() if start.startswith(magic)), open)
    # Headers and padding are bytes as well: 1.5 KB a member.
    with opener(path, "rb") as file:
        bounded = _Bounded(file, limits.bytes + 1536 * limits.files)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield archive


def _checked(archive: tarfile.TarFile, what: str | Path, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """The members, each with a name that leads nowhere else and within the limits."""
    size = 0
    for count, member in enumerate(archive, 1):
        size += member.size
        _require(what, count, size, limits)
        _require_name(what, member.name)
        if member.mode & (stat.S_ISUID | stat.S_ISGID) and not member.isdir():
            raise _fault(what, member.name, "a program that runs as its owner (setuid, setgid)")
        if member.sparse is not None:
            raise _fault(what, member.name, "a sparse file")
        yield member


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = b"".join(iter(lambda: file.read(BLOCK), b""))
    if len(content) != member.size:
        raise tarfile.ReadError(f"ends within {member.name!r}")
    return content


def _require(what: str | Path, count: int, size: int, limits: Limits) -> None:
    if count > limits.files or size > limits.bytes:
        raise DataError(f"{what}: it unpacks to more than it may, {count:,} members, {size:,} bytes so far",
                        f"at most {limits.files:,} and {limits.bytes:,}")  # fmt: skip


def _require_name(what: str | Path, name: str, known: dict | None = None) -> None:
    pure = PurePosixPath(name)
    if not name or name.startswith("/") or ".." in pure.parts or "\0" in name or "\\" in name:
        raise _fault(what, name, "a name that leads out")
    if known and name in known:
        raise _fault(what, name, "a name that comes twice")


def _fault(what: str | Path, name: str, kind: str) -> DataError:
    return DataError(f"{what}: {name[:100]!r} is {kind}", "regular files below the archive's own folder")


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f"a link to {member.linkname[:80]!r}"
    return "a folder" if member.isdir() else "a file" if member.isreg() else "a device or a pipe"


class _Bounded(io.RawIOBase):
    """A file of which no more than `most` bytes are read, and of which no read is larger than a header may be."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > HEADER or size < 0 or self._file.tell() + size > self._most + tarfile.RECORDSIZE:
            raise tarfile.ReadError("it unpacks to more than it may")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > self._most + tarfile.RECORDSIZE:
            raise tarfile.ReadError("it unpacks to more than it may")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
