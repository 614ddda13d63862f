"""Where a source build gets its source from: a git URL, or a tarball that is brought into the build's context."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from qat8 import artifacts
from qat8.errors import DataError

# In the checkout whatever QAT8_DATA says: it is part of the build's context.
SOURCES = artifacts.REPOSITORY / "data" / "downloads" / "sources"
SECONDS = 30


def is_url(text: str) -> bool:
    return "://" in text or ("@" in text and ":" in text)


def origin(text: str) -> str:
    """A URL as it is; a tarball copied into the context, and named as docker/source/fetch.sh finds it there.

    Raises:
        DataError: neither a URL nor a file.
    """
    SOURCES.mkdir(parents=True, exist_ok=True)
    if is_url(text):
        return text
    path = Path(text)
    if not path.is_file():
        raise DataError(f"{text} is no file", "the URL of a git repository, or a tarball of a checkout")
    if path.resolve().parent != SOURCES.resolve():
        shutil.copyfile(path, SOURCES / path.name)
    return path.name


def commit(source: str, ref: str) -> str:
    """The commit that a ref is now, so that a branch that moved is not taken from the build's cache.

    Empty where it cannot be told (a tarball, no git, no answer): then the build's own fetch says what is wrong.
    """
    if not is_url(source):
        return ""
    command = ["git", "ls-remote", source, f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = dict(line.split("\t")[::-1] for line in done.stdout.splitlines() if "\t" in line)
    for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):  # ^{}: what an annotated tag names
        if name in found:
            return found[name]
    return ""
