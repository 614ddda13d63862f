"""Building an image with BuildKit, and the labels by which a stale image is told from a current one.

Running is the SDK's work; building is the `docker` program's, because only it speaks BuildKit (cache mounts, a context
of which only changed files are sent). Some installations have a `docker` first on the PATH that cannot: the first one
that can is taken.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker

from qat8 import artifacts, environment
from qat8.console import say
from qat8.containers import engine, images
from qat8.errors import DataError, MachineError, StageError

SOURCE, REVISION, PINS = "qat8.source", "org.opencontainers.image.revision", "qat8.pins"
NO_CONTEXT = ("__pycache__", ".egg-info")
KINDS = (".cc", ".cmake", ".css", ".csv", ".h", ".j2", ".py", ".sh", ".txt", ".yaml")
TAIL = 60


def source_digest() -> str:
    """SHA-256 over what the image has of this checkout: the package, the testers, the locked requirements."""
    files = [artifacts.REPOSITORY / "requirements.txt"]
    for directory in (artifacts.REPOSITORY / "src", artifacts.REPOSITORY / "tester"):
        files += (p for p in directory.rglob("*") if p.is_file() and not _ignored(p.relative_to(directory)))
    named = [(str(p.relative_to(artifacts.REPOSITORY)), artifacts.sha256(p)) for p in sorted(files)]
    return artifacts.fingerprint(named)


def _ignored(path: Path) -> bool:
    return (
        any(part.endswith(NO_CONTEXT) or part.startswith(".") for part in path.parts)
        or path.parts[0].startswith("build")
        or path.name.endswith(".lock")
    )


def require_only_sources() -> None:
    """What lies among the sources goes into the image, for everybody to read whom it is given to.

    Raises:
        DataError: a file of a kind that sources do not have, or a link. Hidden files are not sent at all.
    """
    for directory in (artifacts.REPOSITORY / "src", artifacts.REPOSITORY / "tester"):
        for path in sorted(directory.rglob("*")):
            if _ignored(path.relative_to(directory)) or (path.is_dir() and not path.is_symlink()):
                continue
            if path.is_symlink() or path.suffix not in KINDS:
                name = path.relative_to(artifacts.REPOSITORY)
                raise DataError(f"{name} would be in the image", "sources alone", "move it elsewhere")


def require_current(image, tag: str) -> None:
    """Figures of old code under a new commit's name would be nobody's figures.

    Raises:
        MachineError: the image was built from other sources than this checkout's.
    """
    built = image.labels.get(SOURCE)
    if built is None:
        raise MachineError(f"{tag} is no image of qat8", next_step="inv build.image")
    if built != source_digest():
        raise MachineError(f"{tag} was built from other sources than this checkout's", next_step="inv build.image")


def program() -> list[str]:
    """A `docker` that builds with BuildKit: it has buildx, or is of a version that has BuildKit within.

    Raises:
        MachineError: there is none.
    """
    seen = []
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(directory) / "docker"
        if not os.access(path, os.X_OK) or path.resolve() in seen:
            continue
        seen.append(path.resolve())
        if _says([str(path), "buildx", "version"]):
            return [str(path), "buildx", "build", "--load"]
        version = re.search(r"version (\d+)\.", _says([str(path), "--version"]))
        if version and 19 <= int(version[1]) < 23:
            return [str(path), "build"]
    raise MachineError("no `docker` program with BuildKit on the PATH", next_step="apt-get install -y docker.io")


def _says(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def base_image(client: docker.DockerClient, asked: str, pins: images.Images) -> str:
    """The image to build upon: the one asked for, else the pinned one where it is there, else the local one.

    Raises:
        MachineError: the one asked for is not there and cannot be pulled, or none is there.
    """
    if asked := asked or os.environ.get("QAT8_BASE_IMAGE", ""):
        return asked if _there(client, asked) else _pull(client, asked)
    for tag in (pins.base.image, pins.base.local):
        if _there(client, tag):
            return tag
    return _pull(client, pins.base.image)


def _there(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def _pull(client: docker.DockerClient, tag: str) -> str:
    say(f"pulling {tag}")
    try:
        client.images.pull(tag)
    except docker.errors.DockerException as e:
        why = engine.explain(e) if isinstance(e, docker.errors.APIError) else str(e)
        raise MachineError(
            f"the base image {tag} is not there and could not be pulled: {why}",
            next_step="docker/private-engine.sh base makes one from Debian's packages, --base-image names another",
        ) from e
    return tag


def run(dockerfile: Path, tag: str, arguments: dict[str, str], labels: dict[str, str], log: Path,
        target: str = "", context: Path = artifacts.REPOSITORY, extra: Sequence[str] = ()) -> None:  # fmt: skip
    """Build `tag`; its whole output goes to `log`, the steps' names to the terminal.

    Raises:
        MachineError: the disk is full.
        StageError: a step failed; its last lines stand in the message, the rest in the log.
    """
    command = [*program(), "--progress=plain", "--network=host", f"--file={dockerfile}", f"--tag={tag}", *extra]
    command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    command += [f"--label={name}={value}" for name, value in labels.items()]
    command += [f"--target={target}"] if target else []
    log.parent.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "DOCKER_BUILDKIT": "1", "DOCKER_HOST": engine.address()}
    with (
        _child([*command, str(context)], variables) as child,
        open(log, "w", buffering=1) as record,  # by lines: `tail -f` shows them
    ):
        tail = _follow(child.stdout, record)
        if child.wait():
            raise _failed(tag, tail, log)


@contextlib.contextmanager
def _child(command: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen]:
    child = subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()  # nothing to a process that has ended
        child.wait()


def _follow(lines: Iterator[str], record) -> deque[str]:
    tail: deque[str] = deque(maxlen=TAIL)
    for line in lines:
        record.write(line)
        tail.append(line.rstrip())
        if step := re.match(r"#\d+ (\[[^\]]*\d+/\d+\] .{0,90})", line):
            say(f"  {step[1]}")
    return tail


def _failed(tag: str, tail: Sequence[str], log: Path) -> Exception:
    text = "\n".join(tail)
    if "no space left on device" in text.lower():
        return MachineError(f"the disk is full while {tag} is built",
                            next_step="docker builder prune, or make room; what is built already is kept")  # fmt: skip
    spoken = [re.sub(r"^#\d+ (\d+\.\d+ )?", "", line) for line in tail if re.match(r"#\d+ ", line)]
    plain = [line for line in spoken if line and not line.startswith(("sha256:", "ERROR: executor", "CANCELED"))]
    telling = [line for line in plain if re.search(r"^(error|fatal): |: (fatal )?error: |^CMake Error", line)]
    telling = telling or [line for line in plain if re.search(r"\berror\b", line, re.IGNORECASE)] or plain
    print("\n".join(plain[-8:]), flush=True)
    return StageError(f"building {tag} failed: {telling[-1] if telling else (list(tail) or ['no message'])[-1]}",
                      next_step=f"the whole output is in {artifacts.shown(log)}")  # fmt: skip


def common_labels(pins_digest: str) -> dict[str, str]:
    return {SOURCE: source_digest(), REVISION: environment.git_commit() or "unknown", PINS: pins_digest}
