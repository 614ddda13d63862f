"""Scenarios and instances through `inv benchmark`, on a tiny real model; both "precisions" are the same FP32 model."""

import os

import numpy as np
import pytest

from qat8 import latencies, results
from qat8.benchmarking import instances, recording
from qat8.older_python import zip_strict
from qat8.stages import benchmark


@pytest.fixture
def measured(build, models, data, tmp_path, ends, monkeypatch):
    """`measured(*flags)`: the results of a quick benchmark, and what was said."""
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")

    def run(*flags):
        output = tmp_path / "run.json"
        given = [f"--fp32-model={models / 'plain'}", f"--int8-model={models / 'plain'}",
                 f"--data-file={data['uint8']}", "--batch-sizes=5", "--quick"]  # fmt: skip
        done = ends(benchmark.main, *given, f"--output={output}", *flags)
        assert done.code == 0, done.err
        return results.load(output), done.out

    return run


def test_the_testers_of_two_instances_run_at_the_same_time(commands, models, data):
    flags = [f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}", "--scenario=offline"]
    one = [*commands["cpp"], *flags, "--batch_size=5", "--duration=0.5", "--warmup_size=2"]
    group = instances.run([one, one], 1)
    # Not more than that: on a busy machine the two may wait for the CPU in turn.
    assert abs(group.runs[0].start_ns - group.runs[1].start_ns) < 2_000_000_000
    window = group.window
    assert window.start_ns == max(run.start_ns for run in group.runs)
    assert window.end_ns == min(run.end_ns for run in group.runs)
    for speed, queries in zip_strict(group.images_per_second(), group.queries):
        whole = (queries.start_ns >= window.start_ns) & (queries.end_ns <= window.end_ns)
        images = speed * window.seconds
        assert 5 * whole.sum() <= images + 1e-6 and images <= 5 * (whole.sum() + 2)


def test_scenarios_go_into_the_results_with_their_raw_latencies(measured, tmp_path):
    run, said = measured("--scenario=single-stream,offline,server", "--target-latency-ms=2000", "--testers=cpp")
    names = [(s.scenario, s.precision) for s in run.scenarios]
    assert names == [(n, p) for n in ("single-stream", "offline", "server") for p in ("fp32", "int8")]
    for record in run.scenarios:
        raw = [latencies.load(tmp_path / "run.latencies" / name) for name in record.latencies_files]
        assert record.queries == sum(map(len, raw))
        us = np.concatenate([queries.latencies_us for queries in raw])
        if len(us):
            assert record.latency_ms.p99 == np.percentile(us, 99, method="inverted_cdf") / 1000
    stream, offline, server = run.scenarios[::2]
    assert (stream.images_per_query, offline.images_per_query, len(stream.repetitions)) == (1, 5, 2)
    assert server.metric == server.server.rate and server.server.probes
    assert any("server, 1 thread:" in line for line in said)
    assert (tmp_path / "run.latencies/manifest.json").is_file()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two instances need two CPUs")
def test_a_sweep_measures_the_machine_as_one_instance_and_as_many(measured):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    run, _ = measured("--sweep", f"--cpus={cpus[0]},{cpus[1]}")
    assert [(r.instances, r.threads) for r in run.instances[::2]] == [(1, 1), (1, 2), (2, 1)]
    two = run.instances[-1]
    assert two.cpus == [[cpus[0]], [cpus[1]]] and len(two.per_instance) == len(two.repetitions) == 2
    assert all(sum(each) == pytest.approx(total) for each, total in zip_strict(two.per_instance, two.repetitions))
    beside = [r for r in run.runs if r.instances == 2]
    assert [r.precision for r in beside] == ["fp32", "int8"] and beside[1].repetitions == two.repetitions
    compared = next(c for c in run.comparisons if c.instances == 2)
    assert compared.speedup_min <= compared.speedup <= compared.speedup_max
    assert {c.check for c in run.environment.validity if c.ok} >= {"load affinity", "load outputs"}


def test_a_directory_of_somebody_else_is_not_replaced_and_said_before_anything_is_measured(
    measured, tmp_path, monkeypatch
):
    (tmp_path / "run.latencies").mkdir()
    (tmp_path / "run.latencies/mine").write_text("kept")
    monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("measured all the same"))
    with pytest.raises(AssertionError, match=r"run.latencies is there and is no artifact of qat8"):
        measured("--scenario=offline")
    assert (tmp_path / "run.latencies/mine").read_text() == "kept"
