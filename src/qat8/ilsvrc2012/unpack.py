"""The archive's images -> a directory. Names, kinds and sizes are ours to say: the archive only fills them."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

from qat8.console import Bar
from qat8.errors import DataError
from qat8.ilsvrc2012 import Archive

NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def unpack(archive: Archive, file: Path, directory: Path) -> int:
    """Write what is not there yet, or is not what the archive holds; the bytes of all images.

    tarfile's extraction is not used: a file is written under a name that we have made, from the bytes of a regular
    member; a path, a link, a device or a sparse member is an error.

    Raises:
        DataError: a damaged archive, or a member that is not one of the images, or not each of them once.
    """
    directory.mkdir(parents=True, exist_ok=True)
    seen: set[int] = set()
    total = 0
    try:
        with tarfile.open(file, "r:") as tar, Bar("unpacking", archive.images, unit="images") as bar:
            for member in tar:
                number = _number(member, archive, file)
                if number in seen:
                    raise DataError(f"{file}: {member.name!r} twice", "each image once")
                seen.add(number)
                content = tar.extractfile(member).read()
                if len(content) != member.size:
                    raise DataError(f"{file}: ends within {member.name!r}", "a whole archive")
                _write(directory / archive.name(number), content)
                total += member.size
                tar.members = []  # tarfile keeps every header that it has read
                bar.advance()
    except (tarfile.TarError, EOFError) as e:
        raise DataError(f"{file}: {e}", "a tar file that is not compressed", "fetch it again") from e
    if len(seen) != archive.images:
        raise DataError(f"{file}: {len(seen)} images", f"{archive.images}")
    return total


def _number(member: tarfile.TarInfo, archive: Archive, file: Path) -> int:
    found = NAME.fullmatch(member.name)
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.sparse is not None or not found:
        kind = "a file" if member.isreg() else "a link" if member.issym() or member.islnk() else "no file"
        raise DataError(f"{file}: {member.name[:100]!r} ({kind})", f"regular files {archive.name(1)} and so on alone")
    if not 1 <= int(found[1]) <= archive.images:
        raise DataError(f"{file}: {member.name!r}", f"numbers from 1 to {archive.images}")
    return int(found[1])


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all. One that is there is compared: after a power cut its size alone says nothing."""
    try:
        if not path.is_symlink() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    except OSError:
        pass
    temporary = path.with_name(f".{path.name}")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(content)
    os.replace(temporary, path)
