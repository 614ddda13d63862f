"""Models are tried in a child process: what dies of a signal there is an error here."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from qat8 import manifests, trial
from qat8.errors import MachineError, ModelError, UsageError


@pytest.fixture
def model(tmp_path):
    """A directory with the two files of a model, and those."""
    files = tuple(tmp_path / f"model.{suffix}" for suffix in ("pdmodel", "pdiparams"))
    for file in files:
        file.write_bytes(file.name.encode())
    return tmp_path, files


@pytest.fixture
def vouched(model):
    directory, _ = model
    outputs = manifests.outputs_of(directory)
    manifests.write(directory / "manifest.json", "train", {}, {}, outputs)
    return model


def die(number: int):
    def use() -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    return use


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGBUS])
def test_a_model_that_paddle_dies_of_is_a_model_error_that_names_the_signal(model, number):
    with pytest.raises(ModelError, match=f"crashed over it .{signal.Signals(number).name}"):
        trial.require_sound(*model, die(number))


def test_what_was_refused_once_is_refused_again(model):
    for _ in range(2):
        with pytest.raises(ModelError):
            trial.require_sound(*model, die(signal.SIGSEGV))


def test_a_model_that_asks_for_all_memory_is_an_error_of_the_machine(model, monkeypatch):
    monkeypatch.setattr(trial, "MEMORY", 1 << 28)
    kept = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")  # perhaps free within it
    with pytest.raises(MachineError, match="more than 0 GiB"):
        trial.require_sound(*model, lambda: bytearray(kept + (1 << 30)))


def test_a_model_over_which_paddle_hangs_is_given_up(model, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS", 0.1)
    with pytest.raises(ModelError, match="not done with it"):
        trial.require_sound(*model, lambda: time.sleep(60))


def test_what_the_trial_raises_is_left_to_whom_it_concerns(model):
    def use():
        raise ModelError("no model")

    trial.require_sound(*model, use)


def test_a_sound_model_is_tried_once(model, tmp_path):
    def use() -> None:
        with open(tmp_path / "tried", "a") as f:
            f.write("x")

    for _ in range(3):
        trial.require_sound(*model, use)
    assert (tmp_path / "tried").read_text() == "x"


def test_a_model_that_was_written_anew_is_tried_again(model):
    directory, files = model
    trial.require_sound(directory, files, lambda: None)
    files[0].write_bytes(b"another model")
    with pytest.raises(ModelError):
        trial.require_sound(directory, files, die(signal.SIGSEGV))


def test_a_model_that_its_manifest_vouches_for_is_not_tried(vouched):
    trial.require_sound(*vouched, die(signal.SIGSEGV))


@pytest.mark.parametrize("which", [0, 1])
def test_a_flipped_bit_in_a_model_of_ours_is_found_by_its_sum(vouched, which):
    directory, files = vouched
    content = bytearray(files[which].read_bytes())
    content[3] ^= 4
    files[which].write_bytes(content)
    with pytest.raises(ModelError, match=f"{files[which].name} is damaged"):
        trial.require_sound(directory, files, lambda: None)


def test_a_manifest_that_is_none_is_an_error_of_the_model(vouched):
    directory, files = vouched
    (directory / "manifest.json").write_text(json.dumps({"schema": 1, "stage": []}))
    with pytest.raises(ModelError, match="stage is not what a manifest holds"):
        trial.require_sound(directory, files, lambda: None)


def test_the_child_of_a_trial_prints_nothing(model, capfd):
    trial.require_sound(*model, lambda: os.write(2, b"pages of stack trace"))
    assert capfd.readouterr() == ("", "")


def test_what_goes_wrong_with_a_strangers_model_is_blamed_on_it(model):
    with pytest.raises(ModelError, match="that this stage can use"), trial.blamed_on(*model):
        raise KeyError("groups")


def test_what_goes_wrong_with_a_model_of_ours_is_a_bug(vouched):
    with pytest.raises(KeyError), trial.blamed_on(*vouched):
        raise KeyError("groups")


def test_an_error_with_a_cause_of_its_own_keeps_it(model):
    with pytest.raises(UsageError), trial.blamed_on(*model):
        raise UsageError("a flag")
