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
