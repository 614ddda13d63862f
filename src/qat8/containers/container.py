"""One container's life: created, started, its output streamed, its status waited for, and removed whatever happens."""

from __future__ import annotations

import contextlib
import io
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Optional

import docker
import requests
from docker.errors import APIError, DockerException
from docker.types import Mount

from qat8 import archives
from qat8.containers import engine, leftovers, rights, topology
from qat8.errors import DataError, MachineError
from qat8.older_python import zip_strict

Sink = Callable[[Optional[bytes], Optional[bytes]], None]  # a piece of stdout, a piece of stderr
STOP_SECONDS = 20


@dataclass(frozen=True)
class Bind:
    """A path of the host that the container sees under the same name."""

    path: Path
    writable: bool = False


@dataclass(frozen=True)
class Spec:
    """What runs, and what it may touch: by default no network, no capability, no file but the binds and /tmp."""

    image: str
    command: list[str]
    run_id: str
    name: str  # of the stage
    environment: dict[str, str] = field(default_factory=dict)
    binds: list[Bind] = field(default_factory=list)
    volumes: dict[str, str] = field(default_factory=dict)  # name -> where it is mounted, writable
    workdir: str = "/"
    cpus: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    memory: int | None = None  # bytes; None: `most_memory` of the engine's host
    network: str = "none"
    user: str = ""  # "uid:gid"; empty: `rights.user()`
    pids: int = 1024

    def arguments(self) -> dict:
        """For the SDK's `containers.create`."""
        limits = {"mem_limit": self.memory, "memswap_limit": self.memory} if self.memory else {}  # equal: no swap
        return limits | {
            "image": self.image, "command": self.command, "environment": self.environment,
            "mounts": [Mount(str(b.path), str(b.path), type="bind", read_only=not b.writable) for b in self.binds]
            + [Mount(target, name, type="volume") for name, target in self.volumes.items()],
            "working_dir": self.workdir, "network_mode": self.network, "pids_limit": self.pids,
            "user": self.user or rights.user(),
            "cpuset_cpus": topology.show(self.cpus) or None, "cpuset_mems": topology.show(self.nodes) or None,
            "read_only": True, "tmpfs": {"/tmp": "rw,nosuid,nodev,size=1g,mode=1777"},
            "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
            "labels": leftovers.labels(self.run_id, self.name),
        }  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    code: int
    out_of_memory: bool


