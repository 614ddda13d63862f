"""What is in an image: its package lists as an SBOM, and the files in which two builds differ."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Iterator
from urllib.parse import quote

import docker

from qat8 import __version__

PYTHON_LIST = (
    "import importlib.metadata as m, json; "
    "print(json.dumps(sorted({(d.name, d.version, d.metadata.get('License') or '') for d in m.distributions()})))"
)
DEBIAN_LIST = ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Architecture}\n"]


def sbom(client: docker.DockerClient, tag: str, more: dict[str, str] | None = None) -> dict:
    """A CycloneDX 1.5 document of the image's Debian and Python packages, from their own package lists.

    What the image was built of and from which commits stands in its labels, which become properties, and in `more`.
    """
    image = client.images.get(tag)
    run = {"remove": True, "network_mode": "none", "read_only": True}
    debian = [line.split("\t") for line in client.containers.run(tag, DEBIAN_LIST, **run).decode().splitlines()]
    python = json.loads(client.containers.run(tag, ["python", "-c", PYTHON_LIST], **run))
    components = [
        {
            "type": "library",
            "name": name,
            "version": version,
            "purl": _purl("deb/debian", name, version) + f"?arch={arch}",
        }
        for name, version, arch in debian
    ]
    for name, version, licence in python:
        named = {"licenses": [{"license": {"name": licence.splitlines()[0][:200]}}]} if licence.strip() else {}
        purl = _purl("pypi", name.lower().replace("_", "-"), version)
        components.append({"type": "library", "name": name, "version": version, "purl": purl, **named})
    known = {name: value for name, value in image.labels.items() if name.startswith("qat8.")} | (more or {})
    labels = [{"name": name, "value": value} for name, value in sorted(known.items())]
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"tools": {"components": [{"type": "application", "name": "qat8", "version": __version__}]},
                     "component": {"type": "container", "name": tag, "version": image.id, "properties": labels}},
        "components": components,
    }  # fmt: skip


def _purl(kind: str, name: str, version: str) -> str:
    """A package URL; what could be taken for one of its separators is percent-encoded, but not a colon (purl-spec)."""
    return f"pkg:{kind}/{quote(name, safe=':')}@{quote(version, safe=':')}"


class _Stream(io.RawIOBase):
    """The chunks of an export as a file, so that an image of a gigabyte is never in memory."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def files(client: docker.DockerClient, tag: str) -> dict[str, str]:
    """Every path of the image with what it is: kind, mode, owner, and the content's SHA-256 or the link's target.

    Times are left out: no build with this engine sets them, and nothing here reads them.
    """
    container = client.containers.create(tag, ["true"])
    try:
        found = {}
        with tarfile.open(fileobj=io.BufferedReader(_Stream(iter(container.export()))), mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                digest = hashlib.file_digest(content, "sha256").hexdigest() if content else member.linkname
                mode = stat.S_IMODE(member.mode)
                kind = member.type.decode()
                found[member.name] = f"{kind} {mode:o} {member.uid}:{member.gid} {digest}"
        return found
    finally:
        container.remove(force=True)


def differences(a: dict[str, str], b: dict[str, str]) -> list[str]:
    """Paths that are in one only, or are not the same in both."""
    return sorted(path for path in {*a, *b} if a.get(path) != b.get(path))
