"""Saved models: whole or refused, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from qat8.engine import paddle
from qat8.errors import MachineError
from qat8.models.weights import lodtensor
from qat8.saving import save_model

static = paddle.static


@pytest.fixture
def save():
    """`save(directory)`: a model of one linear layer, 64 -> 32."""
    paddle.enable_static()
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        out = static.nn.fc(static.data("x", [None, 64], "float32"), 32)
    executor, scope = static.Executor(paddle.CPUPlace()), static.Scope()
    with static.scope_guard(scope):
        executor.run(startup)

    def call(directory):
        directory.mkdir(exist_ok=True)
        save_model(main, ["x"], [out.name], executor, scope, directory)
        return [(directory / f"model.{kind}").read_bytes() for kind in ("pdmodel", "pdiparams")]

    return call


def test_the_same_model_saved_twice_is_the_same_bytes(save, tmp_path):
    assert save(tmp_path / "a") == save(tmp_path / "b")


def test_the_scores_come_from_the_last_layer_without_a_copy(save, tmp_path):
    saved = static.deserialize_program(save(tmp_path / "model")[0]).global_block()
    assert [op.type for op in saved.ops] == ["feed", "mul", "elementwise_add", "fetch"]
    assert saved.ops[-1].input("X") == saved.ops[-2].output("Out")


@pytest.mark.parametrize("left", [0, 10, 4096, "one tensor", -1])
def test_parameters_that_a_full_disk_cut_off_are_an_error(save, tmp_path, monkeypatch, left):
    """Paddle's C++ writes into a stream and never asks it whether that went well: here as on a tmpfs of 4 KiB."""
    _, whole = save(tmp_path)
    _, (numbers,), start = lodtensor._header(memoryview(whole), 0)  # the bias, which comes before the weights
    cut = whole[: start + 4 * numbers if left == "one tensor" else left]
    original = static.save_inference_model

    def on_a_full_disk(path, *arguments, **options):
        original(path, *arguments, **options)
        (tmp_path / "model.pdiparams").write_bytes(cut)

    monkeypatch.setattr(static, "save_inference_model", on_a_full_disk)
    with pytest.raises(MachineError, match=r"model.pdiparams is not whole .*room on the disk"):
        save(tmp_path)


def test_tensors_behind_one_another_are_counted(save, tmp_path):
    _, whole = save(tmp_path)
    assert lodtensor.count(tmp_path / "model.pdiparams") == 2
    (tmp_path / "none").write_bytes(b"")
    assert lodtensor.count(tmp_path / "none") == 0
    (tmp_path / "longer").write_bytes(whole + b"x")
    with pytest.raises(ValueError, match="too short"):
        lodtensor.count(tmp_path / "longer")


def test_a_disk_that_takes_no_more_files_is_named_as_the_cause(save, tmp_path):
    with pytest.raises(OSError) as failure:
        save(Path("/proc/self"))  # where nobody creates a file, root neither
    assert failure.value.filename == "/proc/self/model.pdmodel"
