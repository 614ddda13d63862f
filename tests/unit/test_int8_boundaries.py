"""Between the last pooling and the linear layer nothing leaves INT8."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from qat8.engine import paddle
from qat8.int8 import boundaries, passes
from qat8.prediction import predictor
from qat8.saving import save_model

static, functional = paddle.static, paddle.nn.functional
POOLS = {
    "one pixel": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "nine pixels": lambda x: functional.max_pool2d(x, 2),
}


pytestmark = pytest.mark.usefixtures("static_mode")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).normal(size=(64, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module", params=POOLS)
def trained(request, images, tmp_path_factory):
    """A QAT model: convolution of 3 x 8 x 8, pooling, linear layer of 10; random weights, learned ranges."""
    import paddleslim.quant as quant

    paddle.enable_static()
    place, scope, directory = paddle.CPUPlace(), static.Scope(), tmp_path_factory.mktemp("qat")
    program, startup = static.Program(), static.Program()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():
        paddle.seed(7)
        x = static.nn.conv2d(static.data("image", [None, 3, 8, 8], "float32"), 16, 3, bias_attr=False)
        x = paddle.flatten(POOLS[request.param](functional.relu(x)), 1)
        out = paddle.nn.Linear(x.shape[1], 10)(x)
    executor = static.Executor(place)
    executor.run(startup, scope=scope)
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "pool2d", "matmul_v2"], "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        test = program.clone(for_test=True)
        train = quant.quant_aware(program, place, config, scope, for_test=False, return_program=True)
        aware = quant.quant_aware(test, place, config, scope, for_test=True)
        for _ in range(5):
            executor.run(train, {"image": images}, [out.name], scope=scope)
        converted = quant.convert(aware, place, config, scope)
    save_model(converted, ["image"], [out.name], executor, scope, directory)
    return SimpleNamespace(directory=directory, pool=request.param)


def convert(source, directory, ops="conv2d,pool2d,fc"):
    """The types of the INT8 model's operators in their order, and the saved model's scores of `images`."""
    loaded = passes.load(str(source / "model"))
    program = passes.convert(loaded, passes.op_set(ops))
    directory.mkdir()
    save_model(program, loaded.feeds, loaded.fetches, loaded.executor, loaded.scope, directory)
    saved = passes.load(str(directory / "model"), ours=True).program.global_block().ops
    return [op.type for op in saved], predictor(directory, 1)


def test_pooling_hands_one_pixels_levels_to_the_linear_layer_and_the_scores_are_those_of_training(
    trained, images, tmp_path
):
    types, predict = convert(trained.directory, tmp_path / "int8")
    between = [] if trained.pool == "one pixel" else ["dequantize", "flatten_contiguous_range", "quantize"]
    assert types == ["feed", "quantize", "fused_conv2d", "pool2d", *between, "fc", "fetch"]
    if not between:
        found, expected = predict(images), predictor(trained.directory, 1, native=True)(images)
        assert np.abs(found - expected).max() < 0.05 * np.ptp(expected)
        assert np.ptp(expected, axis=0).min() > 0.1 * np.ptp(expected), "the scores of all images are the same"


def test_a_linear_layer_in_fp32_gets_float32(trained, images, tmp_path):
    types, predict = convert(trained.directory, tmp_path / "int8", "conv2d,pool2d")
    assert types[3:] == ["pool2d", "dequantize", "flatten_contiguous_range", *types[6:]] and "fc" not in types[:6]
    assert np.isfinite(predict(images)).all()


def test_what_somebody_else_reads_too_is_left_as_it_is(trained, monkeypatch):
    loaded = passes.load(str(trained.directory / "model"))
    with monkeypatch.context() as before:
        before.setattr(boundaries, "remove", lambda program: 0)
        program = passes.convert(loaded, passes.op_set("conv2d,pool2d,fc"))
    block = program.global_block()
    (flatten,) = (op for op in block.ops if op.type == "flatten_contiguous_range")
    block.append_op(
        type="scale", inputs={"X": flatten.input("X")}, outputs={"Out": flatten.input("X")}, attrs={"scale": 2.0}
    )
    assert boundaries.remove(program) == 0
    assert [op.type for op in block.ops].count("flatten_contiguous_range") == 1
