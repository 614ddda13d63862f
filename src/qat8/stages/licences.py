"""Write docs/licences.md: every locked package with its licence; exit code 7 where one is not allowed."""

from __future__ import annotations

import sys
from pathlib import Path

from qat8 import artifacts, cli
from qat8.console import say
from qat8.dependencies import licences, locks, policy
from qat8.errors import VerificationError


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="licences", description=__doc__)
    parser.flag("check", default=False, help="write nothing; exit code 7 when the page is not what it should be")
    args = parser.parse_args(argv)
    rules = policy.load().licences
    installed = licences.of_environment(Path(sys.executable), rules)
    found = {lock: licences.of_lock(lock, rules, installed) for lock in locks.ALL}
    if faults := [(row, why) for rows in found.values() for row in rows if (why := licences.fault(row.licence, rules))]:
        for row, why in faults:
            say(f"{row.name} {row.version}: {why}")
        row, why = faults[0]
        raise VerificationError(f"{len(faults)} packages, {row.name} the first: {why}",
                                "what [tool.qat8.licences] in pyproject.toml allows",
                                "do without it, or read its licence and allow it there")  # fmt: skip
    text = licences.render(found)
    if args.check:
        if not licences.PAGE.is_file() or licences.PAGE.read_text() != text:
            raise VerificationError(f"{artifacts.shown(licences.PAGE)} is not up to date", next_step="inv licences")
    else:
        with artifacts.atomic_file(licences.PAGE) as temporary:
            temporary.write_text(text)
    say(f"{sum(map(len, found.values()))} rows, every licence allowed: {artifacts.shown(licences.PAGE)}")


if __name__ == "__main__":
    cli.run(main)
