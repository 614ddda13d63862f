"""Container runs by the hundred through qat8's own runner, and what they leave: `make soak-containers RUNS=1000`.

Most runs are a trivial command; some are killed from outside, some interrupted, some are tasks that die by kill -9 and
are cleared by the next, some are real stages. Before, after and every `--every` runs everything is counted that could
grow: containers, volumes, networks and mounts; files and threads of this process; files, goroutines, memory and
directories of the engine. Exit code 7 when something has grown.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from qat8.containers import engine, leftovers
from qat8.containers.container import Container, Spec
from qat8.errors import VerificationError
from qat8.runtimes import docker as runtime

BASE, WHEEL = "qat8-base:bookworm", "qat8:wheel"
WARM_UP = 10  # runs: the first ones fill caches and pools, of the engine and of this process
# How much a count may differ from the one after the warm-up. The engine keeps idle connections and goroutines for a
# while, its memory is a garbage collector's; the SDK keeps connections for the last 25 URLs.
SLACK = {
    "own files": 25,
    "engine files": 30,
    "engine goroutines": 40,
    "engine memory [MB]": 100,
    "containerd files": 20,
}

TASK = """
from qat8.containers import engine
from qat8.containers.container import Container, Spec
with engine.connect() as client:
    spec = Spec(image="{image}", command=["sh", "-c", "echo up; sleep 600"], run_id="soak", name="killed")
    with Container(client, spec) as container:
        container.run(lambda out, err: print(out, flush=True))
