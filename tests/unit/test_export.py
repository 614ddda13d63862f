"""Exporting a saved model: what is rounded how, what a window is, and what is refused by its name."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qat8 import errors, export, manifests
from qat8.benchmarking import plan as planning
from qat8.export import convolutions, file, windows
from qat8.stages import export as stage


class FakeOp(SimpleNamespace):
    """An operator of Paddle's with these attributes."""

    type, output_arg_names = "pool2d", ["out"]

    def has_attr(self, name: str) -> bool:
        return name in self.attrs

    def attr(self, name: str):
        return self.attrs.get(name)


def op(**attrs) -> FakeOp:
    return FakeOp(attrs={"paddings": [0, 0], "strides": [1, 1]} | attrs)


def test_weights_are_rounded_to_nearest_even_and_saturate():
    weights = np.array([[0.5, 1.5, 2.5, -0.5], [1.0, 2.0, 300.0, -300.0]], np.float32)
    assert convolutions.quantized(weights, [1.0, 0.5]).tolist() == [[0, 2, 2, 0], [0, 1, 127, -128]]
    assert convolutions.quantized(weights[:1], [2.0]).tolist() == [[1, 3, 5, -1]]


@pytest.mark.parametrize(
    ("attrs", "padding", "size"),
    [
        ({"paddings": [1, 2]}, (1, 2, 1, 2), (7, 9)),
        ({"paddings": [0, 1, 2, 3]}, (0, 2, 1, 3), (6, 10)),  # Paddle's order: top, bottom, left, right
        ({"padding_algorithm": "VALID", "paddings": [5, 5]}, (0, 0, 0, 0), (5, 5)),
        ({"padding_algorithm": "SAME", "strides": [2, 2]}, (1, 1, 1, 1), (4, 4)),
        ({"strides": [2, 3]}, (0, 0, 0, 0), (3, 2)),
        ({"paddings": [1, 1], "dilations": [2, 2]}, (1, 1, 1, 1), (5, 5)),
    ],
)
def test_a_window_reads_paddles_attributes(attrs, padding, size):
    found = windows.window(op(**attrs), (3, 3), (4, 7, 7))
    assert found.padding == padding
    assert windows.pooled((4, 7, 7), found) == size


@pytest.mark.parametrize(
    ("attrs", "kernel", "padding", "size"),
    [
        ({"global_pooling": True}, (8, 6), (0, 0, 0, 0), (1, 1)),
        ({"adaptive": True, "ksize": [2, 3]}, (4, 2), (0, 0, 0, 0), (2, 3)),
        ({"ksize": [3, 3], "strides": [2, 2], "ceil_mode": True, "pooling_type": "max"}, (3, 3), (0, 0, 1, 1), (4, 3)),
        ({"ksize": [2, 2], "strides": [2, 2]}, (2, 2), (0, 0, 0, 0), (4, 3)),
    ],
)
def test_a_pooling_window_reads_paddles_attributes(attrs, kernel, padding, size):
    found = windows.pooling_window(op(**attrs), (4, 8, 6))
    assert (found.kernel, found.padding, windows.pooled((4, 8, 6), found)) == (kernel, padding, size)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"adaptive": True, "ksize": [3, 3]}, "adaptive pooling of 8 x 6 to 3 x 3"),
        ({"data_format": "NHWC", "ksize": [1, 1]}, "data format NHWC"),
        ({"paddings": [1, 1, 1], "ksize": [1, 1]}, "paddings"),
    ],
)
def test_a_window_that_the_engine_cannot_do_is_refused_with_its_output(attrs, words):
    with pytest.raises(errors.ModelError, match=words) as refused:
        windows.pooling_window(op(**attrs), (4, 8, 6))
    assert "pool2d that writes out" in str(refused.value)


def test_the_file_is_laid_out_as_its_description_says():
    weights = np.array([[[[1]], [[-2]], [[3]]]], np.int8)
    plan = file.Plan("int8", [file.Tensor("float32", (3, 1, 1)), file.Tensor("int8", (3, 1, 1))])
    plan.tensors.append(file.Tensor("float32", (1, 1, 1)))
    plan.operators = [
        file.Operator("quantize", 0, 1, alpha=2.0, scales=(1, 1, 0.5)),
        file.Operator("linear", 1, 2, weights=weights, weight_scales=np.array([0.25], np.float32)),
    ]
    content = file.encode(plan)
    assert content[:8] == b"QAT8PLAN" and struct.unpack_from("<II", content, 8) == (1, 2)
    assert struct.unpack_from("<Q", content, 16) == (len(content),)
    assert struct.unpack_from("<II", content, 24) == (3, 2)
    (data,) = struct.unpack_from("<Q", content, 32)
    assert data % 64 == 0 and data >= 64 + 3 * 16 + 2 * 128
    assert struct.unpack_from("<I", content, 40) == (zlib.crc32(content[64:]),)
    assert struct.unpack_from("<I", content, 60) == (zlib.crc32(content[:60]),)
    linear = 64 + 3 * 16 + 128
    assert struct.unpack_from("<IIII", content, linear) == (6, 1, file.NONE, 2)
    at, bias, scales, dtype, count = struct.unpack_from("<3QII", content, linear + 88)
    assert (at % 64, bias, dtype, count) == (0, file.NO_ARRAY, 3, 1)
    assert content[data + at : data + at + 3] == b"\x01\xfe\x03"
    assert struct.unpack_from("<f", content, data + scales) == (0.25,)


