"""Where a source build gets its source from: a git URL, or a tarball that is brought into the build's context."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
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


def resolve(source: str, names: Sequence[str]) -> tuple[str, str]:
    """The first of these names of a ref that the source has, and the commit that it is now, so that a branch that moved
    is not taken from the build's cache.

    The first name and no commit where it cannot be told (a tarball, no git, no answer, no such ref): then the build's
    own fetch says what is wrong.
    """
    found = _refs(source, names) if is_url(source) else {}
    for name in names:
        for ref in (f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}"):  # ^{}: an annotated tag's
            if ref in found:
                return name, found[ref]
    return names[0], ""


def _refs(source: str, names: Sequence[str]) -> dict[str, str]:
    asked = [ref for n in names for ref in (f"refs/heads/{n}", f"refs/tags/{n}", f"refs/tags/{n}^{{}}")]
    try:
        done = subprocess.run(["git", "ls-remote", source, *asked], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=SECONDS)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("\t")[::-1] for line in done.stdout.splitlines() if "\t" in line)
