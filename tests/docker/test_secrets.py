"""What a builder has in the environment, in the checkout and in URLs is in no image: in no layer, label or history."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from qat8.containers import build, images, upstream

# Made up anew in each run; whatever of it an image holds has come from this build.
SECRET = f"qat8-s3cret-{os.urandom(8).hex()}"


def holds(client, tag: str, secret: str) -> bool:
    """Whether the bytes stand anywhere in what `docker save` gives: every layer, the configuration with its labels,
    environment and history. Layers are tar archives that are not compressed there."""
    words, rest = secret.encode(), b""
    for chunk in client.images.get(tag).save():
        if words in rest + chunk:
            return True
        rest = chunk[-len(words) :]
    return False


@pytest.fixture
def checkout(repo, wheel_image, tmp_path):
    """A copy of what the wheel image is made of, with secrets where builders have them."""
    for name in ("src", "tester", "docker"):
        shutil.copytree(repo / name, tmp_path / name, ignore=shutil.ignore_patterns("build*", "__pycache__"))
    shutil.copy(repo / "requirements.txt", tmp_path)
    shutil.copytree(repo / "data/downloads/wheels", tmp_path / "data/downloads/wheels", copy_function=os.link)
    for name in (".env", ".git/config", ".netrc", ".pypirc", "src/.env", "src/qat8/.netrc", "src/qat8/server.pem",
                 "src/id_ed25519", "src/qat8/aws.credentials", "tester/.git-credentials", "tester/deploy.key",
                 "tester/prod.env", "data/downloads/.pypirc", "data/downloads/wheels/pip.conf", "data/results/r.json",
                 "docker/registry-secret.txt"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SECRET)
    (tmp_path / "src" / "qat8" / "marker.py").write_text(f"MARKER = '{SECRET[::-1]}'\n")
    return tmp_path


def test_no_secret_of_the_environment_or_the_checkout_is_in_the_image(checkout, client, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PASSWORD", "TWINE_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    for name in ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:9/")
    monkeypatch.setenv("NO_PROXY", "*")
    pins = images.load()
    arguments = {
        "BASE_IMAGE": "qat8-base:bookworm", "RUN_PACKAGES": " ".join(pins.base.run_packages),
        "COMPILER": pins.base.compiler, "BUILD_PACKAGES": " ".join(pins.base.build_packages), "APT_SNAPSHOT": "",
    }  # fmt: skip
    try:
        build.run(checkout / "docker" / "Dockerfile.wheel", "qat8:secrets", arguments, build.common_labels("x"),
                  checkout / "build.log", context=checkout)  # fmt: skip
        assert holds(client, "qat8:secrets", SECRET[::-1]), "the search finds what is there"
        assert not holds(client, "qat8:secrets", SECRET)
        assert SECRET not in (checkout / "build.log").read_text()
        config = client.images.get("qat8:secrets").attrs["Config"]
        assert config["User"] == "65532:0" and not [v for v in config["Env"] if v.startswith(("AWS", "PIP", "HTTP"))]
    finally:
        if client.images.list("qat8:secrets"):
            client.images.remove("qat8:secrets", force=True)


class Private(http.server.BaseHTTPRequestHandler):
    """A git repository behind a password, by git's own http-backend."""

    root: Path
    refused = 0

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, body: bytes) -> None:
        wanted = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            type(self).refused += 1
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="private"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            **os.environ, "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": "me", "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def private(tmp_path):
    """The URL of a private repository, with its password, and the commit of its branch `v1`."""
    work = tmp_path / "private.git"
    work.mkdir()
    (work / "file").write_text("not secret\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "one"], ["branch", "v1"]):
        subprocess.run(["git", "-C", work, *identity, *words], check=True)
    commit = subprocess.run(["git", "-C", work, "rev-parse", "v1"], check=True, capture_output=True, text=True).stdout
    Private.root, Private.refused = tmp_path, 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Private)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:{SECRET}@127.0.0.1:{server.server_port}/private.git/.git", commit.strip()
    server.shutdown()


def test_a_private_repositorys_password_is_used_by_the_source_build_and_in_no_layer(private, client, repo, tmp_path):
    """Of the stage that fetches: the final image has of it only the run-time files."""
    url, commit = private
    plain, kept = upstream.without_credentials(url)
    pins = images.load()
    with upstream.store([kept]) as credentials:
        assert upstream.resolve(plain, ["v1"], credentials) == ("v1", commit)
        arguments = {
            "BASE_IMAGE": "qat8-base:bookworm", "RUN_PACKAGES": " ".join(pins.base.run_packages),
            "COMPILER": pins.base.compiler, "BUILD_PACKAGES": " ".join(pins.base.build_packages), "APT_SNAPSHOT": "",
            "SOURCE_PACKAGES": " ".join(pins.base.source_packages), "PADDLE_GIT": plain, "PADDLE_REF": "v1",
            "PADDLE_COMMIT": commit, "SLIM_GIT": plain, "SLIM_REF": "v1", "SLIM_COMMIT": commit,
        }  # fmt: skip
        upstream.SOURCES.mkdir(parents=True, exist_ok=True)
        try:
            build.run(repo / "docker" / "Dockerfile.source", "qat8:private", arguments, {}, tmp_path / "log",
                      target="fetched", extra=[f"--secret=id=git-credentials,src={credentials}"])  # fmt: skip
            assert f"fetched {plain} at v1: commit {commit}" in (tmp_path / "log").read_text()
            assert Private.refused > 0, "the password was asked for"
            assert SECRET not in (tmp_path / "log").read_text()
            assert holds(client, "qat8:private", "not secret") and not holds(client, "qat8:private", SECRET)
        finally:
            if client.images.list("qat8:private"):
                client.images.remove("qat8:private", force=True)
