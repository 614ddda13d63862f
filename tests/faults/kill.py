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
from campaign import Campaign
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
        inputs = Path(args.inputs or Path(directory) / "inputs")
        if not inputs.exists():
            cases.make_inputs(inputs)
        for name in args.stages.split(","):
            disturb(Campaign(cases.CASES[name], inputs, Path(directory) / "home", args.seed), args, output)
    return table(output)


def disturb(campaign: Campaign, args, output: Path) -> None:
    """One kind of disturbance after the other; what was counted is written after each."""
    kinds = {
        "random kills": lambda: campaign.random_kills(args.kills),
        "kills at calls": lambda: campaign.kills_at_calls(args.calls) if args.calls else None,
        "read-only": lambda: campaign.read_only() if args.disks else None,
        "clock": lambda: campaign.odd_times() if args.clocks and shutil.which("faketime") else None,
        "full disks": lambda: campaign.full_disks(args.disks, args.disks // 2) if args.disks else None,
    }
    tally, seen = campaign.tally, 0
    start = time.monotonic()
    for kind, call in kinds.items():
        call()
        took = round(time.monotonic() - start, 1)
        record = {**vars(tally), "seed": args.seed, "took_seconds": took}
        (output / f"{tally.stage}.json").write_text(json.dumps(record, indent=1) + "\n")
        for said in tally.wrong[seen:]:
            print(f"WRONG {said}", flush=True)
        seen = len(tally.wrong)
        print(f"{tally.stage}, {kind}: {dict(tally.tried)}, {seen} wrong, {took} s", flush=True)


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
    parser.add_argument("--clocks", type=int, default=1, help="0: no wrong clocks (%(default)s)")
    parser.add_argument("--inputs", default="", help="directory of the input, made when it is not there")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--output", default=str(cases.REPO / "data/faults"), help="directory (%(default)s)")
    return parser


def _stop(why: str) -> int:
    print(f"error: {why}", file=sys.stderr)
    return 5


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
