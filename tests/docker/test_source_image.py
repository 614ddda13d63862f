"""The source image's build against a local git repository that STANDS IN for Paddle (tests/docker/upstream).

The real clone cannot be reached from every machine. The stand-in has the same targets and options, a submodule and a
Python package, and a stub for its library: each step, flag, retry, cache and error path of the build really runs.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread

import pytest

from qat8 import artifacts

TAG = "qat8:stand-in"
LOG = artifacts.DATA / "logs" / "build-source.log"


def git(directory: Path, *words: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", directory, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(directory: Path, *branches: str) -> str:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=stand-in")
    for name in branches:
        git(directory, "branch", "--force", name)
    return git(directory, "rev-parse", "HEAD")


class Upstream:
    """Repositories `paddle`, `slim` and the submodule `mkldnn` below one directory, served by git's own daemon."""

    def __init__(self, root: Path, stub: Path) -> None:
        self.root = root
        for name in ("mkldnn", "paddle", "slim"):
            (root / name).mkdir(parents=True)
            git(root / name, "init", "--quiet")
        (root / "mkldnn" / "version.h").write_text("#define STAND_IN 1\n")
        commit(root / "mkldnn")
        for path in (*Path(__file__).with_name("upstream").glob("*.*"), *stub.glob("*.*")):
            shutil.copy(path, root / "paddle")
        git(root / "paddle", "submodule", "--quiet", "add", "../mkldnn", "third_party/mkldnn")
        self.commit = commit(root / "paddle", "v2.6.2", "2.0-beta", "develop")
        (root / "slim" / "setup.py").write_text(
            "from setuptools import setup\nsetup(name='paddleslim', version='0.0.0', py_modules=['paddleslim'])\n"
        )
        (root / "slim" / "paddleslim.py").write_text("STAND_IN = True\n")
        commit(root / "slim", "v2.6.0", "develop")
        git(root / "slim", "branch", "release/1.1.1")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._daemon = None

    def url(self, name: str) -> str:
        return f"git://127.0.0.1:{self.port}/{name}"

    def serve(self) -> None:
        command = ["git", "daemon", "--reuseaddr", "--export-all", f"--base-path={self.root}", "--listen=127.0.0.1",
                   f"--port={self.port}", str(self.root)]  # fmt: skip
        self._daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)

    def stop(self) -> None:
        if self._daemon:
            self._daemon.terminate()
            self._daemon.wait()
            self._daemon = None


@pytest.fixture(scope="module")
def upstream(tmp_path_factory, repo):
    made = Upstream(tmp_path_factory.mktemp("upstream"), repo / "tests" / "cpp" / "stub_paddle")
    made.serve()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def build(inv, upstream, client, repo):
    def call(*more: str):
        git = (f"--paddle-git={upstream.url('paddle')}", f"--slim-git={upstream.url('slim')}")
        words = [word for word in git if word.partition("=")[0] not in {m.partition("=")[0] for m in more}]
        done = inv("build.image", "--source", f"--tag={TAG}", *words, *more)
        done.log = LOG.read_text() if LOG.is_file() else ""
        return done

    yield call
    if client.images.list(TAG):
        client.images.remove(TAG, force=True)


@pytest.fixture(scope="module")
def image(build, client):
    done = build()
    assert done.code == 0, done.out + done.err + done.log[-3000:]
    return done


def output(client, *command: str) -> str:
    return client.containers.run(TAG, list(command), remove=True, network_mode="none").decode()


def bill() -> dict[str, str]:
    """The properties of the image in its bill of materials."""
    bom = json.loads((artifacts.DATA / "images" / f"{TAG.replace(':', '-')}.cdx.json").read_text())
    return {p["name"]: p["value"] for p in bom["metadata"]["component"]["properties"]}


def test_the_image_names_the_commit_that_it_was_built_from(image, upstream, client):
    origin = json.loads(output(client, "cat", "/opt/paddle/origin.json"))
    assert origin["commit"] == upstream.commit and origin["ref"] == "v2.6.2"
    assert upstream.commit in image.out
    labels = client.images.get(TAG).labels
    assert labels["qat8.paddle.ref"] == "v2.6.2" and labels["qat8.paddle.git"] == upstream.url("paddle")
    assert labels["qat8.paddle.commit"] == upstream.commit
    told = f"Paddle v2.6.2 is not pinned, because it comes from another place than upstream: commit {upstream.commit}"
    assert told in image.out


def test_the_bill_of_materials_records_the_commits(image, upstream):
    properties = bill()
    assert properties["qat8.paddle.commit"] == upstream.commit
    assert properties["qat8.slim.commit"] == git(upstream.root / "slim", "rev-parse", "v2.6.0")
    assert properties["qat8.apt"] == "the base image's own sources"


def test_the_tester_in_it_is_compiled_against_the_distribution_that_was_built(image, client):
    tester = "/opt/qat8/tester/build/sample_tester"
    assert "/opt/paddle/paddle/lib/libpaddle_inference.so" in output(client, "sh", "-c", f"ldd {tester} || true")


