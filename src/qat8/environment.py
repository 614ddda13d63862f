"""What the machine is, as far as it bears on the figures; read from the kernel, never changed.

psutil answers what it knows (memory, physical cores); the rest is `kernel`'s. py-cpuinfo was weighed and left out: it
starts lscpu and a process of its own that runs CPUID from executable memory, takes about a second, and tells neither
microcode, caches of a level, governor nor limits.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from qat8 import __version__, artifacts, kernel
from qat8.artifacts import REPOSITORY
from qat8.containers import topology
from qat8.kernel import cpuinfo
from qat8.results import Check, Environment, Peak

CGROUP = Path("/sys/fs/cgroup")
TOOLS = {"cmake": "cmake", "g++": "g++", "make": "make"}  # program -> Debian package
PACKAGES = ("paddlepaddle", "paddleslim", "numpy", "pillow", "scipy")
# What computes and what spreads the work over threads, in Paddle's wheel.
LIBRARIES = ("base/libpaddle.so", "libs/libdnnl.so.3", "libs/libiomp5.so", "libs/libmklml_intel.so")
VARIABLES = ("OMP_NUM_THREADS", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "ONEDNN_MAX_CPU_ISA",
             "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "FLAGS_use_mkldnn", "LD_PRELOAD", "LD_LIBRARY_PATH",
             "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "CPU_NUM")  # fmt: skip
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile",
         "amx_int8", "amx_bf16")  # fmt: skip


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def cpu() -> dict:
    """What does not change from one run to the next on a machine that is left alone."""
    info = cpuinfo()
    flags = info.get("flags", "").split()
    siblings = len(kernel.siblings(0))
    return {
        "model": info.get("model name", platform.processor()),
        "vendor": info.get("vendor_id"),
        "signature": signature(info),
        "microcode": info.get("microcode"),
        "flags": [flag for flag in FLAGS if flag in flags],
        "vnni": "avx512_vnni" in flags,
        "cpus": os.cpu_count(),
        "cores": psutil.cpu_count(logical=False),
        "sockets": kernel.sockets(),
        "threads_per_core": siblings,
        "allowed_cpus": sorted(os.sched_getaffinity(0)),
        "numa_nodes": len(kernel.numa_nodes()) or 1,
        "smt": kernel.read("sys/devices/system/cpu/smt/active") == "1" or siblings > 1,
        "caches": kernel.caches(),
        "governor": kernel.governor(),
        "driver": kernel.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
        "turbo": kernel.turbo(),
        "hypervisor": "hypervisor" in flags,
    }


def signature(info: dict[str, str]) -> str | None:
    """What CPUID calls the processor: a cloud's name for it ("AMD EPYC") may stand for several generations."""
    numbers = [(word, info.get(key)) for word, key in
               (("family", "cpu family"), ("model", "model"), ("stepping", "stepping"))]  # fmt: skip
    return ", ".join(f"{word} {number}" for word, number in numbers if number) or None


def in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def container() -> dict | None:
    """What the docker runtime says of the container that this process runs in; None on the host."""
    facts = os.environ.get("QAT8_CONTAINER")
    return json.loads(facts) if facts else None


def runtime() -> str:
    return "docker" if container() else "local"


def container_checks() -> list[Check]:
    """That the CPU set was not only asked for: the kernel allows just these CPUs, and the time was spent on them.

    Control groups v1 count the time on each CPU; v2's cpu.stat has only the sum, so there it is the set alone. Who asks
    for a number of CPUs and not for a set (Kubernetes) must have that many of its own.
    """
    facts = container()
    if facts is None:
        return []
    allowed = sorted(os.sched_getaffinity(0))
    asked, count = facts["cpus"] or allowed, facts.get("cpu_count") or len(allowed)
    spent = [int(ns) for ns in (_read(CGROUP / "cpuacct/cpuacct.usage_percpu") or "").split()]
    elsewhere = sum(ns for cpu, ns in enumerate(spent) if cpu not in asked) / (sum(spent) or 1)
    group = _read(CGROUP / "cpuset.cpus.effective") or _read(CGROUP / "cpuset/cpuset.effective_cpus")
    said = [f"asked for {facts['cpus'] or count}, allowed {allowed}", f"control group {group or 'not told'}",
            f"{1 - elsewhere:.1%} of its CPU time there" if spent else "its CPU times are not told"]  # fmt: skip
    enforced = not group or not facts["cpus"] or topology.parse(group) == asked
    return [Check(check="container CPUs", detail=", ".join(said),
                  ok=allowed == asked and len(allowed) == count and enforced and elsewhere < 0.01)]  # fmt: skip


def git_commit() -> str | None:
    """The checkout's commit, with `-dirty` when files differ from it; None outside a checkout. In a container the
    commit that its image was built from."""
    if commit := os.environ.get("QAT8_GIT_COMMIT"):
        return commit
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def missing_tools() -> list[str]:
    """Debian packages that hold the build tools that are not here."""
    return [package for program, package in TOOLS.items() if not shutil.which(program)]


def docker_engine() -> str | None:
    """The version of the Docker engine that answers (DOCKER_HOST or the usual socket); None when none does."""
    import docker

    try:
        client = docker.from_env(timeout=5)
        return client.version()["Version"]
    except (docker.errors.DockerException, OSError):
        return None


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@functools.cache
def libraries() -> dict[str, str]:
    """SHA-256 of the libraries of the installed wheel that compute, by file name; found without importing Paddle."""
    spec = importlib.util.find_spec("paddle")
    found = {}
    for base in (spec.submodule_search_locations or []) if spec else []:
        paths = (Path(base) / name for name in LIBRARIES)
        found |= {path.name: artifacts.sha256(path) for path in paths if path.is_file()}
    return found


def record(checks: list[Check], onednn: dict | None = None, peak: Peak | None = None) -> Environment:
    """`onednn`: what the library said of itself in its verbose log, see `benchmarking.onednn_log`."""
    system = platform.uname()
    release = kernel.read("etc/os-release") or ""
    pretty = next((line[13:-1] for line in release.splitlines() if line.startswith("PRETTY_NAME=")), system.system)
    return Environment(
        cpu=cpu(),
        memory_bytes=psutil.virtual_memory().total,
        os={"name": pretty, "kernel": system.release, "libc": " ".join(platform.libc_ver())},
        container=in_container(),
        container_details=container(),
        limits=kernel.cgroup_limits(),
        load_average=kernel.load_average(),
        versions={"qat8": __version__, "python": platform.python_version(), **{p: version_of(p) for p in PACKAGES}},
        libraries=libraries(),
        onednn=onednn,
        git_commit=git_commit(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        peak=peak,
        validity=checks,
    )
