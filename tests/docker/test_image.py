"""The wheel image: built by its task, small enough, rebuilt fast, the same from the same pins; and failed builds."""

from __future__ import annotations

import http.server
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from qat8 import artifacts
from qat8.containers import build, engine, images, rights
from qat8.errors import MachineError, StageError


def test_the_task_says_the_images_size_and_time(wheel_image, client):
    assert re.search(r"^image qat8:wheel: [\d,]+ MB, [\d.]+ s$", wheel_image, re.MULTILINE)
    image = client.images.get("qat8:wheel")
    assert image.attrs["Size"] < 2_000_000_000
    assert image.labels[build.SOURCE] == build.source_digest()
    assert image.labels[build.PINS] == artifacts.sha256(images.FILE)


def test_the_final_stage_has_no_compiler_and_no_wheels(wheel_image, client):
    script = "command -v g++ g++-12 cc cmake make; ls -d /tmp/wheels /opt/qat8/tester/*.cc 2>/dev/null; true"
    assert client.containers.run("qat8:wheel", ["sh", "-c", script], remove=True, network_mode="none") == b""


def test_its_software_bill_of_materials_names_debian_and_python_packages(wheel_image):
    text = (artifacts.DATA / "images" / "qat8-wheel.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None
    bom = json.loads(text)
    purls = {component["purl"] for component in bom["components"]}
    assert "pkg:pypi/paddlepaddle@2.6.2" in purls
    assert any(purl.startswith("pkg:deb/debian/libgomp1@") for purl in purls)
    assert not any(purl.startswith("pkg:deb/debian/g++-12@") for purl in purls)
    licences = {c["name"]: [entry["license"]["name"] for entry in c.get("licenses", [])] for c in bom["components"]}
    assert [name for name, named in licences.items() if not named] == [], "packages without a licence"
    assert "LGPL-2.1+" in licences["util-linux"] and licences["numpy"] == ["BSD License"]
    in_words = [name for name, named in licences.items() if named[0].startswith("in words: ")]
    assert len(in_words) < len(licences) / 10, in_words


def test_a_shell_has_the_rights_of_a_stages_container(wheel_image, inv, ours):
    command = f"id -u; touch /opt/x; ls /sys/class/net; touch {artifacts.DATA}/from-shell; command -v python; exit 3"
    done = inv("shell", f"--command={command}")
    assert done.code == 3, done.err
    lines = done.out.splitlines()
    assert (
        rights.user().partition(":")[0] in lines
        and "lo" in lines
        and "eth0" not in lines
        and "/opt/qat8/.venv/bin/python" in lines
    )
    assert "Read-only file system" in done.err and (artifacts.DATA / "from-shell").is_file()
    assert ours() == []


def test_a_shell_on_a_terminal_prompts_passes_its_exit_code_and_leaves_nothing(wheel_image, inv, ours, repo):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(repo)
        program = os.path.join(os.path.dirname(sys.executable), "inv")
        os.execv(program, [program, "shell"])
    seen = wait_for(terminal, rb"[$#] $")
    assert len(ours()) == 1
    os.write(terminal, b"test -t 0 && test -t 1 && echo it is a $((6 * 7)) terminal; exit 3\n")
    seen += wait_for(terminal, None)
    assert b"it is a 42 terminal" in seen, seen
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert ours() == []


def wait_for(terminal: int, pattern: bytes | None) -> bytes:
    """What comes, until it ends in the pattern; without one, until the other end is closed."""
    seen, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and not (pattern and re.search(pattern, seen)):
        if select.select([terminal], [], [], 1)[0]:
            try:
                seen += os.read(terminal, 4096)
            except OSError:  # EIO: closed
                return seen
    assert pattern and re.search(pattern, seen), seen
    return seen


class Mirror(http.server.BaseHTTPRequestHandler):
    """Stands for a dated snapshot: sends apt on to the mirror that this machine uses."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", self.path.replace("/20260101T000000Z/", mirror(), 1))
        self.end_headers()

    def log_message(self, *_):
        pass


def mirror() -> str:
    listed = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    return next(line.split()[1] for line in lines if line.startswith("bookworm "))


def test_a_dated_snapshot_is_where_apt_reads_when_one_is_named(engine_url, repo, tmp_path, client):
    """Every index and package comes by way of the snapshot's URI: the file of sources names nothing else."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    snapshot = f"http://127.0.0.1:{server.server_port}/20260101T000000Z/"
    arguments = {"BASE_IMAGE": "qat8-base:bookworm", "RUN_PACKAGES": "hello", "APT_SNAPSHOT": snapshot}
    try:
        build.run(repo / "docker" / "Dockerfile.wheel", "qat8:snapshot", arguments, {}, tmp_path / "log", target="run")
        script = "cat /etc/apt/sources.list; ls /etc/apt/sources.list.d; dpkg-query -W hello"
        said = client.containers.run("qat8:snapshot", ["sh", "-c", script], remove=True, network_mode="none").decode()
    finally:
        server.shutdown()
        if client.images.list("qat8:snapshot"):
            client.images.remove("qat8:snapshot", force=True)
    assert said.splitlines()[0] == f"deb [check-valid-until=no] {snapshot} bookworm main"
    assert len(said.splitlines()) == 2 and said.splitlines()[1].startswith("hello")
    assert any(path.startswith("/20260101T000000Z/pool/main/h/hello/") for path in Mirror.asked)


def test_a_snapshot_without_a_date_is_refused_before_anything_is_built(inv):
    done = inv("build.image", "--apt-snapshot=http://mirror/debian")
    assert done.code == 2 and "ends in a date, YYYYMMDDTHHMMSSZ" in done.errors[0]


@pytest.fixture
def checkout(repo, tmp_path):
    """A copy of what the image is made of, with the wheels linked into it."""
    for name in ("src", "tester", "docker"):
        shutil.copytree(repo / name, tmp_path / name, ignore=shutil.ignore_patterns("build*", "__pycache__"))
    shutil.copy(repo / "requirements.txt", tmp_path)
    shutil.copytree(repo / "data/downloads/wheels", tmp_path / "data/downloads/wheels", copy_function=os.link)
    return tmp_path


@pytest.fixture
def rebuild(wheel_image, checkout, client):
    pins = images.load()
    arguments = {
        "BASE_IMAGE": "qat8-base:bookworm", "RUN_PACKAGES": " ".join(pins.base.run_packages),
        "COMPILER": pins.base.compiler, "BUILD_PACKAGES": " ".join(pins.base.build_packages), "APT_SNAPSHOT": "",
    }  # fmt: skip

    def call(tag):
        start = time.perf_counter()
        build.run(
            checkout / "docker" / "Dockerfile.wheel", tag, arguments, {}, checkout / "build.log", context=checkout
        )
        return time.perf_counter() - start

    yield call
    for tag in ("qat8:again", "qat8:changed"):
        if client.images.list(tag):
            client.images.remove(tag, force=True)


def test_a_change_of_the_source_is_in_the_image_within_30_seconds(rebuild, checkout, client):
    (checkout / "src" / "qat8" / "changed.py").write_text("VALUE = 42\n")
    assert rebuild("qat8:changed") < 30
    command = ["python", "-c", "from qat8.changed import VALUE; print(VALUE)"]
    assert client.containers.run("qat8:changed", command, remove=True, network_mode="none") == b"42\n"


@pytest.fixture
def built(engine_url, tmp_path):
    """`built(steps)`: a build of these steps upon the base image."""

    def call(steps: str):
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(f"FROM qat8-base:bookworm\n{steps}\n")
        build.run(dockerfile, "qat8:broken", {}, {}, tmp_path / "build.log", context=tmp_path)

    return call


def test_a_step_that_fails_is_one_error_with_its_last_line_and_the_log(built, client, tmp_path):
    with pytest.raises(StageError) as e:
        built("RUN echo 'error: no such flag' && false")
    assert "building qat8:broken failed" in str(e.value) and "build.log" in str(e.value)
    assert "no such flag" in (tmp_path / "build.log").read_text()
    assert client.images.list("qat8:broken") == []
    assert client.containers.list(all=True) == []


def test_two_images_are_compared_file_by_file(inv, client, tmp_path):
    steps = {"qat8:a": "RUN echo 1 >/x; echo 1 >/y", "qat8:b": "RUN echo 2 >/x; echo 1 >/y; chmod 600 /y; ln -s x /z"}
    for tag, step in steps.items():
        (tmp_path / "Dockerfile").write_text(f"FROM qat8-base:bookworm\n{step}\n")
        build.run(tmp_path / "Dockerfile", tag, {}, {}, tmp_path / "build.log", context=tmp_path)
    try:
        same, other = inv("build.compare", "qat8:a", "qat8:a"), inv("build.compare", "qat8:a", "qat8:b")
    finally:
        for tag in steps:
            client.images.remove(tag, force=True)
    assert same.code == 0 and "all the same" in same.out
    assert other.code == 7 and other.errors[0].startswith("error: 3 of ")
    assert [line.split(":")[0].strip() for line in other.out.splitlines() if line.startswith("  ")] == ["x", "y", "z"]


def test_a_full_disk_is_named_as_such(built):
    with pytest.raises(MachineError, match="the disk is full while qat8:broken is built"):
        built("RUN cat /etc/passwd >/dev/full")


def test_a_base_image_that_is_nowhere_is_one_error_with_the_way_out(inv):
    done = inv("build.image", "--base-image=qat8-nowhere:1")
    assert done.code == 5
    [error] = done.errors
    assert "base image qat8-nowhere:1 is not there" in error and "private-engine.sh base" in error


def test_without_a_program_that_speaks_buildkit_there_is_one_error(monkeypatch, tmp_path):
    old = tmp_path / "docker"
    old.write_text("#!/bin/sh\n[ $1 = --version ] && echo Docker version 28.1.1, build 0 && exit 0\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no `docker` program with BuildKit"):
        build.program()


def test_an_image_of_other_sources_is_refused(built_elsewhere, inv):
    done = inv("doctor", "--runtime=docker", QAT8_IMAGE=built_elsewhere)
    assert done.code == 5
    assert "was built from other sources than this checkout's; next: inv build.image" in done.errors[0]


@pytest.fixture
def built_elsewhere(wheel_image, client, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM qat8:wheel\nLABEL {build.SOURCE}=other\n")
    build.run(tmp_path / "Dockerfile", "qat8:elsewhere", {}, {}, tmp_path / "build.log", context=tmp_path)
    yield "qat8:elsewhere"
    client.images.remove("qat8:elsewhere", force=True)


@pytest.mark.parametrize("tag", ["qat8:none", "qat8-base:bookworm"])
def test_an_image_that_is_missing_or_not_ours_names_the_task_that_makes_it(inv, tag):
    done = inv("doctor", "--runtime=docker", QAT8_IMAGE=tag)
    assert done.code == 5
    assert tag in done.errors[0] and done.errors[0].endswith("next: inv build.image")


def test_no_engine_is_one_line(inv, tmp_path):
    done = inv("doctor", "--runtime=docker", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.code == 5
    assert done.errors == [f"error: no Docker engine at unix://{tmp_path}/none.sock: there is no socket; "
                           f"next: {engine.START}"]  # fmt: skip


def test_a_user_without_permission_on_the_socket_is_told(engine_url):
    """The checkout and the socket may lie where another user cannot look, so only the user changes, after imports."""
    script = """
import os
from qat8.containers import engine
os.setgid(65534), os.setgroups([]), os.setuid(65534)
try:
    engine.connect().__enter__()
except engine.MachineError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "user 65534 may not use the Docker engine" in done.stdout, done.stderr
    assert "usermod -aG docker" in done.stdout
