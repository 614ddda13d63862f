"""Scenarios of the C++ tester on tiny real models: arrivals, percentiles, the search, the barrier."""

from __future__ import annotations

import os
import subprocess
import time

import numpy as np
import pytest
from scipy import stats

from qat8 import latencies, scenario_results

# A model whose service time is known, 2 ms, and a machine on which nothing else runs: Predictor::Run computes once, and
# from then on moves a clock of its own, which the tester reads in place of the real one.
TWO_MS = """
#include <dlfcn.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long long now_ns = 1000000000000;
extern "C" int clock_gettime(clockid_t id, timespec* t) noexcept {
  if (id != CLOCK_MONOTONIC) return static_cast<int>(syscall(SYS_clock_gettime, id, t));
  now_ns += 100;
  *t = {now_ns / 1000000000, now_ns % 1000000000};
  return 0;
}
extern "C" int clock_nanosleep(clockid_t, int, const timespec* until, timespec*) {
  now_ns = until->tv_sec * 1000000000 + until->tv_nsec;
  return 0;
}
bool paddle_infer::Predictor::Run() {
  using Real = bool (*)(Predictor*);
  static const bool done = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "_ZN12paddle_infer9Predictor3RunEv"))(this);
  now_ns += 2000000;
  return done;
}
"""
SERVICE_MS = 2.0


@pytest.fixture
def scenario(commands, models, data, tmp_path):
    """`scenario("offline", duration=1)`: the JSON and the raw times of a run of the C++ tester on the plain model."""

    def run(name: str, model: str = "plain", env: dict | None = None, **flags):
        json, raw = tmp_path / "run.json", tmp_path / "latencies"
        flags = {"scenario": name, "infer_model": models / model, "infer_data": data["uint8"],
                 "json": json, "latencies_file": raw, "duration": 0.2, **flags}  # fmt: skip
        command = [*commands["cpp"], *(f"--{key}={value}" for key, value in flags.items())]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=120)
        assert done.returncode == 0, done.stderr
        return scenario_results.load(json), latencies.load(raw), done.stdout.splitlines()

    return run


@pytest.fixture(scope="module")
def two_ms(preload) -> dict[str, str]:
    return preload(TWO_MS)


@pytest.fixture(scope="module")
def simulate(build):
    def run(*words) -> list[str]:
        done = subprocess.run([build / "simulate", *map(str, words)], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


# Arrivals.


def test_gaps_between_arrivals_are_exponential_with_the_mean_and_variance_of_the_rate(simulate):
    rate, n = 250.0, 200_000
    gaps = np.diff(np.array(simulate("arrivals", rate, 7, n), dtype=float) / 1e9, prepend=0)
    # The mean of n exponential gaps has the relative standard error 1/sqrt(n), their variance sqrt(8/n).
    assert gaps.mean() == pytest.approx(1 / rate, rel=5 / n**0.5)
    assert gaps.var() == pytest.approx(1 / rate**2, rel=5 * (8 / n) ** 0.5)
    assert stats.kstest(gaps, stats.expon(scale=1 / rate).cdf).pvalue > 0.001
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 5 / n**0.5


def test_the_number_of_arrivals_in_a_second_is_poisson_distributed(simulate):
    arrivals = np.array(simulate("arrivals", 50, 3, 50_000), dtype=float) / 1e9
    counts = np.bincount(arrivals.astype(int))[:-1]
    assert counts.mean() == pytest.approx(50, abs=5 * (50 / len(counts)) ** 0.5)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=5 * (2 / len(counts)) ** 0.5)


def test_a_seed_gives_the_same_arrivals_and_another_seed_others(simulate):
    assert simulate("arrivals", 10, 1, 50) == simulate("arrivals", 10, 1, 50) != simulate("arrivals", 10, 2, 50)


