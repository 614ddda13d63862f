"""What makes the figures of scenarios and instances INVALID, each provoked once; the runs are pretended."""

from __future__ import annotations

import numpy as np
import pytest

from qat8.benchmarking import load_summary, loads
from qat8.benchmarking.loads import Loads
from qat8.latencies import Queries
from qat8.records import Latency
from qat8.scenario_results import ScenarioRun
from qat8.tester_run import Conditions

TIMES = Latency(mean=2, p50=2, p90=2.5, p99=3, min=1, max=4)
ACCURATE = {("M", "int8"): [1, 2, 3, 4]}


def run(**changes) -> ScenarioRun:
    given = {
        "tester": "cpp", "scenario": "offline", "paddle_version": "2.6.2", "infer_model": "m", "infer_data": "d",
        "images_per_query": 1, "num_threads": 1, "warmup_size": 1, "duration": 1, "min_queries": 1, "seed": 1,
        "pool_images": 4, "queries": 9, "seconds": 1, "queries_per_second": 9, "images_per_second": 9,
        "latency_ms": TIMES, "start_ns": 0, "end_ns": 1, "predictions": [1, 2, 3, -1], "init_ms": 1,
        "peak_rss_bytes": 1, "threads_alive": 2, "threads_busy": 1, "affinity": [0],
    }  # fmt: skip
    return ScenarioRun(**given | changes)


def conditions(**changes) -> Conditions:
    given = {
        "seconds": 1, "cpu_seconds": 1, "other_load": 0.01, "elsewhere_load": None, "steal": 0.0,
        "throttled_periods": None, "throttled_ms": None, "thermal_events": None, "swapped_pages": None,
        "major_faults": 0, "frequency_mhz": None,
    }  # fmt: skip
    return Conditions(**given | changes)


def failed(one: ScenarioRun, seen: Conditions | None = None) -> list[str]:
    measured = Loads(runs=[("M", "int8", [0], one)], conditions=[("M", "int8", seen or conditions())])
    return [check.check for check in load_summary.checks(measured, ACCURATE) if not check.ok]


def test_a_run_as_it_should_be_passes_and_images_that_no_query_held_are_not_compared():
    assert failed(run()) == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"affinity": [0, 1]}, "load affinity"),
        ({"threads_busy": 2}, "load threads"),
        ({"predictions": [1, 2, 9, -1]}, "load outputs"),
    ],
)
def test_other_cpus_threads_or_outputs_are_found(changes, check):
    assert failed(run(**changes)) == [check]


def test_a_server_that_rests_between_queries_is_not_blamed_for_it():
    assert failed(run(scenario="server", threads_busy=0)) == []


@pytest.mark.parametrize(
    "changes",
    [{"other_load": 0.2}, {"steal": 0.1}, {"throttled_periods": 3}, {"thermal_events": 1}, {"swapped_pages": 9}],
)
def test_what_would_disturb_a_single_process_disturbs_many(changes):
    assert failed(run(), conditions(**changes)) == ["load machine"]


def test_a_machine_that_does_not_tell_is_not_blamed():
    assert failed(run(), conditions(other_load=None, steal=None)) == []


def test_nothing_beyond_single_processes_means_no_checks():
    assert load_summary.checks(Loads(), {}) == []


def test_percentiles_of_several_processes_are_over_all_their_raw_latencies():
    zeros = np.zeros(50, int)
    fast, slow = Queries(1, zeros, zeros, zeros + 1_000_000), Queries(1, zeros, zeros, zeros + 3_000_000)
    pooled = loads.summary([fast, slow])
    assert (pooled.p50, pooled.p90, pooled.mean) == (1.0, 3.0, 2.0)
    assert loads.summary([Queries(1, *[np.zeros(0, int)] * 3)]) is None
