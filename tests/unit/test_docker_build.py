"""What a failed build says, which base image is taken, which commit a ref is; no engine is needed."""

import contextlib
import subprocess
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest

from qat8.containers import build, images, upstream
from qat8.errors import DataError, MachineError, StageError
from qat8.stages import build_image

LOG = Path("/logs/build.log")


@pytest.mark.parametrize(
    "lines, words",
    [
        (
            ["#9 1.234 a.cc:3:1: error: no such type", "#9 1.300 make: *** [all] Error 2"],
            "a.cc:3:1: error: no such type",
        ),
        (
            ["#9 0.1 E: Unable to locate package nope", "#9 ERROR: executor failed running [/bin/sh]"],
            "Unable to locate",
        ),
        (["#9 0.1 fatal: unable to connect", "#9 0.2 attempt 1 of 5 failed"], "fatal: unable to connect"),
        (["Cannot connect to the Docker daemon"], "Cannot connect to the Docker daemon"),
        ([], "no message"),
    ],
)
def test_a_failed_build_names_its_most_telling_line(lines, words):
    found = build._failed("x:1", lines, LOG)
    assert isinstance(found, StageError) and words in str(found) and str(LOG) in str(found)


def test_a_full_disk_is_the_machines_fault():
    found = build._failed("x:1", ["#9 0.1 cc1plus: fatal error: error writing to a.s: No space left on device"], LOG)
    assert isinstance(found, MachineError) and "the disk is full" in str(found)


class Client:
    def __init__(self, *tags):
        self.images, self.tags = self, tags

    def get(self, tag):
        if tag not in self.tags:
            raise docker.errors.ImageNotFound(tag)
        return SimpleNamespace(id=tag)

    def pull(self, tag):
        raise docker.errors.APIError("no route", explanation="no registry answers\nmore")


def test_the_base_image_that_is_taken(monkeypatch):
    monkeypatch.delenv("QAT8_BASE_IMAGE", raising=False)
    pins = images.load()
    both = Client(pins.base.image, pins.base.local, "mine:1")
    assert build.base_image(both, "", pins) == pins.base.image
    assert build.base_image(Client(pins.base.local), "", pins) == pins.base.local
    assert build.base_image(both, "mine:1", pins) == "mine:1"
    monkeypatch.setenv("QAT8_BASE_IMAGE", "mine:1")
    assert build.base_image(both, "", pins) == "mine:1"
    monkeypatch.delenv("QAT8_BASE_IMAGE")
    with pytest.raises(MachineError, match="could not be pulled: no registry answers; next: docker"):
        build.base_image(Client(), "", pins)


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        done = subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=develop")
    git("commit", "--quiet", "--allow-empty", "--message=one")
    git("tag", "--annotate", "v1", "--message=one")
    return SimpleNamespace(git=git, url=f"file://{tmp_path}")


def test_a_ref_is_a_commit_also_when_an_annotated_tag_names_it(repository):
    head = repository.git("rev-parse", "HEAD")
    assert upstream.resolve(repository.url, ["v1"]) == ("v1", head)
    assert upstream.resolve(repository.url, ["develop"]) == ("develop", head)
    repository.git("commit", "--quiet", "--allow-empty", "--message=two")
    assert upstream.resolve(repository.url, ["develop"]) != ("develop", head)


def test_the_first_name_that_the_repository_has_is_taken(repository):
    head = repository.git("rev-parse", "HEAD")
    assert upstream.resolve(repository.url, ["absent", "v1", "develop"]) == ("v1", head)


def test_what_cannot_be_asked_has_no_commit(repository):
    assert upstream.resolve(repository.url, ["absent", "gone"]) == ("absent", "")
    assert upstream.resolve("file:///absent", ["v1"]) == ("v1", "")
    assert upstream.resolve("paddle.tar.gz", ["v1"]) == ("v1", "")


def test_an_origin_is_a_url_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(upstream, "SOURCES", tmp_path / "context")
    (tmp_path / "Paddle").mkdir()
    subprocess.run(["tar", "-cf", tmp_path / "p.tar", "-C", tmp_path, "Paddle"], check=True)
    assert upstream.origin("ssh://mirror/paddle") == "ssh://mirror/paddle"
    assert upstream.origin("git@mirror:paddle") == "git@mirror:paddle"
    assert upstream.origin(str(tmp_path / "p.tar")) == "p.tar"
    assert (tmp_path / "context" / "p.tar").read_bytes() == (tmp_path / "p.tar").read_bytes()
    with pytest.raises(DataError, match="is no file"):
        upstream.origin("absent.tar")