def test_images_are_drawn_evenly_and_not_in_step_with_the_arrivals(simulate):
    drawn = np.array(simulate("samples", 10, 1, 20_000), dtype=int)
    assert stats.chisquare(np.bincount(drawn, minlength=10)).pvalue > 0.001
    gaps = np.diff(np.array(simulate("arrivals", 1, 1, 20_000), dtype=float), prepend=0)
    assert abs(np.corrcoef(gaps, drawn)[0, 1]) < 5 / len(drawn) ** 0.5


# The search.


@pytest.mark.parametrize("queries", [1, 99, 100, 101, 199, 200, 1000, 1024, 270_336])
def test_a_probe_may_have_as_many_late_queries_as_the_nearest_rank_p99_allows(simulate, queries):
    allowed = int(simulate("late", queries)[0])
    for late, expected in ((allowed, 0.0), (allowed + 1, 1.0)):
        values = np.zeros(queries)
        values[:late] = 1.0
        assert np.percentile(values, 99, method="inverted_cdf") == expected


def md1_rate(service_ms: float, target_ms: float) -> float:
    """Rate at which p99 of a server with constant service time is the target, by a long simulation of its own."""
    random = np.random.default_rng(11)
    gaps = random.exponential(1, 400_000)
    low, high = 0.0, 1000 / service_ms
    for _ in range(20):
        rate = (low + high) / 2
        # Lindley: the wait of each query from the wait of the one before, as a random walk less its running minimum.
        walk = np.concatenate([[0], np.cumsum(service_ms - gaps[1:] * 1000 / rate)])
        waits = walk - np.minimum.accumulate(walk)
        low, high = (rate, high) if np.percentile(waits + service_ms, 99) <= target_ms else (low, rate)
    return low


@pytest.mark.parametrize("target", [4.0, 10.0, 30.0])
def test_the_search_finds_the_rate_that_queueing_theory_gives(simulate, target):
    first, *probes = simulate("search", SERVICE_MS, target, 100_000)
    rate, confirmed = first.split()
    assert confirmed == "1"
    assert float(rate) == pytest.approx(md1_rate(SERVICE_MS, target), rel=0.04)
    seeds = [line.split()[1] for line in probes]
    assert seeds[-1] == "2" and probes[-1].split()[0] == rate, "the last probe confirms the rate with another seed"


def test_the_search_ends_without_a_rate_when_none_meets_the_target(simulate):
    first, *probes = simulate("search", SERVICE_MS, 1.0, 1000)
    assert first == "0 0" and len(probes) == 6 and all(line.endswith(" 0") for line in probes)


def test_few_queries_make_a_search_that_goes_on_below_what_was_not_confirmed(simulate):
    first, *probes = simulate("search", SERVICE_MS, 6.0, 60)
    rate = float(first.split()[0])
    lost = [float(line.split()[0]) for line in probes if line.endswith(" 0")]
    assert first.endswith(" 1") and rate < min(r for r in lost)
    assert len(probes) <= 24


# The scenarios.


def test_server_finds_the_rate_of_a_model_whose_service_time_is_known(scenario, two_ms):
    run, queries, lines = scenario("server", env=two_ms, target_latency_ms=8, duration=1, min_queries=20_000)
    assert run.server.service_ms.max == pytest.approx(SERVICE_MS, rel=0.001)
    assert run.server.rate == pytest.approx(md1_rate(SERVICE_MS, 8), rel=0.05)
    assert (run.server.confirmed, run.threads_alive > 0) == (True, True)
    assert run.latency_ms.p99 <= 8
    assert f"{run.server.rate:.1f} queries/s" in next(line for line in lines if line.startswith("highest rate"))
    check_probes(run)
    assert len(queries) == run.queries == run.server.probes[-1].queries


