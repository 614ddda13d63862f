"""Starting the processes of one training on this machine, and ending all of them when one ends badly.

The processes get the environment variables of `paddle.distributed.launch`. That launcher itself is not used: 2.6.2's
ended with 241 when a process had ended with 3 (the code of another one, which it had killed), and then prints the whole
environment, secrets and all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from qat8 import processes
from qat8.artifacts import shown
from qat8.console import say
from qat8.errors import MachineError, UsageError
from qat8.older_python import zip_strict
from qat8.training.rendezvous import Rendezvous

PORT = 6170
_GRACE_SECONDS = 1.0  # for others that end because of the first to show it
_INTERRUPTED_SECONDS = 30


@dataclass(frozen=True)
class Layout:
    """Who takes part: `nproc` processes on each of `hosts` (addresses), of which this machine is number `node`."""

    nproc: int
    hosts: tuple[str, ...] = ("127.0.0.1",)
    node: int = 0
    port: int = 0  # of the first host, where the processes find each other; 0: any free one

    @property
    def size(self) -> int:
        return self.nproc * len(self.hosts)

    @property
    def ranks(self) -> range:
        return range(self.node * self.nproc, (self.node + 1) * self.nproc)

    @classmethod
    def of(cls, nproc: int, hosts: str | None, node: int | None, port: int | None) -> Layout:
        """From the flags.

        Raises:
            UsageError: a host without address, or none of them is this machine.
        """
        if not hosts:
            return cls(nproc, port=port or 0)
        addresses = tuple(_resolve(name.strip()) for name in hosts.split(","))
        if node is None:
            own = set(_interfaces())
            node = next((i for i, address in enumerate(addresses) if address in own), None)
            if node is None:
                raise UsageError(f"--hosts {hosts!r}", "this machine among them", "name its place by --node-rank")
        if not 0 <= node < len(addresses):
            raise UsageError(f"--node-rank {node}", f"a number from 0 to {len(addresses) - 1}")
        return cls(nproc, addresses, node, port or PORT)


def run(argv: list[str], layout: Layout, logs: Path) -> None:
    """Run `python -m qat8.stages.train ARGV` as all ranks of this machine, to the end.

    The first rank's output goes to this terminal; errors, and all that the others say, to `logs`/rankN.log.

    Raises:
        the class of the failed rank's exit code: one ended badly; it and its log are named.
        MachineError: the port is taken, or the address belongs to no interface.
    """
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        port = layout.port
        if layout.node == 0:
            port = stack.enter_context(Rendezvous.opened(layout.hosts[0], layout.port)).port
        say(f"ranks {layout.ranks[0]} to {layout.ranks[-1]} of {layout.size}, logs: {shown(logs)}")
        ranks = stack.enter_context(_started(argv, layout, port, logs))
        _watch(ranks, logs)


def _command(argv: list[str]) -> list[str]:
    return [sys.executable, "-m", "qat8.stages.train", *argv]


@contextlib.contextmanager
def _started(argv: list[str], layout: Layout, port: int, logs: Path) -> Iterator[dict[int, subprocess.Popen]]:
    """The processes; none is left when the block ends."""
    ranks: dict[int, subprocess.Popen] = {}
    shares = _cpus(layout.nproc)
    try:
        for rank, cpus in zip_strict(layout.ranks, shares):
            command = processes.pinned(cpus, _command(argv))
            environment = _environment(rank, layout, port) | {"OMP_NUM_THREADS": str(len(cpus))}
            with open(log(logs, rank), "w") as file:
                output = None if rank == 0 else file
                ranks[rank] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=file, env={**os.environ, **environment},
                    preexec_fn=processes.ends_with_parent(),
                )  # fmt: skip
        yield ranks
    finally:
        for process in ranks.values():
            process.kill()
            process.wait()


def log(logs: Path, rank: int) -> Path:
    return logs / f"rank{rank}.log"


def _watch(ranks: dict[int, subprocess.Popen], logs: Path) -> None:
    try:
        while any(p.poll() is None for p in ranks.values()) and not any(p.poll() for p in ranks.values()):
            time.sleep(0.05)
        if failed := {rank for rank, p in ranks.items() if p.poll()}:
            time.sleep(_GRACE_SECONDS)
            _raise_for(failed, ranks, logs)
    except KeyboardInterrupt as e:  # Ctrl-C has reached them, too: twice is once
        for p in ranks.values():
            p.send_signal(getattr(e, "number", signal.SIGINT))
        deadline = time.monotonic() + _INTERRUPTED_SECONDS
        while any(p.poll() is None for p in ranks.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        said = _last_error(log(logs, min(ranks))) if min(ranks) == 0 else ""
        raise KeyboardInterrupt(said or "interrupted; run the same command again to go on") from None


def _raise_for(first: set[int], ranks: dict[int, subprocess.Popen], logs: Path) -> None:
    """Blame the rank that failed by itself: not one that only tells that another is gone."""
    failed = {rank: p.returncode for rank, p in ranks.items() if p.poll()}
    told = {rank: _last_error(log(logs, rank)) for rank in failed}
    rank = min(failed, key=lambda r: ("another process of this training is gone" in told[r], r not in first, r))
    lost = f"rank {rank} (log: {shown(log(logs, rank))})"
    failure = processes.failure([lost], failed[rank], log(logs, rank).read_text(errors="replace"))
    failure.next_step = failure.next_step or "run the same command again: it goes on from the last checkpoint"
    raise failure


def _last_error(file: Path) -> str:
    lines = [line for line in file.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    return lines[-1].removeprefix("error: ") if lines else ""


def _environment(rank: int, layout: Layout, port: int) -> dict[str, str]:
    address = layout.hosts[layout.node]
    known = _interfaces()
    if address not in known:
        raise MachineError(f"{address} belongs to no network interface of this machine", f"one of {', '.join(known)}")
    return {
        "PADDLE_TRAINER_ID": str(rank), "PADDLE_TRAINERS_NUM": str(layout.size),
        "PADDLE_MASTER": f"{layout.hosts[0]}:{port}", "GLOO_SOCKET_IFNAME": known[address],
        "PYTHONHASHSEED": "0",  # paddleslim walks through sets
    }  # fmt: skip


def _cpus(nproc: int) -> list[list[int]]:
    """CPUs for each process: its part of those that this one may use; all of them where there are too few."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < nproc:
        say(f"  {nproc} processes share {len(allowed)} CPUs: this is slower than one process for each CPU")
        return [allowed] * nproc
    return [part.tolist() for part in np.array_split(allowed, nproc)]


def _interfaces() -> dict[str, str]:
    """IPv4 address -> name of the network interface."""
    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        found |= {a.address: name for a in addresses if a.family == socket.AF_INET}
    return found


def _resolve(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError as e:
        raise UsageError(f"--hosts: {name!r} has no address ({e.strerror})", "names or IPv4 addresses") from None
