"""Makes small models with random weights for the testers' tests: `python make_models.py DIRECTORY`.

In a process of its own, because static mode is a switch of the whole process. Random weights decide which classes come
out; the tests compare the two testers on them and never call the result an accuracy.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

from qat8.engine import paddle

SIDE, CLASSES = 32, 10
static = paddle.static


def classifier(image, head_scale: float = 3.0):
    """Two convolutions and a linear layer; a large `head_scale` lets the images decide, 0 makes all scores equal."""
    init = paddle.nn.initializer
    conv = static.nn.conv2d(image, 16, 3, act="relu", param_attr=init.KaimingNormal())
    conv = static.nn.conv2d(conv, 16, 3, stride=2, param_attr=init.KaimingNormal())
    pooled = paddle.nn.functional.adaptive_avg_pool2d(conv, 1)
    head = init.Normal(0.0, head_scale) if head_scale else init.Constant(0.0)
    return paddle.nn.functional.softmax(static.nn.fc(pooled, CLASSES, weight_attr=head))


def build(directory: Path, make) -> None:
    """Write the model whose inputs and outputs `make` gives."""
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        paddle.seed(3)
        inputs, outputs = make(static.data("image", [None, 3, SIDE, SIDE], "float32"))
    executor = static.Executor(paddle.CPUPlace())
    with static.scope_guard(static.Scope()):
        executor.run(startup)
        static.save_inference_model(str(directory / "model"), inputs, outputs, executor, program=main)
        if directory.name == "plain":
            old_layouts(directory, executor)
            quantize(directory.parent / "qat", main, inputs, outputs, executor)


def is_parameter(variable) -> bool:
    return variable.persistable and variable.name not in ("feed", "fetch")


def old_layouts(plain: Path, executor) -> None:
    """The same model as upstream saved it: __model__ with __params__, and with one file per parameter."""
    combined, separate = plain.parent / "combined", plain.parent / "separate"
    for directory in (combined, separate):
        directory.mkdir()
        shutil.copy(plain / "model.pdmodel", directory / "__model__")
    shutil.copy(plain / "model.pdiparams", combined / "__params__")
    program, _, _ = static.load_inference_model(str(plain / "model"), executor)
    static.io.save_vars(executor, str(separate), program, predicate=is_parameter)


def quantize(directory: Path, program, inputs, outputs, executor) -> None:
    """A float32 QAT model, for online INT8: its activation ranges come from a few forward steps."""
    from paddleslim.quant import convert, quant_aware  # here: the import takes seconds, and prints

    place = paddle.CPUPlace()
    config = {
        "weight_quantize_type": "channel_wise_abs_max",
        "activation_quantize_type": "moving_average_abs_max",
        "quantize_op_types": ["conv2d", "pool2d"],
        "onnx_format": False,
    }
    train = quant_aware(program, place, config, for_test=False, return_program=True)
    test = quant_aware(program.clone(for_test=True), place, config, for_test=True)
    random = np.random.default_rng(5)
    for _ in range(30):
        images = random.normal(0, 1, (8, 3, SIDE, SIDE)).astype("float32")
        executor.run(train, feed={"image": images}, fetch_list=outputs)
    test = convert(test, place, config)
    static.save_inference_model(str(directory / "model"), inputs, outputs, executor, program=test, clip_extra=False)


def with_accuracy(image):
    label = static.data("label", [None, 1], "int64")
    scores = classifier(image)
    return [image, label], [scores, static.accuracy(scores, label, 1), static.accuracy(scores, label, 5)]


MODELS = {
    "plain": lambda image: ([image], [classifier(image)]),
    "accuracy": with_accuracy,
    "equal_scores": lambda image: ([image], [classifier(image, 0.0)]),
    "not_finite": lambda image: ([image], [paddle.log(-classifier(image))]),
    "no_classifier": lambda image: ([image], [static.nn.conv2d(image, 4, 3)]),
}


def main() -> None:
    paddle.enable_static()
    for name, make in MODELS.items():
        build(Path(sys.argv[1]) / name, make)


if __name__ == "__main__":
    main()
