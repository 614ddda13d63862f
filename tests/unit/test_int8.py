"""uint8 behind ReLU, the list of quantized operators, and what is said about a conversion."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from qat8.engine import paddle
from qat8.errors import ModelError, UsageError
from qat8.int8 import inspection, passes, unsigned

pytestmark = pytest.mark.usefixtures("static_mode")


@pytest.fixture(scope="module")
def quantized():
    """Two programs of paddleslim's, for training and converted: image, conv, relu, pool, conv, relu6, conv."""
    import paddleslim.quant as quant

    paddle.enable_static()
    static, place, scope = paddle.static, paddle.CPUPlace(), paddle.static.Scope()
    program, startup = static.Program(), static.Program()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [None, 3, 8, 8], "float32")
        x = paddle.nn.functional.relu(static.nn.conv2d(image, 4, 3, bias_attr=False))
        x = paddle.nn.functional.max_pool2d(x, 2)
        x = paddle.nn.functional.relu6(static.nn.conv2d(x, 4, 1, bias_attr=False))
        static.nn.conv2d(static.nn.conv2d(x, 4, 1, bias_attr=False), 4, 1, bias_attr=False)
    static.Executor(place).run(startup, scope=scope)
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "pool2d"], "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        train = quant.quant_aware(program, place, config, scope, for_test=False, return_program=True)
        test = quant.quant_aware(program.clone(for_test=True), place, config, scope, for_test=True)
        converted = quant.convert(test, place, config, scope)
    return {"train": train, "converted": converted}


def bits(program) -> dict[str, int]:
    """Activation variable -> bits of its quantizer; inputs of convolutions behind a dequantized copy count too."""
    ops = program.global_block().ops
    quantizers = (op for op in ops if op.type.startswith("fake_quantize") and op.has_attr("is_test"))
    return {op.input("X")[0]: op.attr("bit_length") for op in quantizers}


@pytest.mark.parametrize("kind", ["train", "converted"])
def test_what_relu_left_without_a_sign_gets_255_levels_and_signed_activations_keep_127(quantized, kind):
    program = quantized[kind].clone()
    assert set(bits(program).values()) == {8}
    count = unsigned.widen(program)
    wide = {name for name, value in bits(program).items() if value == 9}
    narrow = {name for name, value in bits(program).items() if value == 8}
    assert any(name.startswith("relu_0") for name in wide) and any(name.startswith("relu6_0") for name in wide)
    assert "image" in narrow and any(name.startswith("conv2d") for name in narrow)
    assert not any(name.startswith(("image", "conv2d")) for name in wide)
    assert count == len(wide) >= 2


@pytest.mark.parametrize("kind", ["train", "converted"])
def test_narrow_undoes_widen_and_names_what_is_unsigned(quantized, kind):
    program = quantized[kind].clone()
    unsigned.widen(program)
    wide = {name for name, value in bits(program).items() if value == 9}
    assert unsigned.narrow(program) == wide
    assert set(bits(program).values()) == {8}
    assert unsigned.narrow(program) == set()


def test_dequantizers_divide_by_the_levels_of_what_they_undo(quantized):
    program = quantized["converted"].clone()
    unsigned.widen(program)
    ops = program.global_block().ops
    wide_scales = {op.output("OutScale")[0] for op in ops if op.has_attr("bit_length") and op.attr("bit_length") == 9}
    seen = Counter()
    for op in ops:
        if op.type == "fake_channel_wise_dequantize_max_abs":
            wide = bool(wide_scales & set(op.input("Scales")))
            assert op.attr("quant_bits") == [8, 9 if wide else 8]
            seen[wide] += 1
    assert seen[True] >= 1 and seen[False] >= 1


def test_a_program_without_relu_has_nothing_to_widen():
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        paddle.static.nn.conv2d(paddle.static.data("image", [None, 3, 8, 8], "float32"), 4, 3)
    assert unsigned.widen(program) == 0 and unsigned.narrow(program) == set()


# The list of operators.


@pytest.mark.parametrize("names", ["conv2d,pool2d", " conv2d , pool2d ", "pool2d,conv2d,"])
def test_conv2d_stands_for_every_name_that_a_convolution_has(names):
    assert passes.op_set(names) == {"conv2d", "depthwise_conv2d", "fused_conv2d", "pool2d"}


@pytest.mark.parametrize("name", ["fc", "mul", "matmul_v2"])
def test_a_linear_layer_has_three_names(name):
    assert passes.op_set(f"pool2d,{name}") == {"pool2d", "fc"}


def test_other_operators_are_taken_as_they_are():
    assert passes.op_set("pool2d,fc") == {"pool2d", "fc"}


@pytest.mark.parametrize(
    ("names", "fact"),
    [("conv2d,relu", "'relu' cannot be quantized"), ("softmax", "'softmax' cannot be quantized"), ("", "is empty"),
     (" , ", "is empty"), ("Conv2D", "'Conv2D' cannot")],
)  # fmt: skip
def test_operators_that_the_passes_do_not_take_are_refused_with_those_that_they_do(names, fact):
    with pytest.raises(UsageError) as failure:
        passes.op_set(names)
    assert fact in str(failure.value) and ", ".join(passes.QUANTIZABLE) in str(failure.value)


