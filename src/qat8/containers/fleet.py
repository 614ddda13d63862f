"""One benchmark on many servers: jobs, at most one per NUMA node of a host, gathered whatever happens to a host."""

from __future__ import annotations

import contextlib
import datetime
import json
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, NotFound

from qat8 import artifacts, results
from qat8.console import say
from qat8.containers import engine, leftovers, shipping, topology, tunnel
from qat8.containers.container import Container
from qat8.containers.hosts import Host
from qat8.errors import QatError, StageError

PRECISIONS = ("fp32", "int8")
LOADING_SECONDS = 300  # an engine that takes in an image of a gigabyte may say nothing for long


FAILURES = (QatError, DockerException, requests.exceptions.RequestException, OSError, KeyError)


@dataclass(frozen=True)
class Job:
    """A model on a host."""

    host: str
    model: str
    paths: dict[str, Path]  # fp32, int8, data
    digests: dict[str, str]


@dataclass
class Fleet:
    """What all jobs share; `directory` keeps each job's results, so that a second run does only what lacks."""

    tag: str
    argv: list[str]
    run_id: str
    directory: Path
    environment: dict[str, str]
    patience: float  # seconds that an engine may say nothing
    live: dict[Container, str] = field(default_factory=dict)  # and the URL of its engine
    stopped: threading.Event = field(default_factory=threading.Event)

    def file(self, job: Job) -> Path:
        return self.directory / f"{job.host}-{job.model}.json"

    def stop(self) -> None:
        """End every job that runs now, and start none."""
        self.stopped.set()
        for container, url in list(self.live.items()):
            try:
                # A connection of this thread's own: the one that the container was made by is read by another.
                with contextlib.suppress(NotFound), engine.connect(url, timeout=self.patience) as client:
                    leftovers.remove_one(client.containers.get(container.id))
            except FAILURES as e:
                say(f"{container.spec.name} was not stopped: {e}")


def run(fleet: Fleet, hosts: dict[str, Host], jobs: list[Job]) -> dict[tuple[str, str], str]:
    """Run what lacks, the hosts side by side; what failed, by host and model, with the reason."""
    failed: dict[tuple[str, str], str] = {}
    with ThreadPoolExecutor(len(hosts)) as pool:
        runs = []
        for name, host in hosts.items():
            lacking = [job for job in jobs if job.host == name and not fleet.file(job).is_file()]
            if len(lacking) < sum(job.host == name for job in jobs):
                say(f"{name}: has results of this very benchmark already")
            if lacking:
                runs.append(pool.submit(_host, fleet, name, host, lacking, failed))
        try:
            for future in runs:
                future.result()
        except KeyboardInterrupt:
            fleet.stop()
            raise
    return failed


def _host(fleet: Fleet, name: str, host: Host, jobs: list[Job], failed: dict) -> None:
    """All jobs of a host. Its failure is its own: it is noted, and the other hosts go on."""
    url = host.url
    try:
        with tunnel.to(host.url) as url:
            image_id, nodes = _prepare(fleet, name, host, url)
            waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
            for job in jobs:
                waiting.put(job)
            with ThreadPoolExecutor(len(nodes)) as pool:
                # A connection for each thread: docker-py's is not made to be shared.
                list(pool.map(lambda node: _node(fleet, host, url, image_id, node, waiting, failed), nodes.items()))
    except FAILURES as e:
        for job in jobs:
            if not fleet.file(job).is_file():
                failed.setdefault((name, job.model), str(e).replace(url, host.url))
        say(f"{name}: failed: {str(e).replace(url, host.url)}")


def _prepare(fleet: Fleet, name: str, host: Host, url: str) -> tuple[str, dict[int, str]]:
    """Bring the image, and remove what an earlier run that lost this host left there; the image's id, the nodes."""
    with engine.connect() as local, engine.connect(url, timeout=max(fleet.patience, LOADING_SECONDS)) as client:
        sent = shipping.image(local, client, fleet.tag)
        image_id = local.images.get(fleet.tag).id
    say(f"{name}: image {'sent' if sent else 'is there'}")
    with engine.connect(url, timeout=fleet.patience) as client:
        for left in leftovers.remove(client):
            say(f"{name}: removed what run {left.run_id} left")
        if host.cpus:
            topology.select(topology.of_engine("", client.info()), host.cpus, "")
            return image_id, {0: host.cpus}
        return image_id, shipping.nodes(client, image_id, fleet.run_id)


