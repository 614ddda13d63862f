"""Plot a model's INT8/FP32 over the commits of a directory of results; each CPU has a panel of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from qat8 import artifacts, cli, manifests, results
from qat8.console import say
from qat8.errors import DataError
from qat8.report import history, text

FILES = ("history.png", "history.svg", "history.csv")


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="history", description=__doc__)
    where = "directory of results files"
    parser.add_argument("directory", nargs="?", type=Path, default=artifacts.DATA / "results", help=where)
    parser.flag("output-dir", default=str(artifacts.DATA / "reports" / "history"), help="where the plot goes")
    parser.flag("model", default=None, help="only this one (None: all)")
    parser.flag("all", default=False, help="every configuration, not only the one that sums a model up")
    args = parser.parse_args(argv, argparse.Namespace())
    found = history.series(_load(args.directory), args.all)
    found = {key: points for key, points in found.items() if args.model in (None, key[1][0])}
    if not found:
        what = f" of {args.model}" if args.model else ""
        raise DataError(f"{args.directory} holds no comparison{what}", "results of `inv benchmark`")
    target = Path(args.output_dir)
    with artifacts.exclusive(target), artifacts.atomic_directory(target) as directory:
        for name, content in {**history.draw(found), "history.csv": history.table(found).encode()}.items():
            (directory / name).write_bytes(content)
        outputs = manifests.outputs_of(directory)
        manifests.write(directory / "manifest.json", "history", {}, {}, outputs)
    for key, points in found.items():
        first, last = points[0], points[-1]
        change = f", first {text.ratio(first.ratio)}" if len(points) > 1 else ""
        say(f"  {history.name(key)}: {text.count(len(points), 'run')}, last {text.ratio(last.ratio)} "
            f"({text.ratio(last.low)} to {text.ratio(last.high)}) at {last.commit}{change}")  # fmt: skip
    say(f"history: {artifacts.shown(target / 'history.png')}")


def _load(directory: Path) -> list[results.Results]:
    """All results in it; what is none is named and left out, because a directory may hold other files too."""
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory", "a directory of results files")
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            found.append(results.load(path))
        except DataError as e:
            say(f"  left out: {e.fact}")
    return found


if __name__ == "__main__":
    cli.run(main)
