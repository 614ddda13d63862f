"""Resolve the requirements anew, every package by version and hash, and say what moved.

Without --upgrade or --package only what the *.in files newly ask for is added. With --find-links the peers' lock too:
its torch is a build that only such a directory or an index of its own has (docs/peers.md).
"""

from __future__ import annotations

from rich.table import Table

from qat8 import cli
from qat8.console import console, say, step
from qat8.dependencies import locks


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="lock", description=__doc__)
    parser.flag("upgrade", default=False, help="every package to the newest version that fits")
    parser.flag("package", default="", help="only these, by comma")
    parser.flag("find-links", default="", help="directory or page with torch's CPU build: the peers' lock, too")
    args = parser.parse_args(argv)
    chosen = [lock for lock in locks.ALL if lock is not locks.PEERS or args.find_links]
    before = {lock.file: locks.versions(lock) for lock in chosen}
    with step("resolving"):
        locks.renew(chosen, args.upgrade, [name for name in args.package.split(",") if name], args.find_links)
    moved = locks.moved(before, {lock.file: locks.versions(lock) for lock in chosen})
    if moved:
        table = Table("package", "before", "now", "locks")
        for name, old, new, where in moved:
            table.add_row(name, old or "-", new or "gone", where)
        console.print(table)
    say(f"{len(moved)} packages moved" if moved else "nothing moved")
    if not args.find_links:
        say(f"{locks.PEERS.file} is as it was: --find-links=DIR renews it")


if __name__ == "__main__":
    cli.run(main)
