"""What is measured must be the same at the end as at the beginning: models, data file, testers."""

from __future__ import annotations

import functools
from pathlib import Path

from qat8 import artifacts, manifests
from qat8.errors import DataError

Signature = tuple[tuple[str, int, int, int], ...]


def signature(path: Path) -> Signature:
    """Names, sizes, times and inodes: cheap, and moved by whatever writes, so that 30 GB need not be read again."""
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = ((str(f), f.stat()) for f in files if f.exists() and not f.name.endswith("manifest.json"))
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)


def checksum(path: Path) -> str:
    """`artifacts.sha256`, read anew only when the file was written to since this process last read it."""
    return _checksum(Path(path), signature(path))


@functools.lru_cache
def _checksum(path: Path, _: Signature) -> str:
    return artifacts.sha256(path) if path.exists() else "not there"


def manifest_of(file: Path) -> dict:
    """The manifest of a data file; {} where there is none.

    Raises:
        DataError: it is of another file, and would tell of the wrong images: `inv preprocess` was killed just before it
            gave its file the name, or somebody put another file there.
    """
    manifest = manifests.read(file) or {}
    stated = manifest.get("outputs", {}).get(file.name)
    if stated and stated != checksum(file):
        raise DataError(f"{manifests.path_of(file)} is of another file than {file.name}", f"SHA-256 {stated}",
                        "run inv preprocess again, or remove the manifest of a file of your own")  # fmt: skip
    return manifest
