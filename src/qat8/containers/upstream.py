"""Where a source build gets its source from: a git URL, or a tarball that is brought into the build's context.

A user's name and password in a URL are neither in the image nor in its labels, history and logs: git reads them from a
file that the build mounts as a secret.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from qat8 import archives, artifacts
from qat8.errors import DataError

# In the checkout whatever QAT8_DATA says: it is part of the build's context.
SOURCES = artifacts.REPOSITORY / "data" / "downloads" / "sources"
SECONDS = 30


def is_url(text: str) -> bool:
    return "://" in text or ("@" in text and ":" in text)


def without_credentials(text: str) -> tuple[str, str]:
    """A URL without user and password, and the line about them for git's credential store; empty: there are none."""
    parts = urlsplit(text) if text.startswith(("http://", "https://")) else None
    if parts is None or "@" not in parts.netloc:
        return text, ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host).geturl(), f"{parts.scheme}://{parts.netloc}\n"


@contextlib.contextmanager
def store(lines: Sequence[str]) -> Iterator[Path | None]:
    """A file for `git credential-store` that this user alone can read; None where there is nothing to keep."""
    if not any(lines):
        yield None
        return
    with tempfile.NamedTemporaryFile("w", prefix="qat8-", suffix=".credentials") as file:
        file.write("".join(lines))
        file.flush()
        yield Path(file.name)


def origin(text: str) -> str:
    """A URL as it is; a tarball copied into the context, and named as docker/source/fetch.sh finds it there.

    Raises:
        DataError: neither a URL nor a file, or a tarball that must not be unpacked (`archives.require_source_tree`).
    """
    SOURCES.mkdir(parents=True, exist_ok=True)
    if is_url(text):
        return text
    path = Path(text)
    if not path.is_file():
        raise DataError(f"{text} is no file", "the URL of a git repository, or a tarball of a checkout")
    archives.require_source_tree(path)
    if path.resolve().parent != SOURCES.resolve():
        shutil.copyfile(path, SOURCES / path.name)
    return path.name


def resolve(source: str, names: Sequence[str], credentials: Path | None = None) -> tuple[str, str]:
    """The first of these names of a ref that the source has, and the commit that it is now, so that a branch that moved
    is not taken from the build's cache.

    The first name and no commit where it cannot be told (a tarball, no git, no answer, no such ref): then the build's
    own fetch says what is wrong.
    """
    found = _refs(source, names, credentials) if is_url(source) else {}
    for name in names:
        for ref in (f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}"):  # ^{}: an annotated tag's
            if ref in found:
                return name, found[ref]
    return names[0], ""


def _refs(source: str, names: Sequence[str], credentials: Path | None) -> dict[str, str]:
    asked = [ref for n in names for ref in (f"refs/heads/{n}", f"refs/tags/{n}", f"refs/tags/{n}^{{}}")]
    helper = ["-c", f"credential.helper=store --file={credentials}"] if credentials else []
    try:
        done = subprocess.run(
            ["git", *helper, "ls-remote", source, *asked],
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            timeout=SECONDS,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("\t")[::-1] for line in done.stdout.splitlines() if "\t" in line)
