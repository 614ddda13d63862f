"""A way to an engine on another machine: `ssh://user@host[:port][/path/of/its.sock]` -> a Unix socket on this one.

The `ssh` program forwards the socket: the user's keys, agent, known hosts and ~/.ssh/config hold, the other machine
needs no `docker` program, and its silence ends the tunnel (ServerAlive...). docker-py's own ssh transport needs
paramiko, or reads without any timeout.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from qat8.errors import MachineError, UsageError

SOCKET = "/var/run/docker.sock"
SECONDS = 30
OPTIONS = {
    "BatchMode": "yes",  # a question nobody sees would wait for ever
    "ConnectTimeout": "15", "ServerAliveInterval": "10", "ServerAliveCountMax": "3",
    "ExitOnForwardFailure": "yes", "StreamLocalBindUnlink": "yes", "ControlPath": "none",
}  # fmt: skip


@contextmanager
def to(url: str) -> Iterator[str]:
    """The URL to use for `url` in the block; itself where no tunnel is needed.

    Raises:
        UsageError: not such a URL.
        MachineError: ssh did not get there; its own last line says why.
    """
    if not url.startswith("ssh://"):
        yield url
        return
    destination, path = _destination(url)
    with tempfile.TemporaryDirectory(prefix="qat8-ssh-") as directory:
        socket, log = Path(directory) / "docker.sock", Path(directory) / "log"
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        # `cat` ends with its input, and ssh with it: a task that is killed leaves no tunnel. In a session of its own,
        # because Ctrl-C must not cut the way to a container that is still to be removed.
        child = _start([*_program(), "-T", *options, "-L", f"{socket}:{path}", *destination, "cat"], log)
        try:
            _wait(child, socket, url, log)
            yield f"unix://{socket}"
        finally:
            with suppress(OSError):
                child.stdin.close()
            child.terminate()
            child.wait()


def _start(command: list[str], log: Path) -> subprocess.Popen:
    try:
        with open(log, "wb") as errors:
            return subprocess.Popen(command, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                    stderr=errors)  # fmt: skip
    except FileNotFoundError as e:
        raise MachineError(f"no program {command[0]}", next_step="apt-get install -y openssh-client") from e


def _program() -> list[str]:
    """QAT8_SSH may name another program or more options, as GIT_SSH_COMMAND does."""
    return shlex.split(os.environ.get("QAT8_SSH", "ssh"))


def _destination(url: str) -> tuple[list[str], str]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0:
        raise UsageError(f"{url!r} names no host", "ssh://user@host, ssh://user@host:port/path/of/docker.sock")
    host = parts.netloc.removesuffix(f":{port}")  # not `hostname`, which is in small letters
    return [
        *(["-p", str(port)] if port else []),
        "--",
        host,
    ], parts.path if parts.path != "/" and parts.path else SOCKET


def _wait(child: subprocess.Popen, socket: Path, url: str, log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not socket.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines() or [f"no connection in {SECONDS} s"]
            raise MachineError(f"ssh does not reach {url}: {lines[-1]}",
                               next_step="make `ssh` to it work without a question")  # fmt: skip
        time.sleep(0.02)
