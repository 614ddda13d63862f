import csv
import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import tutorial
from qat8.report import plots, print_summary, render_csv, render_html, render_markdown, summary_table
from qat8.results import Check, load

FAILED = [Check(check="turbo", ok=False, detail="on")]


@pytest.fixture(scope="module")
def results():
    return fixture.make_results(models=("MobileNetV1", "VGG16"), quick=True, validity=FAILED)


@pytest.fixture(scope="module")
def page(results):
    return render_html(results)


def _row(markdown, *cells):
    return f"| {' | '.join(cells)} |" in markdown


def test_markdown_holds_our_ratio_with_its_range_and_the_tutorials_row(results):
    said = render_markdown(results)
    assert _row(said, "MobileNetV1", "C++", "1", "50", "166.0", "476.0", "2.87", "2.75 to 2.95")
    assert _row(said, "MobileNetV1", "tutorial, Intel Xeon Gold 6271", "74.36", "210.68", "2.83")
    assert _row(said, "VGG16", "tutorial, Intel Xeon Gold 6148", "3.31", "4.74", "1.43")
    assert tutorial.FP32_SOURCE in said


def test_markdown_holds_accuracy_with_intervals_and_the_tutorials_row(results):
    said = render_markdown(results)
    assert "80.0 % (58.4 to 91.9 %)" in said
    assert "| MobileNetV1 | tutorial, Intel Xeon Gold 6271 | 70.78 % | 70.71 % | -0.07 | 89.69 %" in said
    assert "here, 120 images, some trained on | 92.5 % | 90.8 % | -1.7 | 97.5 % | 97.5 % | 0.0 |" in said


def test_accuracy_without_trained_weights_is_not_measured_and_nowhere_a_number(results):
    rows = [row for row in render_markdown(results).splitlines() if row.startswith("| VGG16 |") and "here, 120" in row]
    assert rows == ["| VGG16 | here, 120 images |" + " not measured |" * 6]


def test_every_table_row_of_the_markdown_has_as_many_cells_as_its_head(results):
    widths = {}
    for block in render_markdown(results).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths[block[:40]] = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert all(len(found) <= 1 for found in widths.values())
    assert sum(bool(found) for found in widths.values()) >= 8


def test_what_a_machine_calls_itself_cannot_become_markup():
    results = fixture.make_results(validity=[Check(check="a|b", ok=False, detail="<script>alert(1)</script>")])
    assert "<script" not in render_html(results)
    assert r"a\|b" in render_markdown(results)
    assert "\\<script>" in render_markdown(results)


def test_banners_stand_before_the_first_figure(results, page):
    for said in (render_markdown(results), page):
        assert 0 < said.index("Quick run") < said.index("2.9 times faster")
        assert 0 < said.index("INVALID: 1 of 1 check failed") < said.index("2.9 times faster")


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert "<script" not in page
    assert "@import" not in page
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:,)[^"']*""", page) == []
    assert re.findall(r"url\((?!#)", page) == []