def _node(
    fleet: Fleet, host: Host, url: str, image_id: str, node: tuple[int, str], waiting: queue.SimpleQueue, failed
) -> None:
    gone = None
    while not fleet.stopped.is_set():
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            if gone:
                raise gone
            with engine.connect(url, timeout=fleet.patience) as client:
                _job(fleet, job, url, client, image_id, node)
        except FAILURES as e:
            failed[job.host, job.model] = why = str(e).replace(url, host.url)  # not the tunnel's end
            say(f"{job.host}: {job.model} failed: {why}")
            gone = e if isinstance(e, engine.EngineGone) else None


def _job(fleet: Fleet, job: Job, url: str, client: docker.DockerClient, image_id: str, node: tuple[int, str]) -> None:
    places = {}
    for kind, path in job.paths.items():
        places[kind], sent = shipping.artifact(client, image_id, path, job.digests[kind], fleet.run_id)
        say(f"{job.host}: {kind} of {job.model} {'sent' if sent else 'is there'}")
    number, cpus = node
    pinned = topology.parse(cpus) if cpus else []
    output = f"{shipping.ROOT}/results-{fleet.run_id}-{job.model}.json"
    command = [
        shipping.PYTHON, "-m", "qat8.stages.benchmark", *fleet.argv, f"--models={job.model}", f"--output={output}",
        f"--fp32-model={places['fp32']}", f"--int8-model={places['int8']}", f"--data-file={places['data']}",
    ]  # fmt: skip
    facts = {"image": fleet.tag, "image_id": image_id, "run_id": fleet.run_id, "cpus": pinned, "nodes": [number],
             "memory": None, "host": job.host}  # fmt: skip
    # A data directory for each node: the benchmark's lock in it refuses a second job on the node, of whatever run.
    variables = fleet.environment | {"QAT8_CONTAINER": json.dumps(facts), "QAT8_DATA": f"{shipping.ROOT}/node{number}"}
    variables |= {"OMP_NUM_THREADS": str(len(pinned))} if pinned else {}
    spec = shipping.spec(image_id, command, fleet.run_id, f"benchmark-{job.host}", environment=variables, cpus=pinned,
                         nodes=[number] if pinned else [])  # fmt: skip
    with Container(client, spec) as container:
        fleet.live[container] = url
        try:
            lines = _Lines(job.host)
            with engine.heartbeat(url, fleet.patience, container.abandon):
                code = container.run(lines).code
            if code:
                raise StageError(f"benchmark of {job.model}: {lines.why} (exit code {code})")
            _keep(fleet, job, container.read(output))
        finally:
            del fleet.live[container]


def _keep(fleet: Fleet, job: Job, content: bytes) -> None:
    with artifacts.atomic_file(fleet.file(job)) as temporary:
        temporary.write_bytes(content)
        results.load(temporary)


class _Lines:
    """A sink that says whole lines, with the host in front."""

    def __init__(self, host: str) -> None:
        self.host, self.last, self._error, self._rest = host, "no message", "", b""

    @property
    def why(self) -> str:
        """Its error line, else its last one."""
        return self._error or self.last

    def __call__(self, stdout: bytes | None, stderr: bytes | None) -> None:
        *lines, self._rest = (self._rest + (stdout or b"") + (stderr or b"")).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").rstrip()
            if text:
                self.last = text
                if text.startswith("error: "):
                    self._error = text.removeprefix("error: ")
                say(f"{self.host}: {text}")


def gather(fleet: Fleet, jobs: list[Job], hosts: dict[str, Host], failed: dict[tuple[str, str], str]) -> Path:
    """fleet.json: a row for each host and model, with its results or the reason why there are none."""
    rows = []
    for job in jobs:
        path = fleet.file(job)
        measured = json.loads(path.read_text()) if path.is_file() else None
        error = None if measured else failed.get((job.host, job.model), "not run")
        rows.append({"host": job.host, "url": hosts[job.host].url, "model": job.model,
                     "status": "done" if measured else "failed", "error": error, "results": measured})  # fmt: skip
    content = {"schema": 1, "run_id": fleet.run_id, "rows": rows,
               "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}  # fmt: skip
    target = fleet.directory / "fleet.json"
    with artifacts.atomic_file(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    return target
