"""The whole campaign: kills at random moments and at every system call that changes the disk, and full disks.

    python tests/faults/kill.py [--stages=train,convert] [--kills=100] [--calls=60] [--disks=40] [--output=data/faults]

Each stage's counts go to OUTPUT/STAGE.json; the table at the end has all that are there. Full disks are a tmpfs that is
mounted, which needs root; wrong clocks need Debian's faketime and are left out without it. It exits with 1 when
something was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cases
from campaign import Campaign, Tally
from rich.console import Console
from rich.table import Table

COLUMNS = ("group", "parent", "call", "disk", "inodes", "read-only", "clock", "ends compared")


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    if args.calls and not shutil.which("strace"):
        return _stop("strace is not installed: apt-get install strace, or --calls=0")
    if args.disks and os.geteuid():
        return _stop("a full disk is a tmpfs that root mounts: run as root, or --disks=0")
    with tempfile.TemporaryDirectory(prefix="qat8-faults-") as directory:
        inputs = Path(directory) / "inputs"
        cases.make_inputs(inputs)
        for name in args.stages.split(","):
            start = time.monotonic()
            tally = disturb(name, inputs, Path(directory) / "home", args)
            record = {**vars(tally), "seed": args.seed, "took_seconds": round(time.monotonic() - start, 1)}
            (output / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
            for said in tally.wrong:
                print(f"WRONG {said}", flush=True)
            print(f"{name}: {dict(tally.tried)}, {len(tally.wrong)} wrong, {record['took_seconds']} s", flush=True)
    return table(output)


def disturb(name: str, inputs: Path, home: Path, args) -> Tally:
    campaign = Campaign(cases.CASES[name], inputs, home, args.seed)
    campaign.random_kills(args.kills)
    if args.calls:
        campaign.kills_at_calls(args.calls)
    if args.disks:
        campaign.full_disks(args.disks, args.disks // 2)
        campaign.read_only()
    if shutil.which("faketime"):
        campaign.odd_times()
    return campaign.tally


def table(output: Path) -> int:
    """Print all that was counted; 1 when anything was wrong."""
    shown = Table("Stage", *(c.capitalize() for c in COLUMNS), "Wrong", title="Disturbed runs")
    total: Counter[str] = Counter()
    wrong = 0
    for file in sorted(output.glob("*.json")):
        record = json.loads(file.read_text())
        tried, wrong = Counter(record["tried"]), wrong + len(record["wrong"])
        shown.add_row(record["stage"], *(str(tried[c]) for c in COLUMNS), str(len(record["wrong"])))
        total.update(tried)
    shown.add_row("all", *(str(total[c]) for c in COLUMNS), str(wrong))
    Console(width=100).print(shown)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kill.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--stages", default=",".join(cases.CASES), help="by comma (default: all)")
    parser.add_argument("--kills", type=int, default=100, help="at random moments, per stage (%(default)s)")
    parser.add_argument("--calls", type=int, default=60, help="system calls to kill at, per stage (%(default)s)")
    parser.add_argument("--disks", type=int, default=40, help="sizes of a full disk, per stage (%(default)s)")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--output", default=str(cases.REPO / "data/faults"), help="directory (%(default)s)")
    return parser


def _stop(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 5


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
