"""Compare two results files: what changed, whether it is more than noise, and whether it is a regression."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from qat8 import cli, comparison, results
from qat8.comparison import METRICS, Row
from qat8.console import console, say
from qat8.errors import DataError, UsageError, VerificationError
from qat8.report import text
from qat8.statistics import median

MIN_CHANGE, MAX_REGRESSION = 2.0, 5.0  # per cent
SHORT = {"ratio": "ratio", "int8": "INT8", "fp32": "FP32", "bf16": "BF16"}  # 80 characters are not many


def main(argv: list[str]) -> None:
    args = _parser().parse_args(argv)
    for name in ("min_change", "max_regression"):
        if not (math.isfinite(getattr(args, name)) and getattr(args, name) >= 0):
            raise UsageError(f"--{name.replace('_', '-')}={getattr(args, name)}", "per cent, 0 or more")
    a, b = results.load(args.a), results.load(args.b)
    _say_differences(a, b, args.force)
    found = comparison.rows(a, b, args.min_change / 100)
    if not found:
        raise DataError(f"{args.a} and {args.b} have no configuration in common", "the same model, tester, threads "
                        "and batch size in both")  # fmt: skip
    _print(found)
    _say_accuracy(a, b)
    _gate(found, b, args)


def _parser() -> cli.Parser:
    parser = cli.Parser(prog="compare", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="results file, before", default=argparse.SUPPRESS)
    parser.add_argument("b", type=Path, metavar="B", help="results file, after", default=argparse.SUPPRESS)
    parser.flag("max-regression", type=float, default=MAX_REGRESSION, help="per cent; a loss beyond it ends with 7")
    parser.flag("metric", choices=list(METRICS), default="ratio", help="what --max-regression is about")
    parser.flag("min-change", type=float, default=MIN_CHANGE, help="per cent; less is called noise, see docs/trust.md")
    parser.flag("force", default=False, help="compare unlike machines, and runs that are INVALID")
    return parser


def _say_differences(a: results.Results, b: results.Results, force: bool) -> None:
    machine = comparison.machine_differences(a.environment, b.environment)
    if machine and not force:
        raise DataError(f"the two were measured on unlike machines ({'; '.join(machine)})", "the same machine",
                        "--force compares them all the same")  # fmt: skip
    for line in [*machine, *comparison.other_differences(a, b)]:
        say(f"  {line}")
    for name, each in (("A", a), ("B", b)):
        for reason in each.reasons or results.reasons(each.environment.validity):
            say(f"  {name} is INVALID: {reason}")


def _print(found: list[Row]) -> None:
    say("Medians (all but ratios in images/s). p: Welch's t-test on the logarithms, adjusted (Benjamini-Hochberg).")
    say("Effect: Cliff's delta, -1 to 1.")
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("Model", "Tester", "Thr", "Batch", "What", "A", "B", "Change", "p", "Effect", "Verdict"):
        text_column = name in ("Model", "Tester", "What", "Verdict")
        table.add_column(name, justify="left" if text_column else "right", no_wrap=name != "Model")
    before = None
    for row in sorted(found, key=lambda row: row.key):
        names = _names(row) if row.key != before else [""] * 4
        table.add_row(*map(escape, [*names, *_cells(row)]))
        before = row.key
    console.print(table)


def _names(row: Row) -> list[str]:
    model, tester, threads, instances, batch = row.key
    return [model, text.tester(tester), f"{instances} × {threads}" if instances > 1 else str(threads), str(batch)]


def _cells(row: Row) -> list[str]:
    form = text.ratio if row.metric == "ratio" else text.speed
    p = "–" if row.p_value is None else "<0.001" if row.p_value < 0.001 else text.fixed(row.p_value, 3)
    effect = text.signed(row.change.cliffs_delta, 2)
    middles = (form(median(values)) for values in (row.before, row.after))
    return [SHORT[row.metric], *middles, _percent(row), p, effect, row.verdict]


def _configuration(row: Row) -> str:
    model, tester, threads, batch = _names(row)
    return f"{model}, {tester}, {threads} thread{'' if threads == '1' else 's'}, batch {batch}"


def _percent(row: Row) -> str:
    return f"{text.signed(row.change.relative * 100, 1)} %"


def _say_accuracy(a: results.Results, b: results.Results) -> None:
    """INT8's top-1 on each subset that both have, by the same name and size."""
    before = {(s.model, s.subset, s.images): s for s in a.accuracy}
    for after in b.accuracy:
        was = before.get((after.model, after.subset, after.images))
        shares = [s.top1.get("int8") for s in (was, after) if s]
        if len(shares) == 2 and None not in shares and shares[0] != shares[1]:
            points = text.points(shares[1] - shares[0], after.images)
            say(f"  {after.model}, {after.subset!r}: INT8 top-1 {text.percent(shares[0], after.images)} -> "
                f"{text.percent(shares[1], after.images)} ({points} points on {after.images:,} images)")  # fmt: skip


def _gate(found: list[Row], b: results.Results, args) -> None:
    """
    Raises:
        VerificationError: a regression beyond the limit; or nothing can be said, because B is INVALID.
    """
    worse = comparison.regressions(found, args.metric, args.max_regression / 100)
    if worse:
        others = f" (and {len(worse) - 1} more)" if worse[1:] else ""
        raise VerificationError(
            f"regression: {_configuration(worse[0])}: {METRICS[args.metric]} {_percent(worse[0])}{others}",
            f"no loss beyond {args.max_regression:g} %",
        )
    if (b.verdict == "INVALID" or results.reasons(b.environment.validity)) and not args.force:
        raise VerificationError("B is INVALID: that it shows no regression means nothing", "a VALID run",
                                "measure again, or --force")  # fmt: skip
    too_few = [row for row in found if row.metric == args.metric and row.verdict == "too few"]
    untold = (
        f"; {text.count(len(too_few), 'configuration')} with fewer than 3 repetitions cannot tell" if too_few else ""
    )
    say(f"no regression of {METRICS[args.metric]} beyond {args.max_regression:g} %{untold}")


if __name__ == "__main__":
    cli.run(main)
