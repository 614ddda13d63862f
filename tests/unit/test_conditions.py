"""The machine is watched while a tester runs: on this machine for real, and on one of our own where it cannot be."""

import os
import subprocess
import sys
import time

import pytest

from qat8 import kernel
from qat8.benchmarking import conditions

SPIN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end: pass"


def spin(cpu: int, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(["taskset", "--cpu-list", str(cpu), sys.executable, "-S", "-c", SPIN.format(seconds)])


def test_the_childs_own_time_is_no_other_load_and_that_of_a_stranger_is():
    cpu = max(os.sched_getaffinity(0))
    with conditions.watch([cpu]) as seen:
        assert spin(cpu, 0.6).wait() == 0
    alone = seen.conditions
    assert 0.6 <= alone.seconds < 5 and 0 < alone.cpu_seconds <= alone.seconds + 0.05
    stranger = spin(cpu, 30)
    try:
        time.sleep(0.2)
        with conditions.watch([cpu]) as seen:
            assert spin(cpu, 0.6).wait() == 0
    finally:
        stranger.kill()
        stranger.wait()
    shared = seen.conditions
    assert shared.other_load > 0.25 > 0 and shared.cpu_seconds < 0.75 * shared.seconds


def test_every_counter_of_this_machine_that_is_there_is_not_negative():
    with conditions.watch([0]) as seen:
        pass
    values = seen.conditions.model_dump(exclude={"frequency_mhz"})
    assert {name: value for name, value in values.items() if value is not None and value < 0} == {}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "ROOT", tmp_path)

    def write(files: dict[str, str]) -> None:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

    return write


def test_counters_are_differences_and_the_clock_is_its_range(machine):
    def state(steal, throttled, heat, swapped, kilohertz):
        machine({
            "proc/stat": f"cpu0 0 0 0 0 0 0 0 {steal}\ncpu1 {steal * 2} 0 0 0 0 0 0 0\n",
            "proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.stat": f"nr_throttled {throttled}\nthrottled_usec 5000\n",
            f"{kernel.CPUS}/cpu0/thermal_throttle/core_throttle_count": str(heat),
            "proc/vmstat": f"pswpin {swapped}\npswpout 1\n",
            f"{kernel.CPUS}/cpu0/cpufreq/scaling_cur_freq": str(kilohertz),
        })  # fmt: skip

    state(10, 1, 2, 3, 2_500_000)
    with conditions.watch([0]) as seen:
        time.sleep(0.3)
        state(20, 4, 3, 8, 2_000_000)
        time.sleep(0.3)
    found = seen.conditions
    assert (found.throttled_periods, found.throttled_ms, found.thermal_events, found.swapped_pages) == (3, 0, 1, 5)
    assert found.frequency_mhz == (2000, 2500)
    assert found.steal == pytest.approx(0.1 / found.seconds) and found.other_load == 0
    assert found.elsewhere_load == pytest.approx(0.2 / found.seconds)


def test_what_the_machine_does_not_tell_is_none(machine):
    machine({})
    with conditions.watch([0]) as seen:
        pass
    found = seen.conditions
    assert [found.other_load, found.elsewhere_load, found.steal, found.throttled_periods, found.thermal_events,
            found.swapped_pages, found.frequency_mhz] == [None] * 7  # fmt: skip