def test_both_python_packages_come_from_the_source(image, client):
    code = "import paddle, paddleslim; print(paddle.STAND_IN and paddleslim.STAND_IN)"
    assert output(client, "python", "-c", code) == "True\n"


def test_the_final_stage_holds_no_headers_no_sources_and_no_compiler(image, client):
    script = "find /opt/paddle -name '*.h'; ls -d /work /cache /out 2>/dev/null; command -v g++ c++ cmake git; true"
    assert output(client, "sh", "-c", script) == ""


@pytest.fixture(scope="module")
def older(image, upstream, build):
    """The older ref; the daemon is down when the build begins, and comes up when a first attempt has failed."""

    def serve_then():
        deadline = time.monotonic() + 120
        while "attempt 1 of 5 failed" not in LOG.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        upstream.serve()

    upstream.stop()
    thread = Thread(target=serve_then)
    thread.start()
    done = build("--paddle-ref=2.0-beta")
    thread.join()
    assert done.code == 0, done.log[-3000:]
    return done


def test_the_older_ref_has_its_own_flag_and_library(older, client):
    assert output(client, "sh", "-c", "ls /opt/paddle/paddle/lib") == "libpaddle_fluid.so\n"


def test_a_fetch_that_fails_is_tried_again(older):
    assert "attempt 1 of 5 failed" in older.log and "fetched git://" in older.log


def test_what_cannot_be_fetched_is_one_error(build):
    done = build("--paddle-git=git://127.0.0.1:1/none")
    assert done.code == 6
    assert "git://127.0.0.1:1/none: not fetched in 5 attempts" in done.errors[0]


def test_an_unknown_ref_is_refused_before_anything_is_built(build):
    done = build("--paddle-ref=2.0-bata")
    assert done.code == 2 and "did you mean 2.0-beta" in done.errors[0]


@pytest.fixture(scope="module")
def archive(upstream, tmp_path_factory, repo):
    """A checkout with its submodule as a tarball; the build copies it below data/downloads."""
    directory = tmp_path_factory.mktemp("tarball")
    checkout, made = directory / "Paddle", directory / "stand-in-paddle.tar.gz"
    git(directory, "clone", "--quiet", "--recurse-submodules", str(upstream.root / "paddle"), str(checkout))
    subprocess.run(["tar", "-czf", made, "-C", directory, "Paddle"], check=True)
    yield made
    for name in (made.name, "stand-in-slim.tar.gz"):
        (repo / "data/downloads/sources" / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def offline(build, upstream, archive):
    """With the profiler, from tarballs, while nothing serves the repositories."""
    upstream.stop()
    try:
        slim = archive.with_name("stand-in-slim.tar.gz")
        subprocess.run(["tar", "-czf", slim, "-C", upstream.root, "slim"], check=True)
        sha256 = artifacts.sha256(archive)
        done = build(f"--paddle-git={archive}", f"--paddle-sha256={sha256}", f"--slim-git={slim}", "--profiler")
    finally:
        upstream.serve()
    assert done.code == 0, done.log[-3000:]
    return done


def test_a_tarball_needs_no_network(offline):
    assert "fetched stand-in-paddle.tar.gz" in offline.log
    assert "its commit is told after the fetch" in offline.out


def test_the_commit_of_a_tarball_is_recorded_after_the_fetch(offline, upstream):
    properties = bill()
    assert properties["qat8.paddle.git"] == "stand-in-paddle.tar.gz"
    assert properties["qat8.paddle.commit"] == git(upstream.root / "paddle", "rev-parse", "HEAD")


def test_the_profiler_is_a_variant(image, offline):
    """The stand-in's CMakeLists.txt refuses a build without the tutorial's other flags."""
    assert "WITH_PROFILER=OFF" in image.log
    assert "-- WITH_PROFILER=ON" in offline.log


def test_a_tarball_with_another_checksum_is_refused(archive, build):
    done = build(f"--paddle-git={archive}", "--paddle-sha256=" + "0" * 64)
    assert done.code == 6 and "has another SHA-256" in done.errors[0]


def test_a_build_that_failed_goes_on_where_it_was(upstream, build):
    """The package step fails once, after the library was compiled; the second build does not compile it again."""
    script = upstream.root / "paddle" / "make_wheel.py"
    once = (
        "import sys\nfrom pathlib import Path\n"
        "if not Path('tried').exists():\n    Path('tried').touch()\n    sys.exit('error: no disk, no luck')\n"
    )
    script.write_text(once + script.read_text())
    commit(upstream.root / "paddle", "develop")
    done = build("--paddle-ref=develop")
    assert done.code == 6 and "error: no disk, no luck" in done.errors[0], done.errors
    assert "CMakeFiles/paddle_inference.dir/stub.cc.o" in done.log
    done = build("--paddle-ref=develop")
    assert done.code == 0, done.log[-3000:]
    assert "Built target paddle_inference" in done.log and "paddle_inference.dir/stub.cc.o" not in done.log
    assert re.search(r"Hits: +[1-9]", done.log), "ccache was of no use"
