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
    not_audited: list[str]  # why, for each


def audit(pinned: Iterable[tuple[str, str]], service: str, url: str = "") -> Audit:
    """Ask the service about each (package, version); a local part of a version (`+cpu`) is left out.

    Raises:
        MachineError: it does not answer.
    """
    said = [item for group in _groups(pinned) for item in _ask(group, service, url)]
    skipped = [item["skip_reason"] for item in said if "skip_reason" in item]
    return Audit([_finding(item, v) for item in said for v in item.get("vulns", [])], skipped)


def _groups(pinned: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Package -> version, so often that every version is in one: pip-audit takes a package in one version only."""
    groups: list[dict[str, str]] = []
    for name, version in sorted({(name, version.partition("+")[0]) for name, version in pinned}):
        free = next((g for g in groups if name not in g), None)
        if free is None:
            groups.append(free := {})
        free[name] = version
    return groups


def _ask(group: dict[str, str], service: str, url: str) -> list[dict]:
    """pip-audit's JSON about each package of a group."""
    with tempfile.NamedTemporaryFile("w", prefix="qat8-", suffix=".txt") as listed:
        listed.writelines(f"{name}=={version}\n" for name, version in group.items())
        listed.flush()
        command = [
            sys.executable, "-m", "pip_audit", "--format=json", "--desc=on", "--aliases=on", "--progress-spinner=off",
            "--no-deps", "--disable-pip", f"--timeout={SECONDS}", f"--vulnerability-service={service}",
            *([f"--osv-url={url}"] if url else []), "-r", listed.name,
        ]  # fmt: skip
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MachineError(f"the advisory service {service} does not answer: {last}",
                           next_step="check the network, or name another by --service, --url") from None  # fmt: skip


def _finding(item: dict, found: dict) -> Finding:
    # Some advisories are given as their CVE, some by the index's own number: either may be the one that is accepted.
    ids = tuple(dict.fromkeys([found["id"], *found.get("aliases", [])]))
    summary = " ".join(found.get("description", "").split())
    return Finding(item["name"], item["version"], ids, tuple(found["fix_versions"]), summary)


def accepted(finding: Finding, policy: Iterable[Accepted], today: datetime.date) -> Accepted | None:
    """The entry of the policy that accepts a finding, if it has not run out."""
    fits = (a for a in policy if a.id in finding.ids and a.package == finding.package and today <= a.until)
    return next(fits, None)