def test_what_is_no_saved_model_is_refused_by_name(tmp_path):
    for content in (b"", b"not a program"):
        (tmp_path / "model.pdmodel").write_bytes(content)
        (tmp_path / "model.pdiparams").write_bytes(b"")
        with pytest.raises(ModelError, match=r"model\.pdmodel"):
            passes.load(str(tmp_path / "model"))


def test_a_program_with_activation_scales_is_a_qat_model_and_one_without_is_not(quantized):
    def loaded(program):
        return passes.Loaded(program, None, None, [], [])

    passes.require_qat(loaded(quantized["converted"]), "here")
    with pytest.raises(ModelError, match=r"here holds no activation scales.*not a QAT model.*inv train"):
        passes.require_qat(loaded(paddle.static.Program()), "here")


# What became of each operator.


class Op:
    def __init__(self, kind: str, data_type: str | None = None, inputs: tuple[str, ...] = ()) -> None:
        self.type, self._data_type, self.input_arg_names = kind, data_type, inputs

    def has_attr(self, name: str) -> bool:
        return name == "mkldnn_data_type" and self._data_type is not None

    def attr(self, name: str) -> str:
        assert name == "mkldnn_data_type"
        return self._data_type


def program(*ops: Op):
    return SimpleNamespace(global_block=lambda: SimpleNamespace(ops=list(ops)))


BEFORE = Counter({"conv2d": 3, "batch_norm": 3, "relu": 3, "pool2d": 1, "matmul_v2": 1})
AFTER = [
    Op("feed"), Op("quantize", "int8"), Op("fused_conv2d", "int8"), Op("fused_conv2d", "int8"),
    Op("fused_conv2d", "float32"), Op("relu"), Op("pool2d", "int8"), Op("dequantize"), Op("matmul_v2"), Op("fetch"),
]  # fmt: skip


def test_each_operator_is_counted_as_quantized_fused_or_left_with_its_reason():
    found = inspection.inspect(BEFORE, program(*AFTER), passes.op_set("conv2d,pool2d"))
    assert (found.convolutions, found.int8_convolutions) == (3, 2)
    assert found.fused == {"batch_norm": 3, "relu": 2}
    assert found.left["fused_conv2d"][0] == 1 and "scale is missing" in found.left["fused_conv2d"][1]
    assert found.left["matmul_v2"][0] == 1 and "linear layer is `fc`" in found.left["matmul_v2"][1]
    assert found.left["relu"] == (1, "not asked for, or without an INT8 kernel")
    assert found.boundaries == {"quantize": 1, "dequantize": 1}
    assert "feed" not in found.left and "quantize" not in found.left


def test_a_convolution_that_was_not_asked_for_is_not_called_a_failure():
    found = inspection.inspect(BEFORE, program(Op("fused_conv2d"), Op("pool2d", "int8")), {"pool2d"})
    assert (found.convolutions, found.int8_convolutions) == (1, 0)
    assert found.left == {"fused_conv2d": (1, "not asked for")}


def test_an_operator_asked_for_and_left_names_the_missing_scale():
    found = inspection.inspect(BEFORE, program(Op("pool2d")), {"pool2d"})
    assert found.left["pool2d"] == (1, "asked for, but its input has no learned scale")


def test_a_linear_layer_that_was_asked_for_and_left_names_what_training_lacked():
    left = inspection.inspect(BEFORE, program(Op("fc"), Op("matmul_v2")), {"fc"}).left
    assert "matmul_v2 in quantize_op_types" in left["fc"][1] and "did not become fc" in left["matmul_v2"][1]


def test_what_makes_float32_of_a_weight_in_the_file_is_not_called_an_operator_left_in_fp32():
    unpacking = [Op("cast", inputs=("w@int8",)), Op("elementwise_mul", inputs=("w@levels", "w@step"))]
    found = inspection.inspect(BEFORE, program(*unpacking, Op("fused_conv2d", "int8", ("x", "w"))), {"conv2d"})
    assert found.left == {} and found.int8_convolutions == 1


def test_the_lines_say_it_in_words():
    lines = inspection.inspect(BEFORE, program(*AFTER), passes.op_set("conv2d,pool2d")).lines()
    assert "2 x fused_conv2d" in lines[0] and "1 x pool2d" in lines[0] and "(2 of 3 convolutions)" in lines[0]
    assert any(line.startswith("left in FP32: 1 x matmul_v2: ") for line in lines)
    nothing = inspection.inspect(Counter(), program(), {"conv2d"}).lines()
    assert nothing[0] == "quantized: nothing (0 of 0 convolutions)"


@pytest.mark.parametrize(
    ("op", "answer"), [(Op("conv2d", "int8"), True), (Op("conv2d", "float32"), False), (Op("x"), False)]
)
def test_int8_is_what_the_attribute_says(op, answer):
    assert inspection.is_int8(op) is answer


