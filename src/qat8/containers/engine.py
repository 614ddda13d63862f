"""The connection to a Docker engine: the one that DOCKER_HOST or the current Docker context names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound

from qat8.errors import MachineError

START = "start one (docker/private-engine.sh start makes a private one) and name it: export DOCKER_HOST=unix://SOCKET"


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
    """A client of the engine, closed at the end.

    Raises:
        MachineError: none answers, or this user may not talk to it.
    """
    url = url or address()
    client = None
    try:
        client = docker.DockerClient(
            base_url=url, version="auto", timeout=timeout, use_ssh_client=url.startswith("ssh")
        )
        client.ping()
    except (DockerException, requests.exceptions.RequestException, OSError) as e:
        if client:
            client.close()
        raise _unreachable(url, e) from e
    try:
        yield client
    finally:
        client.close()


def _unreachable(url: str, cause: Exception) -> MachineError:
    """The one line for a failed connection; docker-py wraps the system's error several times over."""
    text = str(cause)
    if "Permission denied" in text or "PermissionError" in text:
        return MachineError(
            f"user {os.getuid()} may not use the Docker engine at {url}", "read and write permission on its socket",
            "sudo usermod -aG docker $USER, and log in again",
        )  # fmt: skip
    what = "there is no socket" if "FileNotFoundError" in text or "No such file" in text else "nothing answers"
    return MachineError(f"no Docker engine at {url}: {what}", next_step=START)


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
