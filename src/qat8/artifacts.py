"""Where artifacts lie and how they come to be: whole or not at all, and by one process at a time.

An artifact is a file or a directory under `data/`. It is written beside its place under a temporary name, brought to
the disk and renamed, so that a reader never sees a half one. What it was made of stands in its manifest (`manifests`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock

from qat8 import signals
from qat8.errors import BusyError, DataError, ModelError
from qat8.older_python import file_digest

SCHEMA = 1
REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("QAT8_DATA", REPOSITORY / "data"))
EMBEDDED = DATA / "dataset" / "embedded"  # the photographs that `inv dataset` unpacks, and their data file
TEMPORARY, MANIFEST = ".tmp-", ".manifest.json"
_LIBC = ctypes.CDLL(None, use_errno=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex; of a directory, over the names and sums of its files but for manifests."""
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.endswith("manifest.json"))
        text = "".join(f"{sha256(p)}  {p.relative_to(path)}\n" for p in files)
        return hashlib.sha256(text.encode()).hexdigest()
    with open(path, "rb") as f:
        return file_digest(f, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _temporary(make: Callable[[], str]) -> Iterator[Path]:
    """What `make` makes is gone when the block has ended; a signal waits while it is made and while it is removed."""
    made: list[Path] = []
    try:
        with signals.deferred():
            made.append(Path(make()))
        yield made[0]
    finally:
        with signals.deferred():
            for path in made:
                _remove(path)


def scratch() -> contextlib.AbstractContextManager[Path]:
    """A directory in $TMPDIR for the block. (tempfile's own is left half removed by a signal that comes just then.)"""
    return _temporary(lambda: tempfile.mkdtemp(prefix="qat8-"))


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path that takes `path`'s place when the block ends well, and is removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    def make() -> str:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}{TEMPORARY}", dir=path.parent)
        os.close(fd)
        return name

    with _temporary(make) as temporary:
        yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)


def require_replaceable(path: Path) -> None:
    """Before the work whose result goes there.

    Raises:
        DataError: `path` is there and holds no manifest: not an artifact, so it is not replaced.
    """
    if path.exists() and not (path / "manifest.json").is_file() and (path.is_file() or any(path.iterdir())):
        raise DataError(f"{path} is there and is no artifact of qat8", "a new directory", "name another one")


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that takes `path`'s place when the block ends well; the old one stays whole until then.

    Raises:
        DataError: `path` is there and holds no manifest: not an artifact, so it is not replaced.
    """
    path = Path(path)
    require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(lambda: tempfile.mkdtemp(prefix=f".{path.name}{TEMPORARY}", dir=path.parent)) as temporary:
        temporary.chmod(0o755)
        yield temporary
        for file in [*temporary.rglob("*"), temporary]:  # itself: it holds the names of what is in it
            sync(file)
        with signals.deferred():
            old = _take_place(temporary, path)
            sync(path.parent)
            _remove(old)


def _take_place(temporary: Path, path: Path) -> Path:
    """Give `temporary` the name `path`; the name that the one before it has now.

    The kernel exchanges the two in one step, so that nobody, after a kill neither, finds nothing in the place of an
    artifact that was there. A file system that cannot (NFS) has a moment between two renames; see `remove_leftovers`.
    """
    if _exchange(temporary, path):
        return temporary
    old = temporary.with_name(temporary.name + "-old")
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    return old


def _exchange(a: Path, b: Path) -> bool:
    """Whether both were there and have each other's name now."""
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if not _LIBC.renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), exchange):
        return True
    code = ctypes.get_errno()
    if code not in (errno.ENOENT, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(code, os.strerror(code), str(b))
    return False


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of an artifact while it is made, and clear what killed runs left beside it.

    Raises:
        BusyError: another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.parent / f".{path.name}.lock", timeout=0)
    try:
        with lock:
            remove_leftovers(path)
            yield
    except filelock.Timeout:
        raise BusyError(f"another run is writing {path}", next_step="wait for it, then run again") from None
    except OSError as e:
        if e.errno and not e.filename:  # a write does not say where: on this disk
            e.filename = str(path)
        raise


def remove_leftovers(path: Path) -> None:
    """Clear what killed runs left beside `path`; only for who holds its lock, or one above it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}{TEMPORARY}*"):
        if left.name.endswith("-old") and not path.exists():  # killed between the two renames
            os.replace(left, path)
        else:
            _remove(left)
    if not path.name.endswith(MANIFEST):
        remove_leftovers(path.with_name(path.name + MANIFEST))  # of a file, whose manifest lies beside it


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def model_files(directory: Path) -> tuple[Path, Path]:
    """The program and the parameters of a saved model, `*.pdmodel` and `*.pdiparams` of one name.

    Raises:
        ModelError: no directory, none or several models in it, or a program without its parameters.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ModelError(f"{directory}: no such directory", "the directory of a saved model")
    programs = sorted(directory.glob("*.pdmodel"))
    if len(programs) != 1:
        raise ModelError(f"{directory} holds {len(programs)} files *.pdmodel", "just one", "name a model's directory")
    parameters = programs[0].with_suffix(".pdiparams")
    if not parameters.is_file():
        raise ModelError(f"{parameters} is missing", "the parameters beside their program", "save the model again")
    return programs[0], parameters


def shown(path: Path) -> str:
    """A path as the user would type it: relative to the working directory when it lies below it."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
