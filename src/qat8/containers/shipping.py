"""Bringing an image and artifacts to another engine, each only where it lacks.

Artifacts lie in the volume `qat8-store` of the engine, by the SHA-256 of their content: /artifacts/DIGEST/NAME.
They are unpacked beside their place, summed there, and renamed: a name with a digest always holds that content.
No link of an artifact leads out of it: what another machine is sent is the artifact, not what somebody let it point to.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import uuid
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from qat8 import manifests
from qat8.containers import rights
from qat8.containers.container import Container, Spec, output
from qat8.errors import DataError, MachineError

VOLUME, ROOT = "qat8-store", "/artifacts"  # the image has the directory, and it is NOBODY's
USER = f"{rights.NOBODY}:0"
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
    """A container that sees the volume, as the user who owns it."""
    return Spec(image=image_id, command=command, run_id=run_id, name=name, volumes={VOLUME: ROOT}, user=USER, **more)


def artifact(target: docker.DockerClient, image_id: str, path: Path, digest: str, run_id: str) -> tuple[str, bool]:
    """Bring a file or directory with its manifest; where it is there, and whether it was sent.

    Raises:
        MachineError: it did not arrive whole.
    """
    place = f"{ROOT}/{digest}/{path.name}"
    if output(target, spec(image_id, ["test", "-e", place], run_id, "ship"))[0] == 0:
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
    """A tar archive of the artifact and its manifest below `top`, as the volume's owner's.

    Raises:
        DataError: a link in it leads out of it, or something in it is neither a file nor a directory.
    """
    for item in path.rglob("*") if path.is_dir() else ():
        if not (item.is_file() or item.is_dir()) or not item.resolve().is_relative_to(path.resolve()):
            raise DataError(f"{item} leads out of {path.name}, or is no file", "an artifact that is whole by itself",
                            "make it again, or put the file itself there")  # fmt: skip

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = map(int, USER.split(":"))
        member.uname = member.gname = ""
        return member

    manifest = manifests.path_of(path)
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        folder = tarfile.TarInfo(top)
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(owned(folder))
        for item in {path.resolve(): path.name, manifest.resolve(): manifest.name}.items():
            if item[0].exists() and not (path.is_dir() and item[0].parent == path.resolve()):
                tar.add(item[0], arcname=f"{top}/{item[1]}", filter=owned)
    archive.seek(0, os.SEEK_SET)


def nodes(client: docker.DockerClient, image_id: str, run_id: str) -> dict[int, str]:
    """The NUMA nodes of the engine's host and their CPUs, as a container sees them in /sys; never empty."""
    script = "cd /sys/devices/system/node 2>/dev/null && grep -H . node[0-9]*/cpulist || true"
    what = Spec(image=image_id, command=["sh", "-c", script], run_id=run_id, name="nodes", user=USER)
    code, said, _ = output(client, what)
    found = {}
    for line in said.splitlines() if code == 0 else []:
        name, _, cpus = line.partition("/cpulist:")
        if name.removeprefix("node").isdigit() and cpus:
            found[int(name.removeprefix("node"))] = cpus
    return found or {0: ""}
