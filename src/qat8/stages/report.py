"""Results file -> report: Markdown, one self-contained HTML page, CSV, plots; the short form on the terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from qat8 import artifacts, cli, manifests, results
from qat8.console import say
from qat8.errors import DataError, UsageError
from qat8.profiling.record import Profile
from qat8.report import plots, print_summary, render_csv, render_html, render_markdown, summary_table

__all__ = ["main", "print_summary", "summary_table", "write_report"]

RESULTS_DIR = artifacts.DATA / "results"
REPORTS_DIR = artifacts.DATA / "reports"
PROFILES_DIR = artifacts.DATA / "profiles"
FILES = ("report.md", "report.html", "results.csv", "speed.png", "speed.svg", "accuracy.png", "accuracy.svg")
# Of results that hold several instances, and the distributions of latency.
SOME_FILES = ("instances.png", "instances.svg", "latency.png", "latency.svg")

CLOCKS_DIFFER = 60  # seconds, between machines that share a disk


def main(argv: list[str]) -> None:
    args = _parser().parse_args(argv, argparse.Namespace(files=[], results=[], output_dir=None))
    if args.files and args.results:
        raise UsageError("results files are given both by position and by --results", "one of the two")
    paths = [Path(path) for path in args.files or args.results or [_newest()]]
    other = results.load(Path(args.beside)) if args.beside else None
    if args.output_dir and len(paths) > 1:
        raise UsageError(f"--output-dir with {len(paths)} results files", "one file", "one call per file")
    console = Console()
    for path in paths:
        measured = results.load(path)
        if not measured.runs:
            raise DataError(f"{path} holds no runs", "at least one", "run `inv benchmark` again")
        target = Path(args.output_dir or REPORTS_DIR / measured.run_id)
        write_report(measured, target, other)
        print_summary(measured, console)
        # Plainly: rich would fold a long path, and a path that is folded cannot be copied.
        print(f"report: {artifacts.shown(target / 'report.html')}")


def write_report(measured: results.Results, target: Path, other: results.Results | None = None) -> None:
    """Make the whole report in `target`; a report that is there already stays whole until the new one is complete.

    Args:
        other: a second run whose ratios stand beside those of `measured`.
    """
    profiles = profiles_of(measured)
    content = {
        "report.md": render_markdown(measured, other, profiles).encode(),
        "report.html": render_html(measured, other, profiles).encode(),
        "results.csv": render_csv(measured).encode(),
        **plots.files(measured),
    }
    _refuse_strangers(target)
    with artifacts.exclusive(target), artifacts.atomic_directory(target) as directory:
        for name in (*FILES, *(n for n in SOME_FILES if n in content)):
            (directory / name).write_bytes(content[name])
        inputs = {"results": artifacts.fingerprint(results.dump(measured))}
        outputs = manifests.outputs_of(directory)
        manifests.write(directory / "manifest.json", "report", {"run_id": measured.run_id}, inputs, outputs)


def profiles_of(measured: results.Results) -> list[Profile]:
    """What `inv profile` has recorded of just these models; a profile of other weights says nothing of these."""
    sums = {artifact.sha256 for pair in measured.models.values() for artifact in pair.values()}
    found = []
    for path in sorted(PROFILES_DIR.glob("*/profile.json")):
        manifest = manifests.read(path.parent) or {}
        if manifest.get("inputs", {}).get("model") in sums:
            found.append(_profile(path))
    return found


def _profile(path: Path) -> Profile:
    try:
        return Profile.model_validate_json(path.read_bytes())
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}", "a profile", "inv profile, or remove it") from e


def _parser() -> cli.Parser:
    parser = cli.Parser(prog="report", description=__doc__)
    # SUPPRESS, because the defaults depend on what is there and the help would call them None.
    options = {"metavar": "RESULTS", "default": argparse.SUPPRESS}
    newest = "results files (default: the newest in data/results)"
    parser.add_argument("files", nargs="*", help=newest, **options)
    parser.flag("results", nargs="+", help="the same as a flag", **options)
    where = "directory of the report (default: data/reports/RUN_ID)"
    beside = "a second run, e.g. of the other runtime, whose ratios to set beside these"
    parser.flag("beside", metavar="RESULTS", default=None, help=beside)
    parser.flag("output-dir", metavar="DIR", default=argparse.SUPPRESS, help=where)
    return parser


def _newest() -> Path:
    found = sorted(RESULTS_DIR.glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(
            f"no results in {artifacts.shown(RESULTS_DIR)}", "at least one *.json", "`inv benchmark` writes one"
        )
    if found[-1].stat().st_mtime > time.time() + CLOCKS_DIFFER:
        # Of a time when the clock was wrong: it would hide all that is measured from now on.
        say(f"warning: the time of {artifacts.shown(found[-1])} lies in the future; name the results file to be sure")
    return found[-1]


def _refuse_strangers(target: Path) -> None:
    """A directory that holds anything but a report is somebody's, and is not replaced."""
    known = {*FILES, *SOME_FILES, "manifest.json"}
    strangers = sorted(path.name for path in target.iterdir() if path.name not in known) if target.is_dir() else []
    if strangers or (target.exists() and not target.is_dir()):
        raise UsageError(
            f"{target} holds something that is not a report: {strangers[0] if strangers else 'a file'}",
            "a new directory or an earlier report",
            "name another --output-dir",
        )


if __name__ == "__main__":
    cli.run(main)
