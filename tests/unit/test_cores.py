"""Where instances run, on machines that are pretended: sockets, nodes, hyperthreads."""

import pytest

from qat8.benchmarking import cores, load
from qat8.benchmarking.cores import Place
from qat8.errors import UsageError

ONE_NODE = {0: [0, 1, 2, 3]}
TWO_NODES = {0: [0, 1, 2, 3, 4], 1: [5, 6, 7, 8, 9]}


@pytest.fixture
def machine(tmp_path):
    """`machine({node: cpulist}, siblings)`: a sysfs of that machine."""

    def make(nodes: dict[int, str], siblings: dict[int, str]):
        for node, cpus in nodes.items():
            (tmp_path / f"node/node{node}").mkdir(parents=True)
            (tmp_path / f"node/node{node}/cpulist").write_text(cpus + "\n")
        for cpu, listed in siblings.items():
            (tmp_path / f"cpu/cpu{cpu}/topology").mkdir(parents=True)
            (tmp_path / f"cpu/cpu{cpu}/topology/thread_siblings_list").write_text(listed + "\n")
        (tmp_path / "cpu/online").write_text(f"0-{len(siblings) - 1}\n")
        return tmp_path

    return make


def test_of_two_hyperthreads_one_is_used_and_nodes_are_told_apart(machine):
    sysfs = machine({0: "0-1,4-5", 1: "2-3,6-7"}, {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)})
    assert cores.nodes_of(range(8), sysfs) == {0: [0, 1], 1: [2, 3]}
    assert cores.nodes_of([1, 5, 6], sysfs) == {0: [1], 1: [6]}, "a core whose first hyperthread may not be used"


def test_a_machine_without_topology_files_is_one_node_of_single_cores(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/online").write_text("0-3\n")
    assert cores.nodes_of([1, 3], tmp_path) == {0: [1, 3]}


def test_instances_are_on_disjoint_cores_and_fill_the_machine():
    assert cores.places(ONE_NODE, 1) == [Place((cpu,), (0,)) for cpu in range(4)]
    assert cores.places(ONE_NODE, 2) == [Place((0, 1), (0,)), Place((2, 3), (0,))]
    assert cores.places(ONE_NODE, 3) == [Place((0, 1, 2), (0,))]
    assert cores.places(ONE_NODE, 1, 2) == [Place((0,), (0,)), Place((1,), (0,))]


def test_an_instance_stays_within_a_node_unless_it_is_larger_than_each():
    assert [p.nodes for p in cores.places(TWO_NODES, 2)] == [(0,), (0,), (1,), (1,)]
    assert cores.places(TWO_NODES, 10) == [Place(tuple(range(10)), (0, 1))]


@pytest.mark.parametrize(
    ("size", "instances", "words"),
    [
        (2, 3, "3 instances of 2 cores on 4 cores of 1 NUMA nodes; expected at most 2 of that size"),
        (5, None, "1 instances of 5 cores on 4 cores of 1 NUMA nodes; expected at most 4 cores"),
    ],
)
def test_more_than_the_machine_has_is_refused(size, instances, words):
    with pytest.raises(UsageError, match=words):
        cores.places(ONE_NODE, size, instances)


def test_a_sweep_holds_the_scaling_of_one_instance_and_every_full_split():
    assert cores.sweep({0: [0, 1]}) == [(1, 1), (1, 2), (2, 1)]
    assert cores.sweep({0: [0]}) == [(1, 1)]
    assert cores.sweep({0: [0, 1, 2]}) == [(1, 1), (1, 2), (1, 3), (3, 1)]
    found = cores.sweep({0: list(range(24)), 1: list(range(24, 48))})
    assert [threads for count, threads in found if count == 1] == [1, 2, 4, 8, 16, 20, 24, 32, 48]
    assert {(48, 1), (24, 2), (12, 4), (6, 8), (2, 16), (2, 20), (2, 24)} < set(found)


def test_memory_is_bound_by_numactl_only_where_there_are_several_nodes(monkeypatch):
    place = Place((2, 3), (1,))
    monkeypatch.setattr(cores.shutil, "which", lambda _: "/usr/bin/numactl")
    pinned = ["taskset", "--cpu-list", "2,3"]
    assert cores.pinned(place, ["tester"], 1) == [*pinned, "tester"]
    assert cores.pinned(place, ["tester"], 2) == [*pinned, "numactl", "--membind=1", "tester"]
    assert "numactl --membind" in cores.memory(2) and cores.memory(1) == "one NUMA node: all memory is local"
    monkeypatch.setattr(cores.shutil, "which", lambda _: None)
    assert cores.pinned(place, ["tester"], 2) == [*pinned, "tester"]
    assert "numactl is not installed" in cores.memory(2)


# The flags.


@pytest.mark.parametrize(
    ("instances", "size", "expected"),
    [("auto", None, (4, 1)), ("auto", 2, (2, 2)), ("auto", 3, (1, 3)), ("2", None, (2, 2)), ("3", None, (3, 1)),
     ("1", None, (1, 4)), ("2", 1, (2, 1))],
)  # fmt: skip
def test_instances_and_cores_share_out_the_machine(instances, size, expected):
    assert load.splits(instances, size, False, ONE_NODE) == (expected,)


def test_no_flag_is_no_split_and_a_sweep_is_all():
    assert load.splits(None, None, False, ONE_NODE) == ()
    assert load.splits(None, None, True, ONE_NODE) == ((1, 1), (1, 2), (1, 4), (4, 1), (2, 2))


@pytest.mark.parametrize(
    ("instances", "size", "sweep", "words"),
    [
        ("0", None, False, "--instances '0'; expected auto"),
        ("many", None, False, "--instances 'many'"),
        (None, 2, False, "--cores-per-instance without --instances"),
        ("2", None, True, "--sweep with --instances"),
        ("5", None, False, "5 instances of 1 cores on 4 cores"),
    ],
)
def test_what_cannot_be_split_is_refused(instances, size, sweep, words):
    with pytest.raises(UsageError, match=words):
        load.splits(instances, size, sweep, ONE_NODE)


def test_scenarios_are_named_once_and_known():
    assert load.scenarios("server,offline,server") == ("server", "offline")
    assert load.scenarios(None) == ()
    with pytest.raises(UsageError, match="--scenario 'batch'; expected of single-stream, offline, server"):
        load.scenarios("offline,batch")
