"""Scenarios and instances in the report. All numbers here are invented."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8.records import Latency
from qat8.report import loads, plots, render_csv, render_html, render_markdown
from qat8.scenario_results import Instances, Probe, ScenarioMeasurement, Server
from qat8.stages import report

MODEL = "MobileNetV1"
TIMES = Latency(mean=2, p50=2, p90=2.5, p99=3, min=1, max=4)


def split(precision: str, count: int, threads: int, speed: float, batch: int = 50) -> Instances:
    return Instances(
        model=MODEL, precision=precision, instances=count, threads=threads, batch_size=batch, images_per_second=speed,
        repetitions=[speed * 0.98, speed, speed * 1.02], per_instance=[[speed / count] * count] * 3,
        window_seconds=[3.0, 2.9, 3.1], latency_ms=TIMES, peak_rss_bytes=1, cpus=[[0]] * count, nodes=[0],
        memory="one NUMA node: all memory is local", command=["tester"],
    )  # fmt: skip


def pair(count: int, threads: int, speed: float, **more) -> list[Instances]:
    return [split("fp32", count, threads, speed, **more), split("int8", count, threads, 3 * speed, **more)]


def scenario(precision: str, name: str, metric: float, server: Server | None = None) -> ScenarioMeasurement:
    return ScenarioMeasurement(
        model=MODEL, precision=precision, scenario=name, threads=1, images_per_query=1, repetitions=[metric],
        metric=metric, queries=1000, seconds=3, latency_ms=TIMES if metric else None, server=server, cpus=[0],
        command=["tester"],
    )  # fmt: skip


def server(rate: float, confirmed: bool = True) -> Server:
    met = Probe(rate=rate, seed=2, planned=1024, queries=1024, late=3, seconds=3, p99_ms=13.5, meets=True)
    lost = Probe(rate=rate + 1, seed=1, planned=1024, queries=77, late=11, seconds=1, p99_ms=20, meets=False)
    return Server(target_latency_ms=15, rate=rate, confirmed=confirmed, service_ms=TIMES, probes=[lost, met])


def results(**update):
    return fixture.make_results().model_copy(update=update)


SWEEP = [*pair(2, 1, 180), *pair(1, 1, 100), *pair(1, 2, 150)]
SCENARIOS = [
    scenario("fp32", "single-stream", 6.0), scenario("int8", "single-stream", 2.4),
    scenario("fp32", "server", 0.0, server(0)), scenario("int8", "server", 300.0, server(300, confirmed=False)),
]  # fmt: skip


def test_splits_are_in_order_and_the_best_is_named():
    found = loads.pairs(results(instances=SWEEP), MODEL)
    assert [loads.split(p.fp32) for p in found] == ["1 × 1 thread", "1 × 2 threads", "2 × 1 thread"]
    assert loads.best(found).fp32.instances == 2 and loads.best(found[:1]) is None
    notes = loads.notes(results(instances=SWEEP), [MODEL])
    assert notes[0] == "MobileNetV1, batch 50: the most images per second in INT8, 540.0, came from 2 × 1 thread."


def test_a_sweep_without_20_cores_says_that_the_tutorials_20_threads_are_missing():
    line = "20 threads, the tutorial's larger setting, were not measured: there are 2 cores here."
    assert line in loads.notes(results(instances=SWEEP), [MODEL])
    assert line not in loads.notes(results(instances=SWEEP[:2]), [MODEL]), "no sweep was asked for"
    enough = [*SWEEP, *pair(1, 20, 900), *pair(1, 24, 950)]
    assert not any("20 threads" in line for line in loads.notes(results(instances=enough), [MODEL]))


def test_the_tables_hold_speeds_spread_and_gain():
    rows = loads.instances_table(results(instances=SWEEP), [MODEL]).rows
    assert rows[2] == (MODEL, "2 × 1 thread", "50", "180.0", "540.0", "3.00", "270.0 to 270.0", "3.00", "2.9")
    stream, served = loads.scenarios_table(results(scenarios=SCENARIOS)).rows
    assert stream[1:7] == ("single-stream", "1", "1", "6.00 ms", "2.40 ms", "2.50")
    assert served[4:] == ("none", "300.0 queries/s", "–", "–", "3.00", "p99 ≤ 15 ms; not confirmed: INT8")
    probes = loads.probes_table(results(scenarios=SCENARIOS)).rows
    assert probes[2] == (MODEL, "INT8", "301.0", "1", "1,024", "11", "20.00", "lost after 77")
    assert probes[3][-1] == "meets"


def test_the_page_the_markdown_and_the_csv_show_what_was_measured_and_nothing_else():
    full, plain = results(instances=SWEEP, scenarios=SCENARIOS), results()
    html, markdown = render_html(full), render_markdown(full)
    for words in ("Instances and scaling", "Scenarios", "They are not MLPerf results", "lost after 77"):
        assert words in html and words in markdown
    assert "instances.png" in markdown
    for words in ("Instances and scaling", "MLPerf inference's", "instances.png"):
        assert words not in render_html(plain) and words not in render_markdown(plain)
    assert render_csv(full).count("\n") == render_csv(plain).count("\n")


def test_instances_stand_in_the_speed_tables_with_their_own_ratio():
    base = results()
    ours, theirs = (fixture.make_run(MODEL, p, "cpp", 1, 50) for p in ("fp32", "int8"))
    several = [run.model_copy(update={"instances": 2, "top1": None, "top5": None}) for run in (ours, theirs)]
    compared = fixture.make_comparison(*several).model_copy(update={"instances": 2, "speedup": 2.22})
    both = base.model_copy(update={"runs": base.runs + several, "comparisons": [*base.comparisons, compared]})
    assert "| MobileNetV1 | C++ | 2 × 1 | 50 |" in render_markdown(both) and "2.22" in render_markdown(both)


@pytest.mark.parametrize("more", [[], pair(1, 1, 9, batch=1) + pair(2, 1, 16, batch=1)], ids=["one batch size", "two"])
def test_the_plot_is_drawn_for_the_page_and_as_a_file(more, tmp_path):
    full = results(instances=SWEEP + more)
    ((_, wide, narrow),) = plots.inline_instances(full)
    for svg in (wide, narrow):
        assert "threads of one instance" in svg and "2 × 1 thread" in svg and "currentColor" in svg
    report.write_report(full, tmp_path / "report")
    assert (tmp_path / "report/instances.png").read_bytes()[:4] == b"\x89PNG"
    report.write_report(results(), tmp_path / "report")
    assert not (tmp_path / "report/instances.png").exists()
