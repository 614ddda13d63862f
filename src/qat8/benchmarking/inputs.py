"""What is measured must be the same at the end as at the beginning: models, data file, testers."""

from __future__ import annotations

import functools
from pathlib import Path

from qat8 import artifacts

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
