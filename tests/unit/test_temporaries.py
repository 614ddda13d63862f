"""What is temporary is gone when its block has ended, by a signal at the worst moment, too."""

import os
import signal
import tempfile

import pytest

from qat8 import artifacts, signals


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """$TMPDIR and the artifacts' place. What a signal has ended leaves signals ignored: not for the next test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    handlers = {number: signal.getsignal(number) for number in signals.CODES}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def signal_after(monkeypatch, module, name: str) -> None:
    """SIGTERM at the end of every call of `module.name`."""
    real = getattr(module, name)

    def call(*args, **kwargs):
        made = real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGTERM)
        return made

    monkeypatch.setattr(module, name, call)


MAKES = {
    "scratch": ("mkdtemp", lambda home: artifacts.scratch()),
    "artifact": ("mkdtemp", lambda home: artifacts.atomic_directory(home / "artifact")),
    "file": ("mkstemp", lambda home: artifacts.atomic_file(home / "file")),
}


@pytest.mark.parametrize(("name", "block"), MAKES.values(), ids=MAKES)
def test_a_signal_while_something_temporary_is_made_leaves_nothing(home, monkeypatch, name, block):
    signal_after(monkeypatch, tempfile, name)
    with pytest.raises(signals.Ended), signals.handled(), block(home):
        pytest.fail("the block was entered")
    assert list(home.iterdir()) == []


def test_a_signal_while_a_scratch_directory_is_removed_lets_the_removal_end(home, monkeypatch):
    with pytest.raises(signals.Ended), signals.handled(), artifacts.scratch() as directory:
        for i in range(5):
            (directory / str(i)).write_text("x")
        signal_after(monkeypatch, os, "unlink")  # rmtree's, of every file
    assert list(home.iterdir()) == []


def test_a_signal_while_an_artifact_takes_its_place_leaves_the_whole_one_and_no_other(home, monkeypatch):
    for text in ("old", "new"):
        with artifacts.atomic_directory(home / "a") as directory:
            (directory / "manifest.json").write_text(text)
    signal_after(monkeypatch, artifacts, "_exchange")
    with pytest.raises(signals.Ended), signals.handled(), artifacts.atomic_directory(home / "a") as directory:
        (directory / "manifest.json").write_text("newest")
    assert [p.name for p in home.iterdir()] == ["a"] and (home / "a/manifest.json").read_text() == "newest"
