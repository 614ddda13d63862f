import re

import pytest

from qat8.containers import topology
from qat8.containers.topology import Topology, parse, select
from qat8.errors import UsageError

TWO_NODES = Topology(frozenset(range(8)), {0: frozenset(range(4)), 1: frozenset(range(4, 8))})


@pytest.mark.parametrize("text, numbers", [("0", [0]), ("0-3,8", [0, 1, 2, 3, 8]), ("3,1,1-2\n", [1, 2, 3])])
def test_the_kernels_list_format(text, numbers):
    assert parse(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "3-1", "1,,2", "0-99999999999", "٣"])
def test_what_is_no_list(text):
    with pytest.raises(ValueError):
        parse(text)


def test_the_kernels_files_are_read(tmp_path):
    for name, content in {"cpu/online": "0-2", "node/node0/cpulist": "0-1", "node/node1/cpulist": "2-3",
                          "node/node2/cpulist": ""}.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert topology.local(tmp_path) == Topology(frozenset({0, 1, 2}), {0: frozenset({0, 1}), 1: frozenset({2})})


@pytest.mark.parametrize(
    "cpus, numa, found",
    [
        ("", "", ([], [])),
        ("2-3", "", ([2, 3], [])),
        ("", "1", ([4, 5, 6, 7], [1])),
        ("5", "1", ([5], [1])),
        ("", "0-1", (list(range(8)), [0, 1])),
    ],
)
def test_a_selection(cpus, numa, found):
    assert select(TWO_NODES, cpus, numa) == found


@pytest.mark.parametrize(
    "cpus, numa, words",
    [
        ("8", "", "--cpus '8'.*some of 0,1,2,3,4,5,6,7"),
        ("0-x", "", "--cpus '0-x'"),
        ("", "2", "--numa '2'.*some of 0,1"),
        ("3,4", "1", "--cpus '3,4' with --numa '1'.*some of 4,5,6,7"),
        ("", "one", "--numa 'one'"),
    ],
)
def test_a_selection_outside_the_host_is_refused(cpus, numa, words):
    with pytest.raises(UsageError) as e:
        select(TWO_NODES, cpus, numa)
    assert re.search(words, str(e.value))


def test_a_remote_engine_tells_no_nodes():
    remote = topology.of_engine("ssh://user@clx1", {"NCPU": 4})
    assert select(remote, "3", "") == ([3], [])
    with pytest.raises(UsageError, match="another machine"):
        select(remote, "", "0")