def test_a_missing_model_is_refused_before_anything_is_written(refused, tmp_path):
    refused(stage.main, 4, ["no such directory"], f"--fp32-model={tmp_path / 'a'}", f"--int8-model={tmp_path / 'b'}")
    assert list(tmp_path.iterdir()) == []


def test_models_of_different_places_are_refused(refused, tmp_path):
    refused(stage.main, 2, ["different directories"], f"--fp32-model={tmp_path / 'x/fp32'}",
            f"--int8-model={tmp_path / 'y/int8'}")  # fmt: skip


PROGRAMS = """
import sys
from pathlib import Path
from qat8.engine import paddle
from qat8.saving import save_model
static = paddle.static
paddle.enable_static()
def build(name, make):
    main, startup, scope = static.Program(), static.Program(), static.Scope()
    with static.program_guard(main, startup):
        out = make(static.data("image", [None, 3, 8, 8], "float32"))
    exe = static.Executor(paddle.CPUPlace())
    directory = Path(sys.argv[1]) / name
    directory.mkdir()
    with static.scope_guard(scope):
        exe.run(startup)
        save_model(main, ["image"], [out.name], exe, scope, directory)
build("sigmoid", lambda x: static.nn.fc(paddle.nn.functional.sigmoid(x), 3))
build("scaled", lambda x: paddle.scale(static.nn.fc(x, 3), 2.0))
build("picture", lambda x: static.nn.conv2d(x, 4, 3))
build("pooled", lambda x: paddle.flatten(paddle.nn.functional.adaptive_avg_pool2d(
    static.nn.conv2d(x, 4, 3, bias_attr=False), 1), 1))
build("good", lambda x: static.nn.fc(paddle.flatten(static.nn.conv2d(x, 4, 3, act="relu"), 1), 3))
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("programs")
    done = subprocess.run([sys.executable, "-c", PROGRAMS, directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.parametrize(
    ("name", "words"),
    [("sigmoid", "no operator sigmoid"), ("scaled", "scale 2.0"), ("picture", "expected float32 scores")],
)
def test_what_the_engine_has_not_is_named(programs, name, words):
    from qat8.export import program

    with pytest.raises(errors.ModelError) as refused:
        program.export(programs / name, "fp32")
    assert words in str(refused.value)


def test_an_fp32_model_is_no_int8_model(programs):
    from qat8.export import program

    with pytest.raises(errors.ModelError, match="holds no INT8 operator"):
        program.export(programs / "pooled", "int8")


def test_a_parameter_where_the_engine_wants_a_tensor_is_named(programs):
    """As in a convolution whose bias was not fused."""
    from qat8.export import program

    with pytest.raises(errors.ModelError, match=r"elementwise_add that writes .* reads .*b_0"):
        program.export(programs / "good", "int8")


def test_the_manifest_ties_the_files_to_their_models(programs, ends, monkeypatch):
    monkeypatch.setattr(stage, "_export", lambda _, p, directory: (directory / f"{p}.qat8").write_bytes(b"x" * 10))
    for precision in ("fp32", "int8"):
        assert export.engine_file(programs / "good", precision) == programs / f"engine/{precision}.qat8"
        with pytest.raises(errors.ModelError, match="is not there"):
            export.require_made_from(programs / "good", precision)
    first = ends(stage.main, f"--fp32-model={programs / 'good'}", f"--int8-model={programs / 'good'}")
    assert first.code == 0, first.err
    export.require_made_from(programs / "good", "fp32")
    again = ends(stage.main, f"--fp32-model={programs / 'good'}", f"--int8-model={programs / 'good'}")
    assert "up to date" in again.out[0]
    manifest = manifests.read(programs / "engine")
    assert manifest["bytes"]["fp32"] == (programs / "engine/fp32.qat8").stat().st_size
    with pytest.raises(errors.ModelError, match="made from another model"):
        export.require_made_from(programs / "picture", "fp32")


def test_the_engines_cells_take_the_engines_files(tmp_path):
    models = {"M": {p: tmp_path / "M" / p for p in ("fp32", "int8")}}
    plan = planning.Plan(models, tmp_path / "val.bin", ["cpp", "engine"], [1], [50], [0], 1, 0.0, 0)
    commands = {(c.tester, p): plan.command(c, p) for c in plan.cells() for p in ("fp32", "int8")}
    assert commands["engine", "int8"][0].endswith("engine_tester")
    assert commands["engine", "int8"][1] == f"--infer_model={tmp_path / 'M/engine/int8.qat8'}"
    assert commands["cpp", "int8"][1] == f"--infer_model={tmp_path / 'M/int8'}"
    assert plan.engine_files() == {"M": {p: tmp_path / f"M/engine/{p}.qat8" for p in ("fp32", "int8")}}
