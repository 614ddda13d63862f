"""What is measured beyond single processes: scenarios, and several instances at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from qat8.benchmarking import cores
from qat8.errors import UsageError
from qat8.scenario_results import SCENARIOS


@dataclass(frozen=True)
class Load:
    """Empty, and so no more than single processes, unless asked for. `splits`: (instances, threads of each)."""

    scenarios: tuple[str, ...] = ()
    target_latency_ms: float = 0.0
    duration: float = 0.0  # seconds of a scenario, of each probe, of a window
    min_queries: int = 0  # 0: the tester's default
    splits: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scenarios or self.splits)

    def settings(self) -> dict:
        return {"load": asdict(self)} if self else {}


NO_LOAD = Load()


def scenarios(text: str | None) -> tuple[str, ...]:
    """`server,offline` -> ("server", "offline").

    Raises:
        UsageError: not one of them.
    """
    names = tuple(dict.fromkeys(text.split(","))) if text else ()
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise UsageError(f"--scenario {unknown[0]!r}", f"of {', '.join(SCENARIOS)}, by comma")
    return names


def splits(instances: str | None, size: int | None, sweep: bool, nodes: dict[int, list[int]]) -> tuple:
    """--instances, --cores-per-instance and --sweep -> what is to be measured.

    Raises:
        UsageError: no number, two of them at once, or more than the machine has.
    """
    if sweep and (instances or size):
        raise UsageError("--sweep with --instances or --cores-per-instance", "one of the two: it measures all splits")
    if sweep:
        return tuple(cores.sweep(nodes))
    if not instances:
        if size:
            raise UsageError("--cores-per-instance without --instances", "--instances=auto, or a number")
        return ()
    if instances == "auto":
        size = size or 1
        return ((len(cores.places(nodes, size)), size),)
    if not instances.isdigit() or int(instances) < 1:
        raise UsageError(f"--instances {instances!r}", "auto, or a whole number from 1")
    size = size or max(1, sum(map(len, nodes.values())) // int(instances))
    return ((len(cores.places(nodes, size, int(instances))), size),)
