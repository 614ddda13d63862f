"""Known vulnerabilities of what is locked, by pip-audit from an advisory service.

pip-audit ends well where the service knows nothing of a package ("could not be audited"): here that is a failure,
because nothing was checked.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

from qat8.dependencies.policy import Accepted
from qat8.errors import MachineError

SECONDS = 15  # for one answer


@dataclass(frozen=True)
class Finding:
    package: str
    version: str
    ids: tuple[str, ...]  # the advisory's own, then its other names
    fixed: tuple[str, ...]
    summary: str


@dataclass(frozen=True)
class Audit:
    findings: list[Finding]
    not_audited: dict[str, str]  # package -> why


def audit(pinned: Iterable[tuple[str, str]], service: str, url: str = "") -> Audit:
    """Ask the service about each (package, version); a local part of a version (`+cpu`) is left out.

    Raises:
        MachineError: it does not answer.
    """
    lines = sorted({f"{name}=={version.partition('+')[0]}" for name, version in pinned})
    with tempfile.NamedTemporaryFile("w", prefix="qat8-", suffix=".txt") as listed:
        listed.write("\n".join(lines) + "\n")
        listed.flush()
        command = [
            sys.executable, "-m", "pip_audit", "--format=json", "--desc=on", "--aliases=on", "--progress-spinner=off",
            "--no-deps", "--disable-pip", f"--timeout={SECONDS}", f"--vulnerability-service={service}",
            *([f"--osv-url={url}"] if url else []), "-r", listed.name,
        ]  # fmt: skip
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        said = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MachineError(f"the advisory service {service} does not answer: {last}",
                           next_step="check the network, or name another by --service, --url") from None  # fmt: skip
    skipped = {item["name"]: item["skip_reason"] for item in said if "skip_reason" in item}
    return Audit([_finding(item, v) for item in said for v in item.get("vulns", [])], skipped)


def _finding(item: dict, found: dict) -> Finding:
    # Some advisories are given as their CVE, some by the index's own number: either may be the one that is accepted.
    ids = tuple(dict.fromkeys([found["id"], *found.get("aliases", [])]))
    summary = " ".join(found.get("description", "").split())
    return Finding(item["name"], item["version"], ids, tuple(found["fix_versions"]), summary)


def accepted(finding: Finding, policy: Iterable[Accepted], today: datetime.date) -> Accepted | None:
    """The entry of the policy that accepts a finding, if it has not run out."""
    fits = (a for a in policy if a.id in finding.ids and a.package == finding.package and today <= a.until)
    return next(fits, None)
