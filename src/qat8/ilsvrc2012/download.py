"""A large file by HTTP: goes on where it stopped, tries again, believes nothing before size and MD5 are right."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from qat8.console import Bar, say
from qat8.errors import DataError, MachineError
from qat8.ilsvrc2012 import Archive

ATTEMPTS = 6  # in a row, without a byte in between; with the waits between them about a minute
BACKOFF = 1.0  # seconds, doubled each time; a server's Retry-After comes before
LONGEST_WAIT = 120  # seconds, whatever a server asks for
TIMEOUT = (10, 60)  # seconds to connect; without a byte
BLOCK = 1 << 20
PASSING = (408, 429, 500, 502, 503, 504)  # statuses that another try may end


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def fetch(archive: Archive, target: Path) -> Path:
    """Bring the archive to `target`, from where `target`.part ends; verified before it gets its name.

    Raises:
        MachineError: no connection, or one that broke ATTEMPTS times without a byte; what has come is kept.
        DataError: the server has another file, or what came has another MD5.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    if part.exists() and part.stat().st_size > archive.size:
        part.unlink()
    have = part.stat().st_size if part.exists() else 0
    if have < archive.size:
        say(f"fetching {archive.url}: {archive.size:,} bytes" + (f", {have:,} are there" if have else ""))
        with Bar("fetching", archive.size >> 20, have >> 20, unit="MiB") as bar:
            _fetch_rest(archive, part, bar)
    verify(archive, part, "run again: it is fetched anew", remove=True)
    os.replace(part, target)
    return target


def _fetch_rest(archive: Archive, part: Path, bar: Bar) -> None:
    policy = Retry(total=ATTEMPTS, backoff_factor=BACKOFF)
    tries = policy
    with requests.Session() as session, open(part, "ab", buffering=0) as file:
        while (have := file.tell()) < archive.size:
            response = None
            try:
                response = session.get(archive.url, headers=_headers(have), stream=True, timeout=TIMEOUT)
                _receive(response, archive, file, bar)
                reason = f"the connection ended {archive.size - file.tell():,} bytes early"
            except (requests.RequestException, HTTPError, _Passing) as e:
                reason = _reason(e)
            if file.tell() > have:
                tries = policy
            if file.tell() < archive.size:
                tries = _wait(tries, archive, reason, file.tell(), response)
        os.fsync(file.fileno())


class _Passing(Exception):
    """A status that another try may end."""


def _headers(have: int) -> dict[str, str]:
    # Bytes as they are: what a proxy compresses on the way would have another length than the range.
    return {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})


def _receive(response: requests.Response, archive: Archive, file, bar: Bar) -> None:
    with response:
        if response.status_code in PASSING:
            raise _Passing(f"HTTP {response.status_code}")
        _require_place(response, archive, file, bar)
        while block := response.raw.read1(BLOCK):  # what is there: a larger block would be lost with the connection
            before = file.tell()
            if before + len(block) > archive.size:
                raise DataError(f"{archive.url}: more bytes than it announced", f"{archive.size:,}", "another --url")
            file.write(block)
            bar.advance((file.tell() >> 20) - (before >> 20))


def _require_place(response: requests.Response, archive: Archive, file, bar: Bar) -> None:
    """The answer starts where the part ends, and is of the size that is expected.

    Raises:
        DataError: it is not the file.
    """
    status, have = response.status_code, file.tell()
    if status == 206 and (
        found := re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    ):
        start, total = int(found[1]), found[2]
        if start != have or total not in ("*", str(archive.size)):
            raise DataError(f"{archive.url}: bytes from {start} of {total}", f"from {have} of {archive.size}")
    elif status == 200:
        length = response.headers.get("Content-Length")
        if length is not None and int(length) != archive.size:
            raise DataError(
                f"{archive.url}: {int(length):,} bytes", f"{archive.size:,}", "--archive=FILE or another --url"
            )
        if have:
            say("  this server does not go on in the middle: from the start again")
            bar.advance(-(have >> 20))
            file.seek(0)
            file.truncate()
    else:
        raise DataError(f"{archive.url}: HTTP {status} {response.reason}", "the archive",
                        "fetch it with a browser and name it by --archive=FILE")  # fmt: skip


def _wait(tries: Retry, archive: Archive, reason: str, have: int, response: requests.Response | None) -> Retry:
    """One try less, after a pause.

    Raises:
        MachineError: none is left.
    """
    try:
        tries = tries.increment("GET", archive.url, error=OSError(reason))
    except MaxRetryError:
        hint = f"run the same command again: {have:,} bytes are kept; or --archive=FILE"
        raise MachineError(f"{archive.url}: {reason}", "a connection", hint) from None
    say(f"  {reason} after {have:,} bytes; trying again")
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    tries.sleep(response.raw if asked.isdigit() and int(asked) <= LONGEST_WAIT else None)
    return tries


def _reason(error: Exception) -> str:
    """The innermost cause's words, without the object's address that urllib3 puts before them."""
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__
    return re.sub(r"<[^>]*> *:? *", "", str(cause)) or type(cause).__name__


def verify(archive: Archive, file: Path, next_step: str, remove: bool = False) -> None:
    """Size and MD5 are the archive's.

    Raises:
        DataError: they are not; `remove` takes the file away then.
    """
    size = file.stat().st_size
    digest = _md5(file) if size == archive.size else ""
    if digest == archive.md5:
        return
    if remove:
        file.unlink()
    if size != archive.size:
        raise DataError(f"{file}: {size:,} bytes", f"{archive.size:,}", next_step)
    raise DataError(f"{file}: MD5 {digest}", archive.md5, next_step)


def _md5(file: Path) -> str:
    digest, size = hashlib.md5(usedforsecurity=False), file.stat().st_size
    with open(file, "rb", buffering=0) as f, Bar(f"MD5 of {file.name}", size >> 20, unit="MiB") as bar:
        done = 0
        while block := f.read(8 * BLOCK):
            digest.update(block)
            bar.advance(((done + len(block)) >> 20) - (done >> 20))
            done += len(block)
    return digest.hexdigest()
