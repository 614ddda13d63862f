"""What the kernel tells; a machine of our own stands below ROOT, so that every answer can be provoked."""

import pytest

from qat8 import kernel


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine({path: text})` adds files to the pretended machine."""
    monkeypatch.setattr(kernel, "ROOT", tmp_path)

    def write(files: dict[str, str]) -> None:
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text + "\n")

    return write


CPU = kernel.CPUS


@pytest.mark.parametrize(
    ("no_turbo", "boost", "answer"),
    [
        ("0", None, True),
        ("1", None, False),
        (None, "1", True),
        (None, "0", False),
        (None, None, None),
        ("1", "1", False),
    ],
)
def test_turbo_is_what_the_driver_says_and_none_where_none_says_it(machine, no_turbo, boost, answer):
    files = {f"{CPU}/intel_pstate/no_turbo": no_turbo, f"{CPU}/cpufreq/boost": boost}
    machine({path: text for path, text in files.items() if text})
    assert kernel.turbo() is answer


def test_a_machine_that_tells_nothing_is_none_and_not_0(machine):
    machine({})
    assert kernel.cpuinfo() == {} and kernel.cpus() == [] and kernel.numa_nodes() == {} and kernel.caches() == {}
    answers = [kernel.sockets(), kernel.governor(), kernel.turbo(), kernel.thermal_events([0]), kernel.swapped_pages(),
               kernel.throttling(), kernel.load_average()]  # fmt: skip
    assert answers == [None] * 7
    assert kernel.frequencies([0]) == [] and kernel.cpu_ticks() == {} and kernel.siblings(3) == [3]
    assert kernel.cgroup_limits() == {"cpu_quota": None, "memory_limit_bytes": None}


def test_a_server_is_read_with_its_sockets_siblings_nodes_and_caches(machine):
    for n in range(4):
        machine({f"{CPU}/cpu{n}/topology/physical_package_id": str(n // 2),
                 f"{CPU}/cpu{n}/topology/thread_siblings_list": f"{n % 2},{n % 2 + 2}"})  # fmt: skip
    machine({"sys/devices/system/node/node0/cpulist": "0-1", "sys/devices/system/node/node1/cpulist": "2,3"})
    for index, (level, kind, size) in enumerate([("1", "Data", "32K"), ("2", "Unified", "1024K")]):
        base = f"{CPU}/cpu0/cache/index{index}"
        machine({f"{base}/level": level, f"{base}/type": kind, f"{base}/size": size})
    assert kernel.cpus() == [0, 1, 2, 3] and kernel.sockets() == 2 and kernel.siblings(1) == [1, 3]
    assert kernel.numa_nodes() == {"node0": [0, 1], "node1": [2, 3]}
    assert kernel.caches() == {"L1d": "32K", "L2": "1024K"}


@pytest.mark.parametrize(("text", "cpus"), [("0-2,5", [0, 1, 2, 5]), ("", []), ("x", []), ("7", [7])])
def test_the_kernels_lists_are_read(text, cpus):
    assert kernel.parse_list(text) == cpus


def test_clocks_are_in_mhz_and_heat_is_summed_over_cores_and_packages(machine):
    for n in (0, 1):
        machine({f"{CPU}/cpu{n}/cpufreq/scaling_cur_freq": str(2_500_000 + n),
                 f"{CPU}/cpu{n}/thermal_throttle/core_throttle_count": "3",
                 f"{CPU}/cpu{n}/thermal_throttle/package_throttle_count": "1"})  # fmt: skip
    assert kernel.frequencies([0, 1, 9]) == [2500.0, 2500.001]
    assert kernel.thermal_events([0]) == 4 and kernel.thermal_events([0, 1]) == 8


def test_ticks_of_each_cpu_are_read_by_kind_and_their_sum_is_not(machine):
    machine({"proc/stat": "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu11 0 0 0 4 0 0 0 0\nctxt 5"})
    found = kernel.cpu_ticks()
    assert found.keys() == {0, 11}
    assert found[0] == {"user": 1, "nice": 2, "system": 3, "idle": 4, "iowait": 5, "irq": 6, "softirq": 7, "steal": 8}


def test_pages_swapped_in_and_out_are_summed(machine):
    machine({"proc/vmstat": "pgpgin 7\npswpin 2\npswpout 3"})
    assert kernel.swapped_pages() == 5


def test_a_quota_is_found_in_cgroup_2_also_above_the_own_group(machine):
    machine({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max":
             "150000 100000", "sys/fs/cgroup/a/b/memory.max": "1073741824", "sys/fs/cgroup/a/memory.max": "max",
             "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 5\nnr_throttled 0\nthrottled_usec 0",
             "sys/fs/cgroup/a/cpu.stat": "usage_usec 5\nnr_throttled 4\nthrottled_usec 2500"})  # fmt: skip
    assert kernel.cgroup_limits() == {"cpu_quota": 1.5, "memory_limit_bytes": 2**30}
    assert kernel.throttling() == (4, 2.5)


def test_a_quota_is_found_in_cgroup_1_and_its_no_limit_is_none(machine):
    machine({"proc/self/cgroup": "4:memory:/x\n1:cpu,cpuacct:/x", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000",
             "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
             "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712",
             "sys/fs/cgroup/cpu/x/cpu.stat": "nr_periods 9\nnr_throttled 2\nthrottled_time 7000000"})  # fmt: skip
    assert kernel.cgroup_limits() == {"cpu_quota": 0.5, "memory_limit_bytes": None}
    assert kernel.throttling() == (2, 7.0)


def test_this_machine_is_read():
    entry = kernel.cpuinfo()
    assert entry["processor"] == "0" and "fpu" in entry["flags"].split()
    assert kernel.cpu_ticks() and kernel.caches() and kernel.swapped_pages() is not None
