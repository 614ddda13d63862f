"""Two layers whose every product is the largest there is: `saturating_model.py DIRECTORY` -> fp32, full, reduced.

The first convolution's outputs are all at the top of their range, the second one's weights all at the top of theirs, so
a sum of two products in 16 bits overflows unless the conversion reduced the range.
"""

import sys
from pathlib import Path

import numpy as np
import paddleslim.quant as quant

from qat8.engine import paddle
from qat8.int8 import passes, unsigned
from qat8.saving import save_model

static = paddle.static


def constant(value: float):
    return paddle.nn.initializer.Constant(value)


def build(directory: Path) -> None:
    paddle.enable_static()
    program, startup, scope, place = static.Program(), static.Program(), static.Scope(), paddle.CPUPlace()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [None, 3, 8, 8], "float32")
        x = paddle.nn.functional.relu(static.nn.conv2d(image, 32, 1, param_attr=constant(0.5), bias_attr=False))
        x = static.nn.conv2d(x, 32, 1, param_attr=constant(0.25), bias_attr=False)
        scores = paddle.flatten(paddle.nn.functional.adaptive_avg_pool2d(x, 1), 1)
    executor = static.Executor(place)
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d"], "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        executor.run(startup)
        save(directory / "fp32", program.clone(for_test=True), executor, scope, scores.name)
        test = program.clone(for_test=True)
        train = quant.quant_aware(program, place, config, scope, for_test=False, return_program=True)
        aware = quant.quant_aware(test, place, config, scope, for_test=True)
        for each in (train, aware):
            unsigned.widen(each)
        for _ in range(50):  # the ranges start at 1 and move to the largest value
            executor.run(train, {"image": np.ones((1, 3, 8, 8), np.float32)}, [scores.name], scope=scope)
        save(directory / "qat", quant.convert(aware, place, config, scope), executor, scope, scores.name)
    for name in ("full", "reduced"):
        loaded = passes.load(str(directory / "qat/model"))
        int8 = passes.convert(loaded, passes.op_set("conv2d"), reduced=name == "reduced")
        save(directory / name, int8, loaded.executor, loaded.scope, loaded.fetches[0])


def save(directory: Path, program, executor, scope, scores: str) -> None:
    directory.mkdir()
    save_model(program, ["image"], [scores], executor, scope, directory)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