def most_memory(client: docker.DockerClient) -> int:
    """The limit of a container that was given none [bytes]: what runs away ends in it, and takes no other process of
    the host along. The rest is what the host itself needs."""
    total = client.info()["MemTotal"]
    return total - max(total // 20, 256 << 20)


def output(client: docker.DockerClient, spec: Spec) -> tuple[int, str, str]:
    """Run a short command to its end: its exit code, stdout and stderr."""
    said: tuple[list[bytes], list[bytes]] = ([], [])

    def sink(*pieces: bytes | None) -> None:
        for stream, piece in zip_strict(said, pieces):
            stream.append(piece or b"")

    with Container(client, spec) as container:
        code = container.run(sink).code
    out, err = (b"".join(stream).decode(errors="replace") for stream in said)
    return code, out, err


class Container:
    """`with Container(client, spec) as c: outcome = c.run(sink)`; after the block the container is gone."""

    def __init__(self, client: docker.DockerClient, spec: Spec) -> None:
        self._client, self.spec = client, spec
        self._container = self._output = None
        self._abandoned = False

    def __enter__(self) -> Container:
        try:
            if self.spec.memory is None:
                self.spec = replace(self.spec, memory=most_memory(self._client))
            self._container = self._client.containers.create(**self.spec.arguments())
        except APIError as e:
            raise MachineError(f"the engine made no container for {self.spec.name}: {engine.explain(e)}") from e
        return self

    def __exit__(self, *exc) -> None:
        self._close_output()
        if self._abandoned:
            return
        try:
            leftovers.remove_one(self._container)
        except (DockerException, requests.exceptions.RequestException, OSError) as e:
            if exc[0] is None:  # else the engine's silence has been reported, and is the cause
                raise MachineError(f"the container of {self.spec.name} was not removed: {e}",
                                   next_step="inv clean.containers") from e  # fmt: skip

    def abandon(self) -> None:
        """Wait no longer for an engine that says nothing; may be called from another thread than the one in `run`.

        The container stays: `leftovers.remove` finds it when the engine is back.
        """
        self._abandoned = True
        self._shut_output()

    def _shut_output(self) -> None:
        """End the connection over which the output comes; who reads it sees its end."""
        if self._output:
            with contextlib.suppress(OSError, AttributeError, DockerException):  # it has ended already
                self._output.close()

    def _close_output(self) -> None:
        """Give its file descriptor back now: the SDK does so when the garbage collector comes by."""
        self._shut_output()
        response = getattr(self._output, "_response", None)
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or of another kind of connection
            # The SDK lets the socket refer to the response and back, and leaves it open where it was shut already.
            response.raw._fp.fp.raw._sock.close()
        if response is not None:
            with contextlib.suppress(OSError, ValueError):
                response.close()

    def put(self, directory: str, archive: BinaryIO) -> None:
        """Unpack a tar archive in a directory of one of its volumes."""
        if not self._container.put_archive(directory, archive):
            raise MachineError(f"the engine did not take the files for {directory}")

    def read(self, path: str) -> bytes:
        """A file that it left in one of its volumes.

        Raises:
            DataError: it is no file, or a larger one than results can be: the other end is not to be trusted.
        """
        chunks, _ = self._container.get_archive(path)
        archive = io.BytesIO()
        for chunk in chunks:
            archive.write(chunk)
            if archive.tell() > archives.RESULT.bytes:
                raise DataError(f"{path} of the container is larger than results can be",
                                f"at most {archives.RESULT.bytes:,} bytes")  # fmt: skip
        archive.seek(0)
        return archives.only_file(archive, f"{path} of the container")

    @property
    def id(self) -> str:
        return self._container.id

    def run(self, sink: Sink) -> Outcome:
        """Start it, hand its output to `sink` as it comes, and return how it ended.

        Ctrl-C is passed on as the same signal, so that the stage can say where it stopped; then it is given
        STOP_SECONDS. A second Ctrl-C ends the wait.

        Raises:
            EngineGone: the engine went away, or was abandoned.
            MachineError: it could not start.
            KeyboardInterrupt: passed on after the container has stopped.
        """
        try:
            # Attached before the start: what it prints first is not lost, and nothing is read back from a log file.
            self._output = self._container.attach(stream=True, demux=True)
            self._container.start()
            try:
                self._pump(self._output, sink)
            except KeyboardInterrupt:
                self._interrupt(self._output, sink)
                raise
            return self._outcome()
        except APIError as e:
            raise MachineError(f"the container of {self.spec.name} did not run: {engine.explain(e)}") from e
        except (DockerException, requests.exceptions.RequestException, OSError) as e:
            why = "it does not answer" if self._abandoned else e
            raise engine.EngineGone(f"the Docker engine went away while {self.spec.name} ran: {why}",
                                    next_step="start it, inv clean.containers, and run again") from e  # fmt: skip

    def _pump(self, output: Iterator, sink: Sink) -> None:
        try:
            for stdout, stderr in output:
                sink(stdout, stderr)
        except ValueError:
            if not self._abandoned:  # else the connection was closed while it was read
                raise

    def _interrupt(self, output: Iterator, sink: Sink) -> None:
        with contextlib.suppress(DockerException, requests.exceptions.RequestException, OSError):
            self._container.kill(signal.SIGINT.value)
            self._container.wait(timeout=STOP_SECONDS)
            self._pump(output, sink)

    def _outcome(self) -> Outcome:
        code = self._status()
        self._container.reload()
        return Outcome(code, bool(self._container.attrs["State"].get("OOMKilled")))

    def _status(self) -> int:
        """Its exit code. A wait that outlasts the client's timeout is begun again as long as the engine answers."""
        while not self._abandoned:
            try:
                return self._container.wait(timeout=self._client.api.timeout)["StatusCode"]
            except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError):
                self._client.ping()
        raise OSError("no answer")
