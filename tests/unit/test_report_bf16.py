"""BF16 in a report: beside FP32 and INT8 where it was measured, and nowhere else."""

import csv
import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import pytest
import report_fixture as fixture
from rich.console import Console

from qat8 import comparison
from qat8.older_python import pairwise, zip_strict
from qat8.report import accuracy_tables, figures, plots, render, tables, terminal
from qat8.results import PeerComparison, load


@pytest.fixture(scope="module")
def results():
    """The fixture's results with BF16 at 1.5 times FP32's speed in every configuration."""
    plain = fixture.make_results()
    fp32 = [run for run in plain.runs if run.precision == "fp32"]
    bf16 = [
        run.model_copy(update={
            "precision": "bf16", "repetitions": [1.5 * r for r in run.repetitions],
            "images_per_second": 1.5 * run.images_per_second, "top1": 0.9,
        }) for run in fp32
    ]  # fmt: skip
    pairs = [fixture.make_comparison(*pair) for pair in zip_strict(fp32, bf16)]
    accuracy = [s.model_copy(update={"bf16_agreement": 0.95, "bf16_agreement_interval": (0.9, 0.97),
                                     "top1": {**s.top1, "bf16": 0.9}}) for s in plain.accuracy]  # fmt: skip
    gates = [*plain.gates, plain.gates[0].model_copy(update={"precision": "bf16"})]
    return plain.model_copy(update={"runs": [*plain.runs, *bf16], "bf16_comparisons": pairs, "accuracy": accuracy,
                                    "gates": gates})  # fmt: skip


def test_the_table_has_bf16_between_fp32_and_int8_with_both_ratios(results):
    (table,) = tables.bf16(figures.speed_rows(results))
    assert table.rows[0] == ("MobileNetV1", "C++", "1", "50", "166.0", "249.0", "476.0", "1.50", "1.50-1.50", "1.91")
    assert len(table.rows) == 8 and all(len(row) == len(table.columns) for row in table.rows)


def test_without_bf16_a_report_says_nothing_of_it():
    plain = fixture.make_results()
    assert tables.bf16(figures.speed_rows(plain)) == accuracy_tables.bf16_subsets(plain) == []
    assert figures.precisions(plain) == ["fp32", "int8"]
    for content in (render.render_markdown(plain), render.render_html(plain), render.render_csv(plain)):
        assert (
            "BF16 img" not in content
            and "BF16/FP32" not in content
            and "BF16 (" not in content.replace("INT8 (BF16)", "")
        )


def test_page_markdown_and_terminal_hold_bf16_and_int8s_figures_stay_what_they_were(results):
    out = io.StringIO()
    terminal.print_summary(results, Console(file=out, width=80))
    markdown, page = render.render_markdown(results), render.render_html(results)
    for content in (out.getvalue(), markdown, page):
        assert "Ratio is BF16/FP32" in " ".join(content.split()) and "249.0" in content
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "| MobileNetV1 | C++ | 1 | 50 | 166.0 | 476.0 | 2.87 |" in markdown
    assert "BF16 top-1" in markdown and "MobileNetV1 in BF16" in markdown and "BF16 p99" in markdown
    assert "BF16 (min to max)" in page and "(1.50×)" in page


def test_bf16s_row_of_the_csv_has_bf16s_ratio(results):
    rows = list(csv.DictReader(io.StringIO(render.render_csv(results))))
    ratios = {row["precision"]: float(row["speedup"]) for row in rows if row["batch_size"] == "50"}
    assert ratios["bf16"] == pytest.approx(1.5) and ratios["int8"] > 2.5


def test_bars_of_a_row_do_not_lie_on_each_other(results, monkeypatch):
    drawn = {}
    bar = plots._bar
    monkeypatch.setattr(
        plots, "_bar",
        lambda axes, y, room, *rest: drawn.setdefault(id(axes), []).append((y, room)) or bar(axes, y, room, *rest),
    )  # fmt: skip
    plots.files(results)
    speeds = sorted(next(iter(drawn.values())))
    assert len(speeds) == 3 * 8
    gaps = [b[0] - a[0] - b[1] for a, b in pairwise(speeds)]
    assert min(gaps) >= -1e-9


def test_a_peer_in_bf16_stands_in_a_table_of_its_own(results):
    ours = [r for r in results.runs if (r.tester, r.threads, r.batch_size) == ("python", 1, 50)]
    theirs = [r.model_copy(update={"tester": "openvino", "engine": "Engine 1.0"}) for r in ours]
    pairs = [PeerComparison(model="MobileNetV1", precision=p, peer="openvino", tester="python", threads=1,
                            batch_size=50, ratio=0.8, ratio_min=0.7, ratio_max=0.9, top1_diff=0.0, agreement=1.0)
             for p in ("fp32", "bf16", "int8")]  # fmt: skip
    both = results.model_copy(update={"runs": [*results.runs, *theirs], "peers": pairs})
    assert "| MobileNetV1 | OpenVINO | 1 | 50 | 249.0 | 249.0 | 0.80 | 0.70-0.90 |" in render.render_markdown(both)
    assert len(tables.bf16(figures.speed_rows(figures.ours(both)))[0].rows) == 8


def test_two_runs_are_compared_in_bf16_where_both_have_it(results):
    rows = comparison.rows(results, results, 0.02)
    assert sum(row.metric == "bf16" for row in rows) == sum(row.metric == "int8" for row in rows) == 8
    assert not any(row.metric == "bf16" for row in comparison.rows(results, fixture.make_results(), 0.02))


def test_a_real_run_with_bf16_is_drawn_and_told():
    real = load(Path(__file__).parents[1] / "golden/results-1.2.json")
    assert "27 of 27 convolutions in BF16" in render.render_markdown(real)
    assert len(tables.bf16(figures.speed_rows(real))[0].rows) == 2