# The linear layer.


@pytest.mark.parametrize("classes", [16, 10])
def test_a_linear_layer_keeps_its_weights_also_when_it_is_square(classes, tmp_path):
    """The stock pass takes a square layer's rows for its channels."""
    import paddleslim.quant as quant

    from qat8.saving import save_model

    static, place, scope = paddle.static, paddle.CPUPlace(), paddle.static.Scope()
    program, startup = static.Program(), static.Program()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [None, 3, 8, 8], "float32")
        x = paddle.nn.functional.relu(static.nn.conv2d(image, 16, 3, bias_attr=False))
        x = paddle.flatten(paddle.nn.functional.adaptive_avg_pool2d(x, 1), 1)
        out = paddle.nn.Linear(16, classes)(x)
    executor = static.Executor(place)
    executor.run(startup, scope=scope)
    (linear,) = (op.input("Y")[0] for op in program.global_block().ops if op.type == "matmul_v2")
    values = np.random.default_rng(4).normal(0, 1, (16, classes)) * np.geomspace(0.01, 1, classes)
    scope.find_var(linear).get_tensor().set(values.astype(np.float32), place)
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "matmul_v2"], "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        test = program.clone(for_test=True)
        train = quant.quant_aware(program, place, config, scope, for_test=False, return_program=True)
        aware = quant.quant_aware(test, place, config, scope, for_test=True)
        images = np.random.default_rng(5).normal(size=(8, 3, 8, 8)).astype(np.float32)
        executor.run(train, {"image": images}, [out.name], scope=scope)
        converted = quant.convert(aware, place, config, scope)
    save_model(converted, ["image"], [out.name], executor, scope, tmp_path)
    loaded = passes.load(str(tmp_path / "model"))
    int8 = passes.convert(loaded, passes.op_set("conv2d,fc"))
    (layer,) = (op for op in int8.global_block().ops if op.type == "fc")
    assert inspection.is_int8(layer)
    found = np.array(loaded.scope.find_var(layer.input("W")[0]).get_tensor())
    steps = np.abs(values).max(0) / 127
    assert (np.abs(found - values) <= steps / 2 + 1e-6).all()


# Residuals.


def residual_program():
    """conv+relu -> (conv, shortcut conv) -> add+relu -> (conv, identity) -> add+relu: two blocks as in a ResNet."""
    static, functional = paddle.static, paddle.nn.functional
    program, startup = static.Program(), static.Program()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():

        def conv(x):
            return static.nn.conv2d(x, 16, 3, padding=1, bias_attr=False)

        x = functional.relu(conv(static.data("image", [None, 3, 8, 8], "float32")))
        x = functional.relu(paddle.add(conv(x), conv(x)))
        conv(functional.relu(paddle.add(conv(x), x)))
    return program


def test_behind_a_residual_training_simulates_int8_because_that_is_what_the_convolution_writes():
    import paddleslim.quant as quant

    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "elementwise_add"], "onnx_format": False}  # fmt: skip
    program, scope = residual_program(), paddle.static.Scope()
    with paddle.static.scope_guard(scope), paddle.static.program_guard(program, paddle.static.Program()):
        aware = quant.quant_aware(
            program, paddle.CPUPlace(), config, scope, for_test=False, return_program=True
        )  # fmt: skip
    unsigned.widen(aware)
    found = bits(aware)
    assert {value for name, value in found.items() if name.startswith("relu_0")} == {9}
    assert {value for name, value in found.items() if name.startswith(("relu_1", "relu_2"))} == {8}


def node(kind: str, inputs: dict, outputs: dict):
    op = SimpleNamespace(
        type=lambda: kind, input_names=lambda: list(inputs), input=lambda slot: inputs[slot],
        output=lambda slot: outputs[slot],
    )  # fmt: skip
    return SimpleNamespace(node=SimpleNamespace(op=lambda: op))


def convolution(source: str, output: str, residual: str | None = None):
    inputs = {"Input": [source]} | ({"ResidualData": [residual]} if residual else {})
    return node("fused_conv2d", inputs, {"Output": [output]})


def test_an_output_that_adds_a_signed_residual_is_signed_and_so_are_those_along_the_shortcuts():
    nodes = [
        convolution("image", "relu"), convolution("relu", "shortcut"), convolution("relu", "sum1", "shortcut"),
        convolution("sum1", "sum2", "sum1"), convolution("relu", "sum3", "relu"),
        node("pool2d", {"X": ["sum2"]}, {"Out": ["pooled"]}),
    ]  # fmt: skip
    scales = {name: (True, i) for i, name in enumerate(("relu", "sum1", "sum2", "sum3", "pooled"))}
    scales["shortcut"] = (False, 9)
    passes._follow_types(SimpleNamespace(topology_sort=lambda: nodes), scales)
    signs = {name: sign for name, (sign, _) in scales.items()}
    assert signs == {"relu": True, "shortcut": False, "sum1": False, "sum2": False, "sum3": True, "pooled": False}
    assert scales["sum1"] == (False, 1) and scales["pooled"] == scales["sum2"]
