"""Results file -> report: Markdown, one self-contained HTML page, CSV, plots; the short form on the terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from qat8 import cli, results
from qat8.errors import DataError, UsageError
from qat8.report import plots, print_summary, render_csv, render_html, render_markdown, summary_table

__all__ = ["main", "print_summary", "summary_table", "write_report"]

RESULTS_DIR = Path("data/results")
REPORTS_DIR = Path("data/reports")
FILES = ("report.md", "report.html", "results.csv", "speed.png", "speed.svg", "accuracy.png", "accuracy.svg")


def main(argv: list[str]) -> None:
    args = _parser().parse_args(argv, argparse.Namespace(files=[], results=[], output_dir=None))
    if args.files and args.results:
        raise UsageError("results files are given both by position and by --results", "one of the two")
    paths = [Path(path) for path in args.files or args.results or [_newest()]]
    if args.output_dir and len(paths) > 1:
        raise UsageError(f"--output-dir with {len(paths)} results files", "one file", "one call per file")
    console = Console()
    for path in paths:
        measured = results.load(path)
        if not measured.runs:
            raise DataError(f"{path} holds no runs", "at least one", "run `inv benchmark` again")
        target = Path(args.output_dir or REPORTS_DIR / measured.run_id)
        write_report(measured, target)
        print_summary(measured, console)
        # Plainly: rich would fold a long path, and a path that is folded cannot be copied.
        print(f"report: {target / 'report.html'}")


def write_report(measured: results.Results, target: Path) -> None:
    """Make the whole report in `target`; a report that is there already stays whole until the new one is complete."""
    content = {
        "report.md": render_markdown(measured).encode(),
        "report.html": render_html(measured).encode(),
        "results.csv": render_csv(measured).encode(),
        **plots.files(measured),
    }
    with _replacing(target) as directory:
        for name in FILES:
            _write_synced(directory / name, content[name])


def _parser() -> cli.Parser:
    parser = cli.Parser(prog="report", description=__doc__)
    # SUPPRESS, because the defaults depend on what is there and the help would call them None.
    options = {"metavar": "RESULTS", "default": argparse.SUPPRESS}
    newest = f"results files (default: the newest {RESULTS_DIR}/*.json)"
    parser.add_argument("files", nargs="*", help=newest, **options)
    parser.flag("results", nargs="+", help="the same as a flag", **options)
    where = f"directory of the report (default: {REPORTS_DIR}/RUN_ID)"
    parser.flag("output-dir", metavar="DIR", default=argparse.SUPPRESS, help=where)
    return parser


def _newest() -> Path:
    found = sorted(RESULTS_DIR.glob("*.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"no results in {RESULTS_DIR}", "at least one *.json", "`inv benchmark` writes one")
    return found[-1]


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A new directory that takes `target`'s place when the block ends well, and vanishes when it does not."""
    strangers = sorted(path.name for path in target.iterdir() if path.name not in FILES) if target.is_dir() else []
    if strangers or (target.exists() and not target.is_dir()):
        raise UsageError(
            f"{target} holds something that is not a report: {strangers[0] if strangers else 'a file'}",
            "a new directory or an earlier report",
            "name another --output-dir",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays within one file system.
    workshop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        new, old = workshop / "new", workshop / "old"
        new.mkdir()
        yield new
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


if __name__ == "__main__":
    cli.run(main)