def test_a_hostile_tarball_does_not_reach_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(upstream, "SOURCES", tmp_path / "context")
    (tmp_path / "Paddle").mkdir()
    (tmp_path / "Paddle" / "key").symlink_to("/etc/shadow")
    subprocess.run(["tar", "-cf", tmp_path / "p.tar", "-C", tmp_path, "Paddle"], check=True)
    with pytest.raises(DataError, match="'Paddle/key' is a link to '/etc/shadow', which leads out"):
        upstream.origin(str(tmp_path / "p.tar"))
    assert list((tmp_path / "context").iterdir()) == []


# Secrets.


@pytest.mark.parametrize(
    "url, plain, kept",
    [
        ("https://me:s3cret@mirror/p.git", "https://mirror/p.git", "https://me:s3cret@mirror\n"),
        ("https://t0ken@mirror:8443/p.git", "https://mirror:8443/p.git", "https://t0ken@mirror:8443\n"),
        ("https://mirror/p.git", "https://mirror/p.git", ""),
        ("ssh://git@mirror/p.git", "ssh://git@mirror/p.git", ""),  # a key is not in the URL
        ("git@mirror:p.git", "git@mirror:p.git", ""),
        ("/home/me/p.tar.gz", "/home/me/p.tar.gz", ""),
    ],
)
def test_user_and_password_are_taken_out_of_a_url(url, plain, kept):
    assert upstream.without_credentials(url) == (plain, kept)


def test_what_git_is_to_know_is_readable_by_this_user_alone_and_gone_afterwards():
    with upstream.store(["", "https://t0ken@mirror\n"]) as path:
        assert path.read_text() == "https://t0ken@mirror\n" and path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
    with upstream.store(["", ""]) as path:
        assert path is None


def test_arguments_labels_and_output_of_a_source_build_have_no_password(repository, monkeypatch, capsys, tmp_path):
    seen = []
    monkeypatch.setattr(build_image.engine, "connect", lambda: contextlib.nullcontext(None))
    monkeypatch.setattr(build_image.build, "base_image", lambda *_: "base:1")
    monkeypatch.setattr(build_image, "wheels", lambda: None)

    def run(*arguments, extra):
        [secret] = extra
        seen.append((arguments, secret, Path(secret.partition("src=")[2]).read_text()))
        raise StageError("as far as this goes")

    monkeypatch.setattr(build_image.build, "run", run)
    words = ["--paddle-git=https://me:s3cret@127.0.0.1:1/p.git", "--slim-git=https://t0ken@127.0.0.1:1/s.git"]
    with pytest.raises(StageError):
        build_image.main(["--source", *words])
    [(arguments, secret, kept)] = seen
    said = capsys.readouterr()
    for text in (str(arguments), secret, said.out, said.err):
        assert "s3cret" not in text and "t0ken" not in text
    assert "https://127.0.0.1:1/p.git" in str(arguments)
    assert kept == "https://me:s3cret@127.0.0.1:1\nhttps://t0ken@127.0.0.1:1\n"


@pytest.mark.parametrize("name", ["src/qat8/key.json", "src/notes.doc", "tester/wallet.dat", "src/passwords"])
def test_what_is_no_source_is_refused_before_it_is_in_an_image(tmp_path, monkeypatch, name):
    monkeypatch.setattr(build.artifacts, "REPOSITORY", tmp_path)
    for kept in ("src/qat8/a.py", "src/.env", "tester/a.cc", "tester/build/x.bin", "src/qat8/__pycache__/a.pyc"):
        (tmp_path / kept).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kept).touch()
    build.require_only_sources()
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=rf"{name} would be in the image"):
        build.require_only_sources()


def test_a_link_among_the_sources_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(build.artifacts, "REPOSITORY", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match=r"a\.py would be in the image"):
        build.require_only_sources()


def test_the_checkouts_own_sources_may_be_in_an_image():
    build.require_only_sources()


def test_a_hidden_file_makes_no_image_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(build.artifacts, "REPOSITORY", tmp_path)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "src").mkdir()
    before = build.source_digest()
    (tmp_path / "src" / ".a.py.swp").touch()
    assert build.source_digest() == before
    (tmp_path / "src" / "a.py").touch()
    assert build.source_digest() != before
