"""The choice of the runtime, and what the docker runtime makes of its flags; no engine is needed."""

import json

import pytest
from invoke.exceptions import Exit

from qat8 import environment, runner
from qat8.errors import UsageError
from qat8.runtimes import docker


@pytest.mark.parametrize(
    "runtime, more, words",
    [
        ("podman", {}, "runtime 'podman' is not there; expected one of local, docker"),
        ("local", {"memory": "8g"}, "--memory without a container"),
        ("local", {"numa": "0", "image": "x"}, "--numa, --image without a container"),
    ],
)
def test_a_wrong_runtime_is_one_line_and_exit_code_2(runtime, more, words):
    with pytest.raises(Exit) as e:
        runner.run("doctor", [], runtime, **more)
    assert e.value.code == 2 and words in str(e.value)


@pytest.mark.parametrize("text, size", [("", None), ("64m", 64 << 20), ("2g", 2 << 30), ("134217728", 128 << 20)])
def test_a_memory_limit(text, size):
    assert docker.parse_memory(text, 4 << 30) == size


@pytest.mark.parametrize("text", ["8g", "63m", "much", "-1g", "1.5x"])
def test_a_memory_limit_that_cannot_be(text):
    with pytest.raises(UsageError, match="--memory"):
        docker.parse_memory(text, 4 << 30)


def test_openmp_gets_as_many_threads_as_there_are_cpus(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert docker.variables([2, 3], {}, "")["OMP_NUM_THREADS"] == "2"
    assert "OMP_NUM_THREADS" not in docker.variables([], {}, "")


@pytest.mark.parametrize("asked", ["3", "0", "two"])
def test_more_openmp_threads_than_cpus_are_refused(monkeypatch, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    with pytest.raises(UsageError, match=f"OMP_NUM_THREADS={asked} with 2 CPUs"):
        docker.variables([2, 3], {}, "")


def test_the_container_is_told_what_it_is_and_the_environment_records_it(monkeypatch):
    facts = {"image": "qat8:wheel", "cpus": []}
    for name, value in docker.variables([], facts, "abc").items():
        monkeypatch.setenv(name, value)
    assert environment.container() == facts
    assert (environment.runtime(), environment.git_commit()) == ("docker", "abc")


def test_without_a_container_there_is_nothing_to_check(monkeypatch):
    monkeypatch.delenv("QAT8_CONTAINER", raising=False)
    assert (environment.runtime(), environment.container_checks()) == ("local", [])


def test_a_cpu_set_that_is_not_in_force_is_not_ok(monkeypatch):
    monkeypatch.setenv("QAT8_CONTAINER", json.dumps({"cpus": [4095]}))
    [check] = environment.container_checks()
    assert not check.ok and "asked for [4095], allowed [" in check.detail


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """`kernel(files, allowed)`: control groups as a container sees them, and the affinity mask."""

    def make(files: dict[str, str], allowed: set[int]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(environment, "CGROUP", tmp_path)
        monkeypatch.setattr(environment.os, "sched_getaffinity", lambda _: allowed)

    return make


V1 = {"cpuacct/cpuacct.usage_percpu": "5 9999990 5 0 \n", "cpuset/cpuset.effective_cpus": "1\n"}
V2 = {
    "cpuset.cpus.effective": "1\n",
    "cpu.stat": "usage_usec 10000\n",
}  # as the kernel's documents give it; not run here


@pytest.mark.parametrize(
    "files, allowed, facts, ok, words",
    [
        (V1, {1}, {"cpus": [1]}, True, "asked for [1], allowed [1], control group 1, 100.0% of its CPU time there"),
        (V1, {1}, {"cpus": []}, True, "asked for 1, allowed [1]"),
        (V1 | {"cpuacct/cpuacct.usage_percpu": "500 500"}, {1}, {"cpus": [1]}, False, "50.0% of its CPU time there"),
        (V2, {1}, {"cpus": [1]}, True, "allowed [1], control group 1, its CPU times are not told"),
        (V2 | {"cpuset.cpus.effective": "0-3"}, {1}, {"cpus": [1]}, False, "control group 0-3"),
        (V2, {0, 1}, {"cpus": [1]}, False, "asked for [1], allowed [0, 1]"),
        ({}, {1}, {"cpus": [1]}, True, "control group not told, its CPU times are not told"),
        ({}, {0, 1}, {"cpus": [], "cpu_count": 2}, True, "asked for 2, allowed [0, 1]"),
        ({}, {0, 1, 2, 3}, {"cpus": [], "cpu_count": 2}, False, "asked for 2, allowed [0, 1, 2, 3]"),
    ],
)
def test_the_cpu_set_is_proved_from_both_versions_of_control_groups(
    monkeypatch, kernel, files, allowed, facts, ok, words
):
    kernel(files, allowed)
    monkeypatch.setenv("QAT8_CONTAINER", json.dumps(facts))
    [check] = environment.container_checks()
    assert (check.ok, words in check.detail) == (ok, True), check.detail
