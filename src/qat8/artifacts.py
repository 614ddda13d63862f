"""Where artifacts lie and how they come to be: whole or not at all, with a manifest that says what they were made of.

An artifact is a file or a directory under `data/`. It is written beside its place under a temporary name, brought to
the disk and renamed, so that a reader never sees a half one. Its manifest (`manifest.json` in a directory,
`NAME.manifest.json` beside a file) holds the stage's configuration and the SHA-256 of every input and output; a stage
whose manifest still fits has nothing to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import filelock

from qat8 import __version__, redact, signals
from qat8.errors import BusyError, DataError, ModelError
from qat8.older_python import file_digest

SCHEMA = 1
REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("QAT8_DATA", REPOSITORY / "data"))
EMBEDDED = DATA / "dataset" / "embedded"  # the photographs that `inv dataset` unpacks, and their data file
TEMPORARY, MANIFEST = ".tmp-", ".manifest.json"
_LIBC = ctypes.CDLL(None, use_errno=True)
_MEMBERS = {"stage": str, "config": dict, "inputs": dict, "outputs": dict}
_MORE = {"preprocessing": dict, "origin": str, "kind": str, "model": str, "left_in_fp32": list, "subsets": (dict, list)}


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


def manifest_path(artifact: Path) -> Path:
    artifact = Path(artifact)
    return artifact / "manifest.json" if artifact.is_dir() else artifact.with_name(artifact.name + MANIFEST)


def write_manifest(target: Path, stage: str, config: dict, inputs: dict[str, str], outputs: dict[str, str], **more):
    """Write the manifest `target`. `inputs` and `outputs` map names to SHA-256 sums; `more` is the stage's own."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"qat8": __version__, "python": sys.version.split()[0]}
    for package in ("paddlepaddle", "paddleslim", "numpy", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    content = {
        "schema": SCHEMA,
        "stage": stage,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *redact.command(sys.argv[1:])],
        "config": config,
        "inputs": inputs,
        "outputs": outputs,
        "versions": versions,
        **more,
    }
    with atomic_file(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")


def read_manifest(artifact: Path) -> dict | None:
    """The manifest of an artifact, or None where there is none (a file that the user made)."""
    path = manifest_path(artifact)
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no file", "a manifest", "remove the artifact and make it again")
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"{manifest_path(artifact)}: {e}", "a manifest", "remove the artifact and make it again") from e
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(f"{manifest_path(artifact)}: not a manifest of schema {SCHEMA}")
    if wrong := _wrong_member(content):
        raise DataError(f"{manifest_path(artifact)}: {wrong} is not what a manifest holds", "a manifest",
                        "remove the artifact and make it again")  # fmt: skip
    return content


def _wrong_member(content: dict) -> str | None:
    """The first member whose type is not what `write_manifest` writes."""
    for name, kind in _MEMBERS.items():
        if not isinstance(content.get(name), kind):
            return name
    if not isinstance(content["config"].get("preprocessing"), (dict, type(None))):
        return "config.preprocessing"
    return next((name for name, kind in _MORE.items() if not isinstance(content.get(name), (kind, type(None)))), None)


def preprocessing_of(model: Path) -> dict | None:
    """The preprocessing that a saved model was trained with, as its manifest says; None where there is no manifest."""
    manifest = read_manifest(model) or {}
    return manifest.get("preprocessing") or manifest.get("config", {}).get("preprocessing")


def is_untrained(model: Path) -> bool:
    """Whether a saved model's weights, or those of its last layer, are random, so that no accuracy may be told of it.

    The configuration of its manifest says so; before 0.1.0 an INT8 model's said it beside the configuration.
    """
    manifest = read_manifest(model) or {}
    return bool(manifest.get("config", {}).get("untrained") or manifest.get("untrained"))


def up_to_date(artifact: Path, stage: str, config: dict, inputs: dict[str, str]) -> bool:
    """Whether `artifact` was made by this stage from just these, and its files still are what they were."""
    try:
        manifest = read_manifest(artifact)
        if manifest is None or manifest["stage"] != stage:
            return False
        base = artifact if artifact.is_dir() else artifact.parent
        same = manifest["config"] == json.loads(json.dumps(config, default=str)) and manifest["inputs"] == inputs
        return same and all(sha256(inside(base, name)) == digest for name, digest in manifest["outputs"].items())
    except (OSError, KeyError, TypeError, AttributeError, DataError):
        return False


def inside(base: Path, name: str) -> Path:
    """The file of an artifact that its manifest names, which is believed to lie nowhere else.

    Raises:
        DataError: an absolute name, `..`, a link that leads out of `base`, or what is no file (to open a pipe or a
            device would wait for ever).
    """
    pure, path = PurePosixPath(name), base / name
    if not name or pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise DataError(f"{base}: its manifest names {name!r}", "files of the artifact", "make it again")
    if path.exists() and not (path.is_file() and path.resolve().is_relative_to(base.resolve())):
        raise DataError(f"{path} leads out of its artifact, or is no file", "files of the artifact", "make it again")
    return path


def outputs_of(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a directory that is about to become an artifact."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {str(p.relative_to(directory)): sha256(p) for p in files}


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
