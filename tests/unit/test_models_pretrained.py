"""Pretrained weights: arrays are read, code is not run, misfits are named."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from qat8.errors import ModelError
from qat8.models import pretrained

STATE = {"conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "conv.bias": np.zeros(3, np.float32)}
SHAPES = {name: value.shape for name, value in STATE.items()}


def same(read) -> bool:
    return read.keys() == STATE.keys() and all(np.array_equal(read[n], STATE[n]) for n in STATE)


def test_an_npz_is_read_by_its_file_and_by_its_directory(tmp_path):
    np.savez(tmp_path / "weights.npz", **STATE)
    assert same(pretrained.read(tmp_path / "weights.npz"))
    assert same(pretrained.read(tmp_path))


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("container", [dict, OrderedDict])
def test_a_pdparams_pickle_of_arrays_is_read(tmp_path, protocol, container):
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps(container(STATE), protocol))
    assert same(pretrained.read(path))


def test_a_file_that_paddle_itself_saved_is_read_without_its_table_of_names(tmp_path):
    from qat8.engine import paddle

    layer = paddle.nn.Linear(4, 3)
    paddle.save(layer.state_dict(), str(tmp_path / "linear.pdparams"))
    read = pretrained.read(tmp_path / "linear.pdparams")
    assert read.keys() == {"weight", "bias"}
    assert np.array_equal(read["weight"], layer.weight.numpy())


class Attack:
    """Unpickled by Python's own unpickler, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("name", ["model.pdparams", "weights.npz"])
def test_a_pickle_that_would_run_a_command_is_refused_and_does_not_run_it(tmp_path, name):
    proof = tmp_path / "owned"
    attack = pickle.dumps({**STATE, "z": Attack(f"touch {proof}")})
    pickle.loads(attack)
    assert proof.exists()  # it is a real one
    proof.unlink()
    (tmp_path / name).write_bytes(attack)
    with pytest.raises(ModelError, match=r"it wants to run posix\.system"):
        pretrained.read(tmp_path / name)
    assert not proof.exists()


def test_a_command_hidden_in_an_npz_is_not_run_either(tmp_path):
    proof = tmp_path / "owned"
    np.savez(tmp_path / "weights.npz", evil=np.array([Attack(f"touch {proof}")], dtype=object), **STATE)
    with pytest.raises(ModelError, match=r"weights\.npz: not weights"):
        pretrained.read(tmp_path / "weights.npz")
    assert not proof.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"PK\x03\x04 not a zip", bytes(200), b"\x80\x04\x8e" + b"\xff" * 8, b"\x80\x02}q\x00X\x05\x00"],
)
def test_what_is_neither_is_refused_by_name(tmp_path, content):
    (tmp_path / "model.pdparams").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.pdparams: not weights"):
        pretrained.read(tmp_path / "model.pdparams")


def test_a_file_that_ends_anywhere_is_refused_by_name(tmp_path):
    whole = pickle.dumps(STATE, 2)
    for length in range(len(whole)):
        (tmp_path / "model.pdparams").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.pdparams"):
            pretrained.read(tmp_path / "model.pdparams")


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ([1, 2], "holds a list"),
        ("text", "holds a str"),
        ({"conv.weight": "text"}, "conv.weight holds no numbers"),
        ({"conv.weight": None}, "conv.weight holds no numbers"),
        ({"conv.weight": [1.0, 2.0]}, "conv.weight holds no numbers"),
        ({"conv.weight": np.array(["a"])}, "an array of 'U1', not of numbers"),
        ({"conv": {"weight": STATE["conv.weight"]}}, "conv holds no numbers"),
    ],
)
def test_a_pickle_of_other_things_is_refused(tmp_path, content, fact):
    (tmp_path / "model.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match=fact):
        pretrained.read(tmp_path / "model.pdparams")


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pdparams: no such file"):
        pretrained.read(tmp_path / "none.pdparams")
    with pytest.raises(ModelError, match=r"weights\.npz: no such file"):
        pretrained.read(tmp_path)


def test_weights_that_fit_pass(tmp_path):
    pretrained.check(STATE, SHAPES, tmp_path)


NAN = np.where(np.eye(3, 4) > 0, np.float32("nan"), STATE["conv.weight"])


@pytest.mark.parametrize(
    ("state", "fact"),
    [
        ({"conv.bias": STATE["conv.bias"]}, "conv.weight is missing"),
        ({**STATE, "head": np.zeros(1)}, "head is not the model's"),
        ({**STATE, "conv.bias": np.zeros((3, 1))}, r"conv.bias: \[3, 1\], not \[3\]"),
        ({**STATE, "conv.weight": NAN}, "conv.weight: not finite numbers"),
        ({}, r"conv.weight is missing \(and 1 more\)"),
        ({"weight": STATE["conv.weight"], "bias": 0}, r"conv.weight is missing \(and 3 more\)"),
    ],
)
def test_the_first_misfit_is_named_and_the_others_are_counted(tmp_path, state, fact):
    with pytest.raises(ModelError, match=rf"file does not fit the model: {fact}"):
        pretrained.check(state, SHAPES, tmp_path / "file")
