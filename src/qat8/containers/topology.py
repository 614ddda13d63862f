"""The CPUs and NUMA nodes of the engine's host, and the check of --cpus and --numa against them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qat8.errors import UsageError

SYSFS = Path("/sys/devices/system")


@dataclass(frozen=True)
class Topology:
    cpus: frozenset[int]
    nodes: dict[int, frozenset[int]]  # empty where the host is another machine, which only tells its number of CPUs


def parse(text: str) -> list[int]:
    """The kernel's list format: `0-3,8` -> [0, 1, 2, 3, 8].

    Raises:
        ValueError: not such a list.
    """
    numbers: set[int] = set()
    for part in text.strip().split(","):
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ValueError(part)
        numbers |= set(range(first, last + 1))
    return sorted(numbers)


def show(numbers: Iterable[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def local(sysfs: Path = SYSFS) -> Topology:
    cpus = frozenset(parse((sysfs / "cpu" / "online").read_text()))
    nodes = {}
    for directory in sorted((sysfs / "node").glob("node[0-9]*")):
        if listed := (directory / "cpulist").read_text().strip():
            nodes[int(directory.name[4:])] = frozenset(parse(listed)) & cpus
    return Topology(cpus, nodes or {0: cpus})


def of_engine(url: str, info: dict) -> Topology:
    """The topology of the host that the engine at `url` runs on, from `info` (the engine's own) when it is remote."""
    if url.startswith("unix://"):
        return local()
    return Topology(frozenset(range(info["NCPU"])), {})


def select(topology: Topology, cpus: str, numa: str) -> tuple[list[int], list[int]]:
    """--cpus and --numa -> the CPUs and the memory nodes of the container; empty: all.

    Raises:
        UsageError: not lists, or not on this host, or CPUs of another node than the one named.
    """
    nodes = _listed("--numa", numa, "node numbers such as 0 or 0,1")
    wanted = _listed("--cpus", cpus, "CPU numbers such as 0-3 or 0,2")
    if not set(wanted) <= topology.cpus:
        raise UsageError(f"--cpus {cpus!r}", f"some of {show(topology.cpus)}, which the engine's host has")
    if not nodes:
        return wanted, []
    if not topology.nodes:
        raise UsageError("--numa with an engine on another machine", "--cpus: a remote engine does not tell its nodes")
    if not set(nodes) <= set(topology.nodes):
        raise UsageError(f"--numa {numa!r}", f"some of {show(topology.nodes)}, which the engine's host has")
    inside = frozenset().union(*(topology.nodes[n] for n in nodes))
    if not set(wanted) <= inside:
        raise UsageError(f"--cpus {cpus!r} with --numa {numa!r}", f"some of {show(inside)}, the CPUs of the node")
    return wanted or sorted(inside), nodes


def _listed(flag: str, text: str, example: str) -> list[int]:
    try:
        return parse(text) if text else []
    except ValueError:
        raise UsageError(f"{flag} {text!r}", example) from None
