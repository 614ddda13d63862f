"""A disk of a few pages: a tmpfs of our own, which needs root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class mounted:
    """A context in which `path` is the mount point of one that is large enough."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g,nr_inodes=100000", "qat8-faults", self.path], check=True)

    def __exit__(self, *exc) -> None:
        subprocess.run(["umount", "--lazy", self.path], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)


def used(path: Path) -> tuple[int, int]:
    """Bytes and inodes."""
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree
