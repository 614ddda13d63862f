"""Which CPUs an instance gets: whole cores of its own, and of one NUMA node where they fit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qat8 import processes
from qat8.containers import topology
from qat8.errors import UsageError


@dataclass(frozen=True)
class Place:
    """Where one instance runs."""

    cpus: tuple[int, ...]
    nodes: tuple[int, ...]


def nodes_of(cpus: Sequence[int], sysfs: Path = topology.SYSFS) -> dict[int, list[int]]:
    """NUMA node -> one CPU of each of its physical cores, of those that may be used.

    A second hyperthread shares the core's multipliers: it would slow the first, so it is left alone.
    """
    found: dict[int, list[int]] = {}
    taken: set[int] = set()
    known = topology.local(sysfs).nodes
    for cpu in sorted(cpus):
        if cpu in taken:
            continue
        siblings = sysfs / "cpu" / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        taken |= set(topology.parse(siblings.read_text())) if siblings.is_file() else {cpu}
        node = next((node for node, members in known.items() if cpu in members), 0)
        found.setdefault(node, []).append(cpu)
    return found


def places(nodes: dict[int, list[int]], cores: int, instances: int | None = None) -> list[Place]:
    """Disjoint places of `cores` cores each; None: as many as there are.

    An instance lies across nodes only when it is larger than each of them.

    Raises:
        UsageError: there are not so many.
    """
    found = [
        Place(tuple(cpus[i : i + cores]), (node,))
        for node, cpus in nodes.items()
        for i in range(0, len(cpus) - cores + 1, cores)
    ]
    every = [(cpu, node) for node, cpus in nodes.items() for cpu in cpus]
    if not found:
        parts = [every[i : i + cores] for i in range(0, len(every) - cores + 1, cores)]
        found = [Place(tuple(c for c, _ in part), tuple(sorted({n for _, n in part}))) for part in parts]
    if not found or (instances or 0) > len(found):
        raise UsageError(
            f"{instances or 1} instances of {cores} cores on {len(every)} cores of {len(nodes)} NUMA nodes",
            f"at most {len(found)} of that size" if found else f"at most {len(every)} cores",
        )
    return found[:instances]


def sweep(nodes: dict[int, list[int]]) -> list[tuple[int, int]]:
    """(instances, cores of each): the scaling of one instance, and all splits of the machine; powers of two between.

    20 threads too, the tutorial's larger setting, where there are so many cores.
    """
    total = sum(map(len, nodes.values()))
    sizes = {2**i for i in range(total.bit_length()) if 2**i <= total} | {total, *map(len, nodes.values())}
    sizes |= {20} & set(range(total + 1))
    single = [(1, size) for size in sorted(sizes)]
    full = [(len(places(nodes, size)), size) for size in sorted(sizes)]
    return list(dict.fromkeys([*single, *full]))


def pinned(place: Place, command: Sequence[str], nodes: int) -> list[str]:
    """The command on the place's CPUs, and on several nodes with its memory there, as a user would type it."""
    if nodes > 1 and shutil.which("numactl"):
        command = ["numactl", f"--membind={','.join(map(str, place.nodes))}", *command]
    return processes.pinned(place.cpus, command)


def memory(nodes: int) -> str:
    """How an instance's memory comes to lie where its CPUs are."""
    if nodes == 1:
        return "one NUMA node: all memory is local"
    if shutil.which("numactl"):
        return f"{nodes} NUMA nodes: bound to the instance's by numactl --membind"
    return f"{nodes} NUMA nodes: numactl is not installed; the kernel prefers the node of the CPU that touches it first"
