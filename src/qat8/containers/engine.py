"""The connection to a Docker engine: the one that DOCKER_HOST or the current Docker context names."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from qat8.containers import tunnel
from qat8.errors import MachineError

START = "start one (docker/private-engine.sh start makes a private one) and name it: export DOCKER_HOST=unix://SOCKET"


class EngineGone(MachineError):
    """No engine answers, or none any longer: the next call would not be answered either."""


def address() -> str:
    """Where the engine listens, by the `docker` program's rules: DOCKER_HOST, else the context, else the socket."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    try:
        context = docker.ContextAPI.get_current_context()
        return (context and context.Host) or "unix:///var/run/docker.sock"
    except (DockerException, OSError, ValueError):
        return "unix:///var/run/docker.sock"


@contextmanager
def connect(url: str | None = None, timeout: float = 60) -> Iterator[docker.DockerClient]:
    """A client of the engine, closed at the end. `timeout` [s] is how long the engine may say nothing to a call.

    Raises:
        EngineGone: none answers.
        MachineError: this user may not talk to it, or ssh does not reach it.
    """
    url = url or address()
    with tunnel.to(url) as reachable:
        client = None
        try:
            client = docker.DockerClient(base_url=reachable, version="auto", timeout=timeout)
            client.ping()
        except (DockerException, requests.exceptions.RequestException, OSError) as e:
            if client:
                client.close()
            raise _unreachable(url, e) from e
        try:
            yield client
        finally:
            client.close()


@contextmanager
def heartbeat(url: str, patience: float, silent: Callable[[], None]) -> Iterator[None]:
    """In the block the engine is asked again and again; when it says nothing for `patience` [s], `silent` is called.

    A connection over which nothing comes does not tell a long computation from a cable that was pulled.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(patience / 3):
            try:
                with connect(url, timeout=patience):
                    pass
            except MachineError:
                if not done.is_set():
                    silent()
                return

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _unreachable(url: str, cause: Exception) -> MachineError:
    """The one line for a failed connection; docker-py wraps the system's error several times over."""
    text = str(cause)
    if "Permission denied" in text or "PermissionError" in text:
        return MachineError(
            f"user {os.getuid()} may not use the Docker engine at {url}", "read and write permission on its socket",
            "sudo usermod -aG docker $USER, and log in again",
        )  # fmt: skip
    what = "there is no socket" if "FileNotFoundError" in text or "No such file" in text else "nothing answers"
    return EngineGone(f"no Docker engine at {url}: {what}", next_step=START)


def image(client: docker.DockerClient, tag: str):
    """An image of the engine.

    Raises:
        MachineError: it is not there.
    """
    try:
        return client.images.get(tag)
    except ImageNotFound:
        how = "inv build.image --source" if tag.endswith(":source") else "inv build.image"
        raise MachineError(f"the engine has no image {tag}", next_step=how) from None


def explain(e: APIError) -> str:
    """An API error without the URL and the HTTP status around it."""
    return str(e.explanation or e).strip().splitlines()[0]