def test_the_page_has_no_id_twice_and_every_reference_leads_somewhere(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert references
    assert set(references) <= set(ids)


def test_every_picture_has_a_text_alternative(page):
    pictures = re.findall(r"<figure[^>]*>", page)
    assert len(pictures) == 3 * 2 * 2  # plots x models x widths
    assert all('role="img"' in tag and re.search(r'aria-label="[^"]{40,}"', tag) for tag in pictures)
    assert page.count("<svg") == len(pictures)


def test_the_plots_ink_is_the_pages_text_colour(page):
    assert plots.INK not in page.split("</style>")[1]
    assert "currentColor" in page


def test_the_exact_commands_are_there(results, page):
    for said in (render_markdown(results), page):
        assert "inv benchmark --model=MobileNetV1 --data-file=data/dataset/embedded/val.bin" in said
        assert "sample_tester --infer_model=data/models/VGG16/int8" in said
        assert "inv preprocess --local --data-dir=PATH --label-list=val_list.txt --output-file=val.bin" in said
        assert f"git checkout {'0123456789abcdef' * 2}01234567" in said


def test_the_csv_has_one_row_per_run_with_unrounded_numbers(results):
    rows = list(csv.DictReader(io.StringIO(render_csv(results))))
    assert len(rows) == len(results.runs)
    first, run = rows[0], results.runs[0]
    assert float(first["images_per_second"]) == run.images_per_second
    assert [float(r) for r in first["repetitions"].split()] == run.repetitions
    assert float(first["speedup"]) == results.comparisons[0].speedup
    assert first["valid"] == "False"
    assert {row["top1"] for row in rows if row["model"] == "VGG16"} == {""}


def test_the_summary_fits_a_terminal_of_80_characters(results):
    console = Console(width=80, record=True, file=io.StringIO())
    print_summary(results, console)
    said = console.export_text()
    assert re.search(r"MobileNetV1\s+C\+\+\s+1\s+50\s+166\.0\s+476\.0\s+2\.87\s+2\.75-2\.95\s+2\.83\s+1\.48", said)
    assert re.search(r"MobileNetV1\s+labelled\s+20\s+80\.0 %\s+80\.0 %\s+0\.0\s+95\.0 %", said)
    assert "ours*" in said
    assert "INVALID" in said


def test_the_summary_table_has_one_row_per_configuration(results):
    assert summary_table(results).row_count == len(results.comparisons)


def test_the_same_results_give_the_same_bytes(results, page):
    assert render_html(results) == page
    assert plots.files(results) == plots.files(results)


def test_plots_cope_with_a_precision_an_accuracy_and_a_tutorial_that_are_missing():
    results = fixture.make_results(accuracy=[])
    runs = [run.model_copy(update={"model": "Mine", "repetitions": []}) for run in results.runs]
    bare = results.model_copy(update={"runs": [run for run in runs if run.precision == "fp32"], "comparisons": []})
    files = {f"{name}.{form}" for name in ("speed", "accuracy", "latency") for form in ("png", "svg")}
    assert set(plots.files(bare)) == files
    bare = bare.model_copy(
        update={"runs": [run.model_copy(update={"latency_percentiles_ms": []}) for run in bare.runs]}
    )
    assert set(plots.files(bare)) == files - {"latency.png", "latency.svg"}
    assert "not measured" in render_markdown(bare)


def test_a_second_run_stands_beside_with_its_ranges_and_whether_they_overlap():
    ours = fixture.make_results(testers=("cpp",))
    slower = [
        c.model_copy(update={"speedup": 1.5, "speedup_min": 1.4, "speedup_max": 1.6}) if c.batch_size == 50 else c
        for c in ours.comparisons
    ]
    other = ours.model_copy(update={"run_id": "second", "runtime": "docker", "comparisons": slower})
    said = render_markdown(ours, other)
    assert "## Beside run second (docker runtime)" in said
    assert "The ranges overlap in 2 of 4 configurations that both runs measured." in said
    table = [
        line for line in said.splitlines() if line.startswith("| MobileNetV1") and line.endswith(("| yes |", "| no |"))
    ]
    assert len(table) == 4 and sum("1.50 (1.40 to 1.60)" in line and line.endswith("| no |") for line in table) == 2
    assert "Beside run" not in render_markdown(ours)
    assert "Beside run second" in render_html(ours, other)


def test_a_second_run_of_another_machine_is_named():
    ours = fixture.make_results(testers=("cpp",))
    machine = ours.environment.model_copy(update={"cpu": {**ours.environment.cpu, "model": "Another CPU"}})
    other = ours.model_copy(update={"environment": machine})
    assert "another machine: Another CPU (CPU model: Another CPU -> " in render_markdown(ours, other)
    assert "another machine" not in render_markdown(ours, ours)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_the_gate_the_limit_and_the_operators_are_in_both_forms(render):
    text = render(fixture.make_results(), None, [fixture.make_profile()])
    for words in ("Accuracy gate", "undecided", "Limit of direct sums", "Where the time goes", "conv2d_0.w_0",
                  "2 other operators", "outside oneDNN", "Limit of the control group: cpu quota", "95 % interval",
                  "SHA-256 of libpaddle.so", "oneDNN isa", "Peak: int8 ops per second core"):  # fmt: skip
        assert words in text, words


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_what_was_not_recorded_has_no_section(render):
    bare = fixture.make_results()
    runs = [run.model_copy(update={"latency_percentiles_ms": []}) for run in bare.runs]
    environment = bare.environment.model_copy(update={"peak": None})
    text = render(bare.model_copy(update={"runs": runs, "gates": [], "environment": environment}))
    for words in ("Accuracy gate", "Limit of direct sums", "Where the time goes"):
        assert words not in text
    assert "Latency of one batch" in text  # the percentiles, below the speeds


def test_an_old_results_file_makes_a_report():
    path = Path(__file__).parents[1] / "golden/results-1.0.json"
    text = render_html(load(path))
    assert "MobileNetV1 is " in text and "times faster in INT8 on AMD EPYC" in text
