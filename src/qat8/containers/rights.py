"""Who a container's process is, and that it may use the paths that it is given. It is never root.

Started by a user, it has the user's ids: what it writes is the user's. Started by root, it has the ids of whom `data/`
belongs to (root by sudo, in a user's checkout). Where that is root, too, it is an id of nobody in root's group, and the
group gets what root may do with `data/` and the outputs; that is how images of OpenShift share files with ids that are
not known before ("Support arbitrary user ids" in its guide for images).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from qat8 import artifacts
from qat8.errors import UsageError

NOBODY = 65532  # "nonroot" of the small base images


def user() -> str:
    """`uid:gid` of a container's process."""
    if os.geteuid():
        return f"{os.geteuid()}:{os.getegid()}"
    owner = os.stat(artifacts.DATA) if artifacts.DATA.exists() else os.stat("/")
    return f"{owner.st_uid}:{owner.st_gid}" if owner.st_uid else f"{NOBODY}:0"


def grant(whole: Iterable[Path], outputs: Iterable[tuple[Path, Path]], inputs: Iterable[Path]) -> None:
    """Let the container of nobody use what is root's; nothing to do for other users.

    Args:
        whole: paths that it writes to: `data/`, and what links in it name.
        outputs: (artifact, the directory that it is renamed into).
        inputs: paths that it reads, whose modes stay as they are.

    Raises:
        UsageError: an input that it cannot read, or an output beside root's keys, which must not become the group's.
    """
    if user() != f"{NOBODY}:0":
        return
    for path in whole:
        _share(path)
    for artifact, directory in outputs:
        if (directory / ".ssh").exists():  # sshd takes no keys from a home directory that its group may write
            raise UsageError(f"a container, which is not root, cannot write {artifact.name} to {directory}",
                             "a directory below it", "make one and name a path in it")  # fmt: skip
        _widen(directory)
        for part in (artifact, *directory.glob(f".{artifact.name}*")):
            _share(part)
    for path in inputs:
        needed = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
        mode = path.stat().st_mode
        if mode & needed != needed and (path.stat().st_gid or mode & needed << 3 != needed << 3):
            raise UsageError(f"{path} is open to root alone, and a container is not root", "a path that others read",
                             f"chmod -R g=u {path}, or --runtime=local")  # fmt: skip


def _share(top: Path) -> None:
    _widen(top)
    if top.is_dir():
        for directory, names, files in os.walk(top):
            for name in (*names, *files):
                _widen(Path(directory, name))


def _widen(path: Path) -> None:
    """Root's group gets its owner's rights on what is root's; a link is nothing by itself."""
    with contextlib.suppress(FileNotFoundError):  # a run that goes on beside this one
        found = path.lstat()
        wanted = found.st_mode | (found.st_mode & stat.S_IRWXU) >> 3
        if not stat.S_ISLNK(found.st_mode) and (found.st_uid, found.st_gid) == (0, 0) and wanted != found.st_mode:
            path.chmod(stat.S_IMODE(wanted))