"""


def spec(script: str, **more) -> Spec:
    return Spec(image=BASE, command=["sh", "-c", script], run_id="soak", name="soak", **more)


# The runs. Each gives what it was, or raises AssertionError when it did not end as it should.


def trivial(client) -> str:
    with Container(client, spec("echo out; echo err >&2; exit 3", pids=64)) as container:
        assert container.run(lambda *_: None).code == 3
    return "trivial"


def with_volume(client) -> str:
    name = f"qat8-soak-{os.getpid()}"
    with Container(client, spec("echo x >/v/x", volumes={name: "/v"}, user="0:0")) as container:
        assert container.run(lambda *_: None).code == 0
        assert container.read("/v/x") == b"x\n"
    client.volumes.get(name).remove()
    return "with a volume"


def killed(client) -> str:
    """Somebody else kills the container while its output is read."""
    with Container(client, spec("echo up; sleep 600")) as container:

        def sink(out, err):
            if out and b"up" in out:
                with engine.connect() as other:
                    other.containers.get(container.id).kill(signal.SIGKILL.value)

        assert container.run(sink).code == 128 + signal.SIGKILL
    return "killed"


def interrupted(client) -> str:
    def sink(out, err):
        if out and b"up" in out:
            raise KeyboardInterrupt

    try:
        with Container(client, spec("trap 'exit 130' INT; echo up; while :; do sleep 0.05; done")) as container:
            container.run(sink)
    except KeyboardInterrupt:
        return "interrupted"
    raise AssertionError("the interrupt was lost")


def task_killed(client) -> str:
    """kill -9 of the whole task; its container is cleared as `inv clean.containers` does."""
    task = subprocess.Popen([sys.executable, "-c", TASK.format(image=BASE)], stdout=subprocess.PIPE, text=True)
    with task.stdout:
        assert "up" in task.stdout.readline()
        task.send_signal(signal.SIGKILL)
        task.wait()
    removed = leftovers.remove(client)
    assert [found.run_id for found in removed] == ["soak"], removed
    return "task killed"


def not_started(client) -> str:
    made = Spec(image=BASE, command=["/no-such-program"], run_id="soak", name="soak")
    try:
        with Container(client, made) as container:
            container.run(lambda *_: None)
    except engine.MachineError:
        return "not started"
    raise AssertionError("a program that is not there has run")


def stage(client) -> str:
    """A real stage by the docker runtime, as `inv doctor --runtime=docker` runs it."""
    assert runtime.run("doctor", []) == 0
    return "stage"


def kind(number: int, stages: bool) -> Callable:
    """What run `number` is: every kind comes within 20 runs, a stage in each 20."""
    rare = {
        3: killed,
        7: interrupted,
        11: with_volume,
        13: not_started,
        17: task_killed,
        19: stage if stages else trivial,
    }
    return rare.get(number % 20, trivial)


# The counts.


def engine_process() -> int | None:
    """The process at the other end of the engine's Unix socket (SO_PEERCRED); None where it is far away."""
    address = engine.address()
    if not address.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(address.removeprefix("unix://"))
        return struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] or None


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def files(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_mb(pid: int) -> int:
    return int(next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")).split()[1]) >> 10


def counts(client) -> dict[str, int]:
    info = client.info()
    found = {
        "containers": len(client.containers.list(all=True, ignore_removed=True)),
        "volumes": len(client.volumes.list()), "networks": len(client.networks.list()),
        "images": len(client.api.images(all=True)), "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
        "own files": files("self"), "own threads": threading.active_count(),
        "own processes": len(children(os.getpid())), "engine files": info["NFd"],
        "engine goroutines": info["NGoroutines"],
    }  # fmt: skip
    if pid := engine_process():
        found["engine memory [MB]"] = memory_mb(pid)
        below = children(pid)
        found["engine processes"] = len(below)
        found["containerd files"] = sum(files(child) for child in below)
    root = Path(info["DockerRootDir"])
    for name in ("containers", "overlay2", "image/overlay2/layerdb/mounts"):
        if (root / name).is_dir():
            found[f"engine {name.rpartition('/')[2] if name != 'overlay2' else 'layers'}"] = len(
                os.listdir(root / name)
            )
    return found


def settled(client, wanted: dict[str, int]) -> dict[str, int]:
    """The counts when the engine has cleared up after the last run: at most ten seconds later."""
    deadline = time.monotonic() + 10
    while (now := counts(client)) and grown(wanted, now) and time.monotonic() < deadline:
        time.sleep(0.5)
    return now


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, tuple[int, int]]:
    """What is more than it was, beyond its slack."""
    return {n: (before[n], after[n]) for n in before if after[n] - before[n] > SLACK.get(n, 0)}


def soak(client, runs: int, every: int = 100, stages: bool = False, say: Callable[[str], None] = print) -> dict:
    """Run `runs` containers; the counts by the number of runs, how many of which kind there were, what has grown."""
    for number in range(WARM_UP):
        kind(number + 10, stages)(client)
    history = {0: counts(client)}
    say(f"after the warm-up: {history[0]}")
    done: dict[str, int] = {}
    start = time.monotonic()
    for number in range(1, runs + 1):
        what = kind(number, stages)(client)
        done[what] = done.get(what, 0) + 1
        if number % every == 0 or number == runs:
            history[number] = settled(client, history[0])
            say(f"{number} runs, {time.monotonic() - start:.0f} s: {history[number]}")
    return {"runs": done, "seconds": time.monotonic() - start, "counts": history,
            "grown": grown(history[0], history[runs])}  # fmt: skip


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="soak_containers", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--output", default="data/logs/soak-containers.json")
    args = parser.parse_args(argv)
    with engine.connect() as client:
        stages = bool(client.images.list(WHEEL))
        if not stages:
            print(f"no image {WHEEL} (inv build.image): without real stages")
        found = soak(client, args.runs, args.every, stages)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    Path(args.output).write_text(json.dumps(found, indent=1) + "\n")
    print(f"{args.runs} runs in {found['seconds']:.0f} s: {found['runs']}; counts: {args.output}")
    if found["grown"]:
        raise VerificationError(f"grown in {args.runs} runs: {found['grown']}", "the same as before")


if __name__ == "__main__":
    from qat8 import cli

    cli.run(main)