def check_probes(run) -> None:
    for probe in run.server.probes:
        assert probe.planned >= max(run.min_queries, probe.rate * run.duration)
        assert probe.meets == (
            probe.queries == probe.planned and probe.late <= probe.planned - -(-99 * probe.planned // 100)
        )
        if probe.meets:
            assert probe.p99_ms <= run.server.target_latency_ms
    met = [p.rate for p in run.server.probes if p.meets]
    assert run.server.rate in met


def test_server_latencies_count_from_the_scheduled_arrival_and_queries_wait_their_turn(scenario, two_ms):
    run, queries, _ = scenario("server", env=two_ms, target_latency_ms=8, min_queries=2000)
    assert (queries.start_ns >= queries.arrival_ns).all() and (queries.end_ns > queries.start_ns).all()
    assert (queries.start_ns[1:] >= queries.end_ns[:-1]).all(), "one at a time, first come, first served"
    assert (np.diff(queries.arrival_ns) >= 0).all()
    gaps = np.diff(queries.arrival_ns) / 1e9
    assert gaps.mean() == pytest.approx(1 / run.server.rate, rel=0.12)
    free = np.maximum(queries.arrival_ns[1:], queries.end_ns[:-1])  # arrived, and the one before is done
    assert (queries.start_ns[1:] - free).max() < 100_000 and (queries.waits_us > 0).any()


def test_server_without_a_rate_says_so_and_measures_nothing(scenario):
    run, queries, lines = scenario("server", target_latency_ms=0.001)
    assert (run.server.rate, run.server.confirmed, run.server.probes) == (0, False, [])
    assert (run.queries, run.latency_ms, len(queries)) == (0, None, 0)
    assert "no rate meets p99 <= 0.001ms" in lines


@pytest.mark.parametrize("name", ["single-stream", "offline"])
def test_percentiles_are_those_of_all_raw_latencies(scenario, name):
    run, queries, _ = scenario(name, min_queries=50)
    assert len(queries) == run.queries >= 50
    for percent in (50, 90, 99):
        assert getattr(run.latency_ms, f"p{percent}") * 1000 == pytest.approx(queries.percentile_us(percent), rel=1e-12)
    assert run.latency_ms.mean == pytest.approx(queries.latencies_us.mean() / 1000)


def test_a_query_of_single_stream_is_one_image_and_its_number_and_duration_are_both_reached(scenario):
    run, queries, _ = scenario("single-stream")
    assert (run.images_per_query, run.queries >= 1024, run.seconds >= 0.2) == (1, True, True)
    few, *_ = scenario("single-stream", min_queries=1, duration=0)
    assert few.queries == 1
    assert (queries.start_ns[1:] >= queries.end_ns[:-1]).all()


def test_offline_goes_through_the_file_in_full_batches_and_states_its_throughput(scenario):
    run, queries, _ = scenario("offline", batch_size=10)
    assert (run.images_per_query, run.pool_images) == (10, 37)
    assert run.predictions[30:] == [-1] * 7 and min(run.predictions[:30]) >= 0
    span = (queries.end_ns[-1] - queries.arrival_ns[0]) / 1e9
    assert run.images_per_second == pytest.approx(10 * len(queries) / span)
    assert (run.start_ns, run.end_ns) == (queries.start_ns[0], queries.end_ns[-1])


def test_a_file_smaller_than_a_batch_is_one_query(scenario):
    run, *_ = scenario("offline", batch_size=100)
    assert (run.images_per_query, min(run.predictions) >= 0) == (37, True)


def test_a_scenario_predicts_what_the_accuracy_run_predicts(scenario, run, models, data):
    expected = run("cpp", infer_model=models / "plain", infer_data=data["uint8"], batch_size=1).json.predictions
    measured, *_ = scenario("single-stream")
    assert measured.predictions == expected  # 1024 draws leave none of 37 images out


def test_a_seed_fixes_which_images_are_asked_for(scenario):
    few = {"min_queries": 5, "duration": 0}
    asked = [
        [i for i, c in enumerate(scenario("single-stream", seed=s, **few)[0].predictions) if c >= 0] for s in (1, 1, 2)
    ]
    assert asked[0] == asked[1] != asked[2]


def test_a_model_with_its_own_accuracy_is_measured_without_predictions(scenario):
    run, *_ = scenario("offline", model="accuracy", with_accuracy_layer="true")
    assert run.predictions == [] and run.queries > 0


def test_outputs_that_are_not_finite_stop_a_scenario(fails, models, data):
    flags = {"infer_model": models / "not_finite", "infer_data": data["uint8"], "scenario": "offline"}
    fails("cpp", 7, "image 0 is not finite", **flags)


# The command line.


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--scenario=multi-stream"], "'multi-stream' is none of single-stream, offline, server"),
        (["--duration=1"], "--duration without --scenario"),
        (["--barrier"], "--barrier without --scenario"),
        (["--latencies-file=x"], "--latencies_file without --scenario"),
        (["--scenario=offline", "--seed=2"], "nothing is random"),
        (["--scenario=offline", "--target_latency_ms=2"], "without --scenario=server"),
        (["--scenario=offline", "--min_seconds=2"], "use --duration"),
        (["--scenario=offline", "--use_profile"], "--use_profile with --scenario"),
        (["--scenario=server"], "needs --target_latency_ms"),
        (["--scenario=server", "--target_latency_ms=0"], "needs --target_latency_ms"),
        (["--scenario=server", "--target_latency_ms=fast"], "number of milliseconds"),
        (["--scenario=offline", "--latencies_file=/nonexistent/x"], "--latencies_file: there is no directory"),
    ],
)
def test_flags_that_would_do_nothing_or_make_no_sense_are_refused(commands, flags, words):
    command = [*commands["cpp"], "--infer_model=model", "--infer_data=data", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr, done.stderr


def test_help_says_what_a_scenario_takes_and_its_defaults(commands):
    text = " ".join(subprocess.run([*commands["cpp"], "--help"], capture_output=True, text=True).stdout.split())
    assert "--scenario single-stream, offline or server" in text and "--latencies_file" in text and "--barrier" in text
    defaults = {"duration": "10", "min_queries": "0", "target_latency_ms": "0", "seed": "1"}
    for flag, default in defaults.items():
        assert text.partition(f"--{flag} ")[2].partition("(default: ")[2].partition(")")[0] == default, flag


# The barrier.


@pytest.fixture
def waiting(commands, models, data, tmp_path):
    """Starts testers that wait at the barrier; gives them with their result files."""
    started = []

    def start(number: int) -> subprocess.Popen:
        flags = {"infer_model": models / "plain", "infer_data": data["uint8"], "json": tmp_path / f"{number}.json",
                 "scenario": "offline", "batch_size": 5, "duration": 0.3, "warmup_size": 1}  # fmt: skip
        command = [*commands["cpp"], "--barrier", *(f"--{key}={value}" for key, value in flags.items())]
        child = subprocess.Popen(command, text=True, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE))
        started.append(child)
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_two_testers_start_together_at_the_moment_that_they_are_told_and_not_before(waiting, tmp_path):
    children = [waiting(0), waiting(1)]
    moment = time.monotonic_ns() + 200_000_000
    for child in children:
        child.stdin.write(f"{moment}\n")
        child.stdin.flush()
    for child in children:
        assert child.communicate()[1] == "" and child.returncode == 0
    starts = [scenario_results.load(tmp_path / f"{i}.json").start_ns for i in (0, 1)]
    # On a busy machine a process may be late by a turn of the scheduler, never early.
    assert all(0 <= start - moment < 50_000_000 for start in starts)


def test_an_empty_line_starts_at_once(waiting):
    child = waiting(0)
    child.communicate("\n")
    assert child.returncode == 0


@pytest.mark.parametrize("line", ["now\n", "5\n", f"{time.monotonic_ns() + 10**15}\n"])
def test_a_start_that_is_no_time_soon_is_refused(waiting, line):
    child = waiting(0)
    _, err = child.communicate(line)
    assert child.returncode == 2 and "nanosecond on CLOCK_MONOTONIC" in err


def test_a_caller_that_dies_leaves_nobody_waiting(waiting):
    child = waiting(0)
    _, err = child.communicate()
    assert child.returncode == 6 and "standard input ended" in err
