"""A convolution's bias without the reshape2 that oneDNN's fusions do not see through."""

import numpy as np
import pytest

from qat8.engine import paddle
from qat8.models import biases, registry
from qat8.training.programs import build_model

pytestmark = pytest.mark.usefixtures("static_mode")


def small(with_bias: bool):
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        paddle.seed(1)
        image = paddle.static.data("image", [2, 3, 8, 8], "float32")
        normal = paddle.ParamAttr(initializer=paddle.nn.initializer.Normal()) if with_bias else False
        x = paddle.nn.Conv2D(3, 4, 3, bias_attr=normal)(image)
        out = paddle.reshape(paddle.nn.functional.relu(x), [2, -1]) + 1.0
    return program, startup, out


def test_the_bias_is_added_directly_and_the_outputs_are_the_same_to_the_bit():
    program, startup, out = small(with_bias=True)
    executor, scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()
    executor.run(startup, scope=scope)
    image = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    (before,) = executor.run(program, {"image": image}, [out.name], scope=scope)
    assert biases.make_plain(program) == 1
    (add,) = (op for op in program.global_block().ops if op.type == "elementwise_add")
    assert program.global_block().var(add.input("Y")[0]).persistable and add.attr("axis") == 1
    (after,) = executor.run(program, {"image": image}, [out.name], scope=scope)
    assert np.array_equal(before, after) and before.std() > 0


def test_a_reshape_that_makes_no_bias_is_left_alone():
    program, _, _ = small(with_bias=False)
    before = [op.type for op in program.global_block().ops]
    assert biases.make_plain(program) == 0
    assert [op.type for op in program.global_block().ops] == before and "reshape2" in before


@pytest.mark.parametrize(("name", "convolutions"), [("VGG16", 13), ("VGG19", 16)])
def test_no_vgg_is_built_with_a_reshaped_bias(name, convolutions):
    types = [op.type for op in build_model(registry.get(name)).program.global_block().ops]
    assert types.count("conv2d") == convolutions and "reshape2" not in types
