"""What a failed build says, which base image is taken, which commit a ref is; no engine is needed."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import docker
import pytest

from qat8.containers import build, images, upstream
from qat8.errors import DataError, MachineError, StageError

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
    (tmp_path / "p.tar").write_bytes(b"x")
    assert upstream.origin("ssh://mirror/paddle") == "ssh://mirror/paddle"
    assert upstream.origin("git@mirror:paddle") == "git@mirror:paddle"
    assert upstream.origin(str(tmp_path / "p.tar")) == "p.tar"
    assert (tmp_path / "context" / "p.tar").read_bytes() == b"x"
    with pytest.raises(DataError, match="is no file"):
        upstream.origin("absent.tar")
