"""Results to text: Markdown, one self-contained HTML page, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import jinja2
from markupsafe import Markup, escape

from qat8.profiling.record import Profile
from qat8.report import figures, view
from qat8.results import Comparison, Results, Run, reasons

_RUN_COLUMNS = (
    *("model", "precision", "tester", "threads", "instances", "batch_size", "images", "images_per_second"),
    *("top1", "top5", "peak_rss_bytes", "threads_alive", "threads_busy", "init_ms"),
)
_LATENCY_COLUMNS = ("mean", "p50", "p90", "p99", "min", "max")
_COMPARISON_COLUMNS = ("speedup", "speedup_min", "speedup_max", "top1_diff", "top5_diff", "speedup_interval")


def render_markdown(results: Results, other: Results | None = None, profiles: Sequence[Profile] = ()) -> str:
    return _templates().get_template("report.md.j2").render(view=view.build(results, other, profiles))


def render_html(results: Results, other: Results | None = None, profiles: Sequence[Profile] = ()) -> str:
    """A page that needs nothing but itself: styles and plots are inside, no script, no network."""
    from qat8.report import plots

    pictures = {"speed": plots.inline_speed(results), "accuracy": plots.inline_accuracy(results)}
    pictures["instances"] = plots.inline_instances(results)
    pictures["latency"] = plots.inline_latency(results)
    content = view.build(results, other, profiles)
    return _templates().get_template("report.html.j2").render(view=content, pictures=pictures)


def render_csv(results: Results) -> str:
    """One row per run, numbers as measured; lists are separated by blanks."""
    pairs = {
        (row.model, row.tester, row.threads, row.instances, row.batch_size): (row.comparison, row.bf16_comparison)
        for row in figures.speed_rows(results)
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    latencies = [f"latency_ms_{name}" for name in _LATENCY_COLUMNS]
    head = ["run_id", "created", "quick", "valid", "cpu", *_RUN_COLUMNS, *latencies, "repetitions", "cpus"]
    writer.writerow([*head, *_COMPARISON_COLUMNS])
    valid = not reasons(results.environment.validity)
    common = [results.run_id, results.created, results.quick, valid, results.environment.cpu.get("model")]
    for run in results.runs:
        int8, bf16 = pairs[run.model, run.tester, run.threads, run.instances, run.batch_size]
        writer.writerow([*common, *_run_cells(run), *_comparison_cells(bf16 if run.precision == "bf16" else int8)])
    return out.getvalue()


def _comparison_cells(pair: Comparison | None) -> list[object]:
    cells = [getattr(pair, name, None) for name in _COMPARISON_COLUMNS]
    return [" ".join(map(str, cell)) if isinstance(cell, tuple) else cell for cell in cells]


def _run_cells(run: Run) -> list[object]:
    cells = [getattr(run, name) for name in _RUN_COLUMNS]
    cells += [getattr(run.latency_ms, name) for name in _LATENCY_COLUMNS]
    return [*cells, " ".join(map(str, run.repetitions)), " ".join(map(str, run.cpus))]


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qat8.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"code": _code, "plain": _plain}
    return environment


def _code(sentence: str) -> Markup:
    """HTML of a sentence in which backticks mark what is to be typed."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))


def _plain(cell: str) -> str:
    """Foreign text (a path, a CPU's name, a check's detail) that must not become Markdown or HTML."""
    return re.sub(r"([|*<\[\\])", r"\\\1", " ".join(cell.split()))
