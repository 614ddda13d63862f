"""Which of the host's paths a stage's command line names, and how its container gets them: under the same names.

`data/` is always there, writable. A flag that names an input outside of it brings that path read-only; one that names
an output brings the output's directory, because an artifact is renamed into its place.

A symbolic link leads where it leads on the host, because what it names is mounted, too: read-only, but for the links
that stand in `data/` itself (`data/models -> /big/models`), which are places to write to as on the host.
"""

from __future__ import annotations

import os
from pathlib import Path

from qat8 import artifacts
from qat8.containers import rights
from qat8.containers.container import Bind
from qat8.errors import UsageError

READ = frozenset(("data-dir", "label-list", "pretrained-model", "config-file", "qat-model-path", "check-data",
                  "archive", "fp32-model", "int8-model", "data-file", "results", "beside", "file",
                  "model-path"))  # fmt: skip
WRITTEN = frozenset(("output-dir", "output-file", "save-float32-qat-dir", "int8-model-save-path", "output"))
# Mounting over these would hide what the image has there.
SYSTEM = frozenset(map(Path, ("/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/opt", "/opt/qat8", "/proc", "/run",
                              "/sbin", "/sys", "/tmp", "/usr", "/var")))  # fmt: skip
# Below these is nothing that an artifact has a link to for a good reason: the system's state, users' keys.
CLOSED = frozenset(map(Path, ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/run")))
KEYS = frozenset((".aws", ".docker", ".gnupg", ".kube", ".ssh"))
MOST = 64  # mounts of a container


def binds(argv: list[str]) -> list[Bind]:
    """`data/`, what the flags name and what symbolic links below them name, parents before children; the container's
    user is given its rights on them (`rights.grant`).

    Raises:
        UsageError: an output whose nearest existing directory is the system's, links that cannot be followed, or what
            the container's user may not use.
    """
    data = _absolute(artifacts.DATA)
    data.mkdir(parents=True, exist_ok=True)
    found = {data: True}
    outputs = _flags(argv, found)
    linked = set(found)
    for path in list(found):
        _links(path, data, found)
    whole = [data, *(path for path in found if found[path] and path not in linked)]
    rights.grant(whole, outputs, [path for path, writable in found.items() if not writable])
    return [Bind(p, writable) for p, writable in sorted(found.items()) if not _covered(p, writable, found)]


def _flags(argv: list[str], found: dict[Path, bool]) -> list[tuple[Path, Path]]:
    """Add what flags name; the outputs among them that lie outside of data/, each with its directory."""
    outputs = []
    for name, value in map(_split, argv):
        if not value:
            continue
        path = _absolute(value)
        if name in WRITTEN:
            directory = _existing(path.parent)
            if directory in SYSTEM:
                raise UsageError(f"--{name}={value}: a container cannot write to {directory}",
                                 "a directory of yours", "make one and name a path in it")  # fmt: skip
            if not _covered(path, True, found):
                outputs.append((path, directory))
            found[directory] = True
        elif (name in READ or not name) and path.exists() and path not in SYSTEM:
            found.setdefault(path, False)
    return outputs


def _links(top: Path, data: Path, found: dict[Path, bool]) -> None:
    """Add what the links below `top` name, and the links below that. One that leads nowhere is the stage's matter."""
    if not top.is_dir():
        return
    for directory, names, files in os.walk(top):
        for path in (
            Path(directory, name) for name in (*names, *files) if os.path.islink(os.path.join(directory, name))
        ):
            # The link's own words, not the end of the chain: a container knows only names that are mounted.
            target = _absolute(path.parent / os.readlink(path))
            if not target.exists() or target in found or _covered(target, False, found):
                continue
            if _forbidden(target) or len(found) >= MOST:
                raise UsageError(
                    f"{path} is a link to {target}, which a container cannot have"
                    + (f": there are more than {MOST} such links" if not _forbidden(target) else ""),
                    "links to directories that are not the system's", "link one directory, or use --runtime=local",
                )  # fmt: skip
            found[target] = path.parent == data and target.is_dir()
            _links(target, data, found)


def _forbidden(target: Path) -> bool:
    """The system's own, a user's keys, a device or a socket, such as the engine's. The end of a chain of links counts
    as well as its next member."""
    real = target.resolve()
    return (
        bool({target, real} & SYSTEM)
        or any(top in path.parents for path in (target, real) for top in CLOSED)
        or bool(KEYS & {*target.parts, *real.parts})
        or not (target.is_dir() or target.is_file())
    )


def _split(argument: str) -> tuple[str, str]:
    """`--data_dir=X` -> ("data-dir", X); a positional argument has an empty name."""
    if not argument.startswith("--"):
        return "", argument
    name, _, value = argument[2:].partition("=")
    return name.replace("_", "-"), value


def _absolute(path: str | Path) -> Path:
    # Not resolved: the container must see it under the name that the stage is given.
    return Path(os.path.abspath(path))


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path


def _covered(path: Path, writable: bool, found: dict[Path, bool]) -> bool:
    """Whether a directory above is mounted with the same rights or more."""
    return any(parent in found and (found[parent] or not writable) for parent in path.parents)
