"""Makes the engine's test model, FP32 and INT8, with random weights: `python engine_models.py DIRECTORY`.

It has what the six models are made of: convolutions with BatchNorm, ReLU and ReLU6, depthwise ones with TensorFlow's
padding, residuals with and without a convolution in the shortcut, both poolings, linear layers with and without ReLU,
dropout. `pixels` is a small FP32 model with three linear layers, of several pixels, as the VGGs have. In a process
of its own, because static mode is a switch of the whole process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from qat8.engine import paddle
from qat8.int8 import passes
from qat8.saving import save_model

SIDE, CLASSES = 32, 10
static, functional = paddle.static, paddle.nn.functional


def conv(x, filters: int, size: int, act: str | None = "relu", **options):
    init = paddle.nn.initializer.KaimingNormal()
    y = static.nn.conv2d(x, filters, size, param_attr=init, bias_attr=False, **options)
    y = static.nn.batch_norm(y, momentum=0.5)
    return getattr(functional, act)(y) if act else y


def residual(x, filters: int, stride: int, act: str | None):
    y = conv(conv(x, filters, 3, padding=1, stride=stride), filters, 1, None)
    shortcut = x if stride == 1 and x.shape[1] == filters else conv(x, filters, 1, None, stride=stride)
    y = paddle.add(shortcut, y)
    return getattr(functional, act)(y) if act else y


def network(image):
    # The depthwise ones by the paths of the engine's own kernel: two columns of 32 channels at a time, of an odd width
    # and of an even one; a whole register and a part of one; both strides.
    y = conv(image, 32, 3, "relu6", stride=2)
    y = conv(y, 32, 3, "relu6", padding=1, groups=32)
    # For the Winograd kernel: two that pay for a single image, cut above and not, and one that pays for several.
    y = conv(conv(conv(y, 64, 1), 64, 3, "relu6", padding=1), 64, 3, padding=1)
    y = conv(conv(conv(y, 32, 1), 64, 3, padding=1), 32, 1)
    y = conv(y, 32, 3, "relu", padding=[0, 1, 0, 1], groups=32)
    y = conv(conv(y, 80, 1), 80, 3, "relu6", stride=2, padding=[0, 1, 0, 1], groups=80)
    y = conv(y, 80, 3, padding=1, groups=80)
    y = functional.max_pool2d(conv(y, 24, 1), 3, 2, padding=1)
    y = residual(residual(y, 24, 1, "relu"), 32, 2, "relu")
    y = residual(conv(y, 32, 1, None), 32, 1, None)
    y = functional.adaptive_avg_pool2d(functional.avg_pool2d(conv(y, 48, 3, "relu", padding=1), 2, 1), 1)
    y = static.nn.fc(paddle.flatten(y, 1), 40, activation="relu")
    return static.nn.fc(functional.dropout(y, training=False), CLASSES)


def pixels(image):
    y = paddle.flatten(functional.max_pool2d(conv(image, 16, 3), 5, 5), 1)
    y = static.nn.fc(static.nn.fc(y, 64, activation="relu"), 64, activation="relu")
    return static.nn.fc(y, CLASSES)


def build_pixels(directory: Path) -> None:
    main, startup, scope = static.Program(), static.Program(), static.Scope()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        scores = pixels(static.data("image", [None, 3, SIDE, SIDE], "float32"))
    executor = static.Executor(paddle.CPUPlace())
    directory.mkdir()
    with static.scope_guard(scope):
        executor.run(startup)
        save_model(main, ["image"], [scores.name], executor, scope, directory)


def batches(count: int):
    """Coloured noise, as the tests' images."""
    random = np.random.default_rng(5)
    for _ in range(count):
        colours, noise = random.uniform(-2, 2, (16, 3, 1, 1)), random.normal(0, 0.5, (16, 3, SIDE, SIDE))
        yield (colours + noise).astype("float32")


def build(directory: Path) -> None:
    from paddleslim.quant import convert, quant_aware  # here: the import takes seconds, and prints

    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        paddle.seed(3)
        image = static.data("image", [None, 3, SIDE, SIDE], "float32")
        scores = network(image)
    place, scope = paddle.CPUPlace(), static.Scope()
    executor = static.Executor(place)
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "depthwise_conv2d", "pool2d", "elementwise_add"],
              "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        executor.run(startup)
        for batch in batches(10):  # BatchNorm's statistics: without them all images end in the same class
            executor.run(main, feed={"image": batch})
        main = main.clone(for_test=True)
        (directory / "fp32").mkdir()
        save_model(main, ["image"], [scores.name], executor, scope, directory / "fp32")
        train = quant_aware(main, place, config, scope=scope, for_test=False, return_program=True)
        test = quant_aware(main.clone(for_test=True), place, config, scope=scope, for_test=True)
        for batch in batches(30):
            executor.run(train, feed={"image": batch})
        test = convert(test, place, config, scope=scope)
        (directory / "qat").mkdir()
        save_model(test, ["image"], [scores.name], executor, scope, directory / "qat")


def quantize(directory: Path) -> None:
    loaded = passes.load(str(directory / "qat/model"))
    program = passes.convert(loaded, passes.op_set("conv2d,pool2d"))
    (directory / "int8").mkdir()
    save_model(program, loaded.feeds, loaded.fetches, loaded.executor, loaded.scope, directory / "int8")


if __name__ == "__main__":
    paddle.enable_static()
    build(Path(sys.argv[1]))
    build_pixels(Path(sys.argv[1]) / "pixels")
    quantize(Path(sys.argv[1]))
