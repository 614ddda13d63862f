"""Ask an advisory service for known vulnerabilities of every locked package; exit code 7 where there is one.

Those of pyproject.toml's `[[tool.qat8.accepted-advisories]]` are told and pass until their date. A package that the
service does not know ends it with 5: it was not checked.
"""

from __future__ import annotations

import datetime

from rich.table import Table

from qat8 import cli, older_python
from qat8.console import console, say, step
from qat8.dependencies import advisories, locks, policy
from qat8.errors import MachineError, VerificationError


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="audit", description=__doc__)
    parser.flag("service", default="pypi", choices=["pypi", "osv"], help="the index's own advisories, or OSV's")
    parser.flag("url", default="", help="where OSV's interface is, e.g. a mirror within your network")
    args = parser.parse_args(argv)
    if args.url and args.service != "osv":
        parser.error("--url is OSV's: --service=osv")
    if args.url:
        older_python.require("--url", (3, 10), "the last pip-audit for 3.9 has no such option")
    where: dict[tuple[str, str], list[str]] = {}
    for lock in locks.ALL:
        for pin in locks.pins(lock):
            where.setdefault((pin.name, pin.version), []).append(lock.file)
    with step(f"asking {args.service} about {len(where)} packages"):
        found = advisories.audit(where, args.service, args.url)
    rules = policy.load().accepted_advisories
    passed = {f: advisories.accepted(f, rules, datetime.date.today()) for f in found.findings}
    _show([f for f, rule in passed.items() if not rule])
    for finding, rule in passed.items():
        if rule:
            say(f"accepted until {rule.until}: {rule.id} in {finding.package} {finding.version}: {rule.reason}")
    used = [rule for rule in passed.values() if rule]
    for rule in rules:
        if rule not in used:
            say(f"no longer needed, or run out: {rule.id} of {rule.package} in pyproject.toml")
    _judge(found, [f for f, rule in passed.items() if not rule], len(where))


def _show(findings: list[advisories.Finding]) -> None:
    if not findings:
        return
    table = Table("package", "version", "advisory", "fixed in", "what")
    for f in findings:
        table.add_row(f.package, f.version, "\n".join(f.ids), ", ".join(f.fixed) or "-", f.summary[:200])
    console.print(table)


def _judge(found: advisories.Audit, left: list[advisories.Finding], asked: int) -> None:
    if left:
        packages = sorted({f.package for f in left})
        raise VerificationError(
            f"{len(left)} known vulnerabilities in {', '.join(packages)}", "none",
            f"inv lock --package={','.join(packages)}; or accept them with a reason in pyproject.toml",
        )  # fmt: skip
    if found.not_audited:
        raise MachineError(f"{len(found.not_audited)} of {asked} packages were not audited: {found.not_audited[0]}",
                           "an answer for each", "another --service, or a network that reaches it")  # fmt: skip
    say(f"{asked} packages, no known vulnerability that is not accepted")


if __name__ == "__main__":
    cli.run(main)
