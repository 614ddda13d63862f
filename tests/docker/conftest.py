"""A real Docker engine for these tests, started and stopped by docker/private-engine.sh.

It is one of the tests' own. Its directory stays between test runs, so that the base image and the build's layers cost
time once. Where no engine can start, the tests are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

SCRIPT = "docker/private-engine.sh"
CACHE = Path.home() / ".cache" / "qat8"
HOME = CACHE / "test-engine"  # not the engine of a user, whose containers the tests would remove
BASE = "qat8-base:bookworm"


@pytest.fixture(scope="session")
def script(repo):
    """`script(directory, *words)`: docker/private-engine.sh for the engine in that directory, to its end."""

    def call(directory: Path, *words: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "QAT8_ENGINE_DIR": str(directory)}
        return subprocess.run([repo / SCRIPT, *words], capture_output=True, text=True, env=env)

    return call


def _or_skip(done: subprocess.CompletedProcess) -> str:
    if done.returncode:
        pytest.skip(f"no Docker engine: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


@pytest.fixture(scope="session")
def start_engine(script):
    """`start_engine(directory)` starts a private engine and gives its URL; all are stopped at the end."""
    started = []

    def start(directory: Path) -> str:
        if os.geteuid():
            pytest.skip("no Docker engine: starting one needs root")
        said = _or_skip(script(directory, "start"))
        if not said.startswith("up already"):
            started.append(directory)
        return f"unix://{directory}/docker.sock"

    yield start
    for directory in started:
        script(directory, "stop").check_returncode()


@pytest.fixture(scope="session")
def engine_url(script, start_engine):
    """The engine of these tests, with the base image. Other test runs on this machine wait for it."""
    HOME.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(HOME / "tests.lock", timeout=1800):
        url = start_engine(HOME)
        archive = CACHE / "engine" / "base.tar"
        if archive.is_file() and not (HOME / "base.tar").exists():
            os.link(archive, HOME / "base.tar")
        _or_skip(script(HOME, "base", BASE))
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = url
        yield url
        os.environ.pop("DOCKER_HOST")
        if before:
            os.environ["DOCKER_HOST"] = before


@pytest.fixture(scope="session")
def client(engine_url):
    from qat8.containers import engine

    with engine.connect(engine_url) as found:
        yield found


@pytest.fixture
def ours(client):
    """`ours()`: the containers with our label. There must be none at the end of a test, whatever it did."""
    from qat8.containers import leftovers

    def count():
        return client.containers.list(all=True, filters={"label": leftovers.RUN}, ignore_removed=True)

    yield count
    left = [c.name for c in count()]
    leftovers.remove(client, everything=True)
    assert left == []


@pytest.fixture
def spec(tmp_path):
    """`spec(*command, **more)`: what `sh -c` or a command runs in the base image."""
    from qat8.containers.container import Spec

    def make(script: str, **more) -> Spec:
        defaults = {"image": BASE, "command": ["sh", "-c", script], "run_id": "test", "name": "test"}
        return Spec(**defaults | more)

    return make


@pytest.fixture(scope="session")
def inv(repo, engine_url):
    """`inv(*words, **variables)`: an Invoke task as a user starts it."""
    program = Path(sys.executable).with_name("inv")

    def call(*words: str, cwd: Path = repo, **variables: str) -> SimpleNamespace:
        env = {**os.environ, **variables}
        done = subprocess.run([program, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr, errors=errors)

    return call


@pytest.fixture(scope="session")
def wheel_image(inv, repo):
    """The wheel image, built by its task; what the task printed."""
    downloads = repo / "data" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    done = inv("build.image")
    assert done.code == 0, done.out + done.err
    return done.out


@pytest.fixture(scope="session")
def fetched(repo):
    """The packages' files that an earlier run fetched are taken over into the tests' own data directory."""
    from qat8 import artifacts

    target = artifacts.DATA / "downloads"
    target.mkdir(parents=True, exist_ok=True)
    for path in (repo / "data" / "downloads").glob("*.*"):
        if path.suffix in (".whl", ".gz"):
            shutil.copy(path, target)


@pytest.fixture(scope="session")
def second(start_engine, engine_url):
    """A second engine on this machine, as if it were another server."""
    return start_engine(CACHE / "test-engine-2")


@pytest.fixture(scope="session")
def small(wheel_image, inv, fetched):
    """The whole way to the INT8 model in containers, with as little training as it takes; once for all modules. It
    loses most of its accuracy, which is no subject here: its benchmarks need --max-top1-drop=100."""
    less = ("--max-iters=1", "--set=calibration.steps=2", "--set=calibration.mean_correction_images=16")
    for stage in (("dataset",), ("weights",), ("preprocess",), ("train", *less), ("convert",)):
        done = inv(*stage, "--runtime=docker")
        assert done.code == 0, done.out + done.err


@pytest.fixture(scope="session")
def sshd(tmp_path_factory):
    """`sshd(path)`: the ssh URL of an engine's socket on this machine, through a server of these tests on a high port
    with keys of its own. Skipped where Debian's openssh-server is not installed."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not os.access(program, os.X_OK) or not shutil.which("ssh"):
        pytest.skip("no sshd; apt-get install -y openssh-server")
    home = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "known").write_text(f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}")
    (home / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {home}/host\nAuthorizedKeysFile {home}/user.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([program, "-D", "-E", home / "log", "-f", home / "config"])
    options = f"-F none -i {home}/user -o UserKnownHostsFile={home}/known -o StrictHostKeyChecking=yes"
    os.environ["QAT8_SSH"] = f"ssh {options}"
    yield lambda path: f"ssh://root@127.0.0.1:{port}{path}"
    os.environ.pop("QAT8_SSH")
    server.terminate()
    server.wait()
