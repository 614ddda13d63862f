"""Our containers' labels, and the removal of those whose task was killed before it could remove them itself.

A container carries the run's id and its owner: the machine's boot, the process and that process's start time. The
owner is dead when no such process runs; a process number that was given out again has another start time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

CONFLICT = 409  # "removal is already in progress"
RUN, STAGE, OWNER = "qat8.run", "qat8.stage", "qat8.owner"


@dataclass(frozen=True)
class Leftover:
    id: str
    run_id: str
    stage: str
    state: str


def labels(run_id: str, stage: str) -> dict[str, str]:
    return {RUN: run_id, STAGE: stage, OWNER: owner(os.getpid())}


def owner(pid: int) -> str:
    return f"{_boot()}:{pid}:{_start_time(pid)}"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat (proc(5)), counted after the name in parentheses; empty for a process that ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] == "Z" else after_name[19]  # a zombie does not come back for its container


def alive(label: str) -> bool:
    """Whether the owner runs. Nothing is known of an owner on another machine (or before this one's last boot):
    it counts as alive, and only `everything` removes its container."""
    boot, _, rest = label.partition(":")
    pid, _, started = rest.partition(":")
    if boot and boot != _boot():
        return True
    return bool(started) and pid.isdigit() and _start_time(int(pid)) == started


def remove(client: docker.DockerClient, everything: bool = False) -> list[Leftover]:
    """Remove our containers whose owner is dead; with `everything` all of ours. Returns what was removed."""
    removed = []
    for container in client.containers.list(all=True, filters={"label": RUN}, ignore_removed=True):
        if not everything and alive(container.labels.get(OWNER, "")):
            continue
        found = Leftover(container.short_id, container.labels[RUN], container.labels.get(STAGE, ""), container.status)
        remove_one(container)
        removed.append(found)
    return removed


def remove_one(container) -> None:
    """Stop and remove a container, unless somebody else did or is at it."""
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as e:
        if e.status_code != CONFLICT:
            raise
