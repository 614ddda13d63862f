"""Bringing an image and artifacts to another engine, each only where it lacks.

Artifacts lie in the volume `qat8-artifacts` of the engine, by the SHA-256 of their content: /artifacts/DIGEST/NAME.
They are unpacked beside their place, summed there, and renamed: a name with a digest always holds that content.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import uuid
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from qat8 import artifacts
from qat8.containers.container import Container, Spec
from qat8.errors import MachineError

VOLUME, ROOT = "qat8-artifacts", "/artifacts"
PYTHON = "/opt/qat8/.venv/bin/python"
ACCEPT = """
import os, sys
from pathlib import Path
from qat8 import artifacts
incoming, name, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
if artifacts.sha256(incoming / name) != digest:
    sys.exit("error: what arrived has another SHA-256")
if not (incoming.parent / digest).exists():
    os.rename(incoming, incoming.parent / digest)
"""


def image(source: docker.DockerClient, target: docker.DockerClient, tag: str) -> bool:
    """Bring the image by save and load, unless `target` has it; whether it was sent."""
    wanted = source.images.get(tag)
    try:
        target.images.get(wanted.id)
        return False
    except ImageNotFound:
        # Through a file: the image's layers need not be in memory, and a broken transfer is one error.
        with tempfile.TemporaryFile() as archive:
            for chunk in wanted.save(named=True):
                archive.write(chunk)
            archive.seek(0)
            target.images.load(archive)
    target.images.get(wanted.id)
    return True


def spec(image_id: str, command: list[str], run_id: str, name: str, **more) -> Spec:
    """A container that sees the volume. Its root has no capability and no file but the volume's."""
    return Spec(image=image_id, command=command, run_id=run_id, name=name, volumes={VOLUME: ROOT}, user="0:0", **more)


def artifact(target: docker.DockerClient, image_id: str, path: Path, digest: str, run_id: str) -> tuple[str, bool]:
    """Bring a file or directory with its manifest; where it is there, and whether it was sent.

    Raises:
        MachineError: it did not arrive whole.
    """
    place = f"{ROOT}/{digest}/{path.name}"
    if _run(target, spec(image_id, ["test", "-e", place], run_id, "ship"))[0] == 0:
        return place, False
    incoming = f"{ROOT}/incoming-{uuid.uuid4().hex}"
    accept = [PYTHON, "-c", ACCEPT, incoming, path.name, digest]
    with tempfile.TemporaryFile() as archive, Container(target, spec(image_id, accept, run_id, "ship")) as container:
        _pack(path, Path(incoming).name, archive)
        container.put(ROOT, archive)
        said: list[bytes] = []
        if container.run(lambda out, err: said.append(out or err or b"")).code:
            raise MachineError(f"{path} did not arrive whole: {b''.join(said).decode(errors='replace').strip()}")
    return place, True


def _pack(path: Path, top: str, archive) -> None:
    def root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    manifest = artifacts.manifest_path(path)
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for item in {path.resolve(): path.name, manifest.resolve(): manifest.name}.items():
            if item[0].exists() and not (path.is_dir() and item[0].parent == path.resolve()):
                tar.add(item[0], arcname=f"{top}/{item[1]}", filter=root)
    archive.seek(0, os.SEEK_SET)


def _run(client: docker.DockerClient, what: Spec) -> tuple[int, str]:
    said: list[bytes] = []
    with Container(client, what) as container:
        outcome = container.run(lambda out, err: said.append(out or err or b""))
    return outcome.code, b"".join(said).decode(errors="replace")


def nodes(client: docker.DockerClient, image_id: str, run_id: str) -> dict[int, str]:
    """The NUMA nodes of the engine's host and their CPUs, as a container sees them in /sys; never empty."""
    script = "cd /sys/devices/system/node 2>/dev/null && grep -H . node[0-9]*/cpulist || true"
    code, said = _run(client, Spec(image=image_id, command=["sh", "-c", script], run_id=run_id, name="nodes"))
    found = {}
    for line in said.splitlines() if code == 0 else []:
        name, _, cpus = line.partition("/cpulist:")
        if name.removeprefix("node").isdigit() and cpus:
            found[int(name.removeprefix("node"))] = cpus
    return found or {0: ""}
