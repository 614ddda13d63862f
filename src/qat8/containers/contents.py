"""What is in an image: its package lists as an SBOM, and the files in which two builds differ."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from urllib.parse import quote

import docker

from qat8 import __version__
from qat8.containers.container import Spec, output
from qat8.errors import MachineError
from qat8.older_python import file_digest

# A licence as the package gives it: its SPDX expression, else its classifiers, else the first line of its text.
PYTHON_LIST = """
import importlib.metadata, json
def licence(data):
    named = [c.split(" :: ")[-1] for c in data.get_all("Classifier", []) if c.startswith("License :: ")]
    return data.get("License-Expression") or "; ".join(named) or (data.get("License") or "").strip().split("\\n")[0]
found = {(d.name, d.version, licence(d.metadata)) for d in importlib.metadata.distributions()}
print(json.dumps(sorted(found)))
"""
DEBIAN_LIST = ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Architecture}\n"]
# Of each package's copyright file: the licences that it names in Debian's machine-readable format, or else those whose
# whole text it refers to.
COPYRIGHT = ["sh", "-c", "cd /usr/share/doc && grep -HsoE '^License: *[^ ].*|/usr/share/common-licenses/[A-Za-z0-9.+-]*"
             "[A-Za-z0-9+]' */copyright || true"]  # fmt: skip
PROSE = "in words: /usr/share/doc/{}/copyright"  # of packages that do neither
REFERRED = "/usr/share/common-licenses/"


def sbom(client: docker.DockerClient, tag: str, more: dict[str, str] | None = None) -> dict:
    """A CycloneDX 1.5 document of the image's Debian and Python packages, from their own package lists.

    What the image was built of and from which commits stands in its labels, which become properties, and in `more`.
    """
    image = client.images.get(tag)
    debian = [line.split("\t") for line in _said(client, tag, DEBIAN_LIST).splitlines()]
    licences = debian_licences(_said(client, tag, COPYRIGHT))
    components = [
        _component(
            name,
            version,
            _purl("deb/debian", name, version) + f"?arch={arch}",
            licences.get(name) or [PROSE.format(name)],
        )
        for name, version, arch in debian
    ]
    for name, version, licence in json.loads(_said(client, tag, ["python", "-c", PYTHON_LIST])):
        purl = _purl("pypi", name.lower().replace("_", "-"), version)
        components.append(_component(name, version, purl, [licence[:200]] if licence else []))
    known = {name: value for name, value in image.labels.items() if name.startswith("qat8.")} | (more or {})
    labels = [{"name": name, "value": value} for name, value in sorted(known.items())]
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"tools": {"components": [{"type": "application", "name": "qat8", "version": __version__}]},
                     "component": {"type": "container", "name": tag, "version": image.id, "properties": labels}},
        "components": components,
    }  # fmt: skip


def _said(client: docker.DockerClient, tag: str, command: list[str]) -> str:
    """What a command says in the image, with the rights of a stage."""
    spec = Spec(image=tag, command=command, run_id=f"contents-{os.getpid()}", name="contents")
    code, out, err = output(client, spec)
    if code:
        raise MachineError(f"{command[0]} failed in {tag}: {(err.strip().splitlines() or ['no message'])[-1]}")
    return out


def debian_licences(listed: str) -> dict[str, list[str]]:
    """What COPYRIGHT printed -> the licences of each package, each once, in alphabetical order."""
    formal: dict[str, set[str]] = {}
    referred: dict[str, set[str]] = {}
    for line in listed.splitlines():
        path, _, what = line.partition(":")
        package = path.partition("/")[0]
        if what.startswith(REFERRED):
            referred.setdefault(package, set()).add(what.removeprefix(REFERRED))
        else:
            formal.setdefault(package, set()).add(what.removeprefix("License:").strip()[:200])
    return {package: sorted(formal.get(package) or referred[package]) for package in {*formal, *referred}}


def _component(name: str, version: str, purl: str, licences: list[str]) -> dict:
    named = {"licenses": [{"license": {"name": licence}} for licence in licences]} if licences else {}
    return {"type": "library", "name": name, "version": version, "purl": purl, **named}


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
                digest = file_digest(content, "sha256").hexdigest() if content else member.linkname
                mode = stat.S_IMODE(member.mode)
                kind = member.type.decode()
                found[member.name] = f"{kind} {mode:o} {member.uid}:{member.gid} {digest}"
        return found
    finally:
        container.remove(force=True)


def differences(a: dict[str, str], b: dict[str, str]) -> list[str]:
    """Paths that are in one only, or are not the same in both."""
    return sorted(path for path in {*a, *b} if a.get(path) != b.get(path))
