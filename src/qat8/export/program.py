"""A saved FP32 or INT8 program of Paddle -> the engine's operators.

An FP32 program goes through the fusions that Paddle's oneDNN predictor applies at loading (convolution + BatchNorm +
activation + residual), an INT8 program has them behind it; so both are read by the same code below. An operator, an
attribute or a shape that the engine does not compute is refused by its name.
"""

from __future__ import annotations

from pathlib import Path

from qat8.artifacts import model_files
from qat8.console import native_stderr_kept_back
from qat8.engine import paddle
from qat8.errors import ModelError
from qat8.export.convolutions import convolution, linear
from qat8.export.file import Operator, Plan, Tensor
from qat8.export.values import Values, activation, inputs, inverse, number, refuse
from qat8.export.windows import pooled, pooling_window
from qat8.int8 import compact, passes

_AS_IT_IS = ("flatten_contiguous_range", "flatten2")


def export(directory: Path, precision: str) -> Plan:
    """The plan of the saved model in `directory`.

    Raises:
        ModelError: not a saved model, or one with an operator that the engine has not; it is named.
    """
    program_file, _ = model_files(directory)
    loaded = passes.load(str(program_file.with_suffix("")))
    program = loaded.program if precision == "int8" else fused(loaded)
    if len(loaded.feeds) != 1:
        raise ModelError(f"{directory} takes {len(loaded.feeds)} inputs ({', '.join(loaded.feeds)})", "one, the image")
    return _Exporter(program, loaded, precision, str(directory)).plan


def fused(loaded: passes.Loaded):
    """The FP32 program after Paddle's own oneDNN fusions, in the same scope."""
    from paddle.base.framework import IrGraph
    from paddle.framework import core
    from paddle.static.quantization import Quant2Int8MkldnnPass

    class Fusions(Quant2Int8MkldnnPass):
        def _apply_pass(self, graph, name, attrs=None, attr_values=None):
            # This one makes one operator of two linear layers with ReLU (the VGGs'); the engine runs each.
            skip = name == "repeated_fc_relu_fuse_pass"
            return graph if skip else super()._apply_pass(graph, name, attrs, attr_values)

    if any(t.startswith("fake_") for t in loaded.types()):
        raise ModelError("a QAT model", "an FP32 or an INT8 model", "inv convert, then export the INT8 model")
    with paddle.static.scope_guard(loaded.scope), native_stderr_kept_back():
        graph = IrGraph(core.Graph(loaded.program.desc), for_test=True)
        rewrite = Fusions(set(), _scope=loaded.scope, _place=paddle.CPUPlace(), _core=core)
        return rewrite.prepare_and_optimize_fp32(graph).to_program()


class _Exporter:
    def __init__(self, program, loaded: passes.Loaded, precision: str, where: str) -> None:
        self.block, self.where = program.global_block(), where
        self.parameters = Values(loaded.scope)
        self.plan = Plan(precision)
        self.tensors: dict[str, int] = {}  # variable -> tensor
        self._input(loaded.feeds[0])
        for op in self.block.ops:
            self._operator(op)
        self._check_output()

    def _input(self, name: str) -> None:
        shape = tuple(self.block.var(name).shape)
        if len(shape) != 4 or shape[1] != 3 or min(shape[1:]) < 1:
            raise ModelError(f"{self.where}: input {name!r} has shape {list(shape)}", "[-1, 3, height, width]")
        self.tensors[name] = self._tensor("float32", shape[1:])

    def _tensor(self, dtype: str, shape) -> int:
        self.plan.tensors.append(Tensor(dtype, tuple(int(side) for side in shape)))
        return len(self.plan.tensors) - 1

    def _operator(self, op) -> None:
        if op.type in ("feed", "fetch"):
            return
        if compact.unpacks(op):
            self.parameters.unpack(op)
            return
        if op.type in _AS_IT_IS or _is_identity(op):
            self.tensors[op.output("Out")[0]], _ = self._source(op, op.input("X")[0])
            return
        handler = _HANDLERS.get(op.type)
        if handler is None:
            known = {*_HANDLERS, *_AS_IT_IS, "scale", "dropout"}
            raise ModelError(
                f"{self.where}: the engine has no operator {op.type}", f"of {', '.join(sorted(known))}",
                "run this model with --testers=cpp",
            )  # fmt: skip
        handler(self, op)

    def _add(self, operator: Operator, output: str, dtype: str, shape) -> None:
        operator.destination = self.tensors[output] = self._tensor(dtype, shape)
        self.plan.operators.append(operator)

    def _source(self, op, name: str) -> tuple[int, Tensor]:
        index = self.tensors.get(name)
        if index is None:
            refuse(op, f"reads {name}, which is not computed from the image")
        return index, self.plan.tensors[index]

    def _quantize(self, op) -> None:
        source, tensor = self._source(op, op.input("Input")[0])
        if number(op, "Shift", 0.0) or number(op, "bfloat16", False):
            refuse(op, "a zero point or bfloat16")
        dtype = "int8" if op.attr("is_negative_input") else "uint8"
        operator = Operator("quantize", source, 0, alpha=op.attr("Scale"), scales=(1.0, 1.0, inverse(op, "Scale")))
        self._add(operator, op.output("Output")[0], dtype, tensor.shape)

    def _dequantize(self, op) -> None:
        source, tensor = self._source(op, op.input("Input")[0])
        if number(op, "Shift", 0.0):
            refuse(op, "a zero point")
        operator = Operator("dequantize", source, 0, scales=(inverse(op, "Scale"), 1.0, 1.0))
        self._add(operator, op.output("Output")[0], "float32", tensor.shape)

    def _convolution(self, op) -> None:
        source, tensor = self._source(op, op.input("Input")[0])
        residual = inputs(op, "ResidualData")
        second = self._source(op, residual[0]) if residual else None
        operator, dtype, shape = convolution(op, self.parameters, source, tensor, second)
        self._add(operator, op.output("Output")[0], dtype, shape)

    def _pool(self, op) -> None:
        source, tensor = self._source(op, op.input("X")[0])
        window = pooling_window(op, tensor.shape)
        kind = {"max": "max_pooling", "avg": "average_pooling"}[op.attr("pooling_type")]
        if kind == "average_pooling" and any(window.padding) and not op.attr("exclusive"):
            kind = "average_pooling_with_padding"
        operator = Operator(kind, source, 0, kernel=window.kernel, strides=window.strides, padding=window.padding)
        self._add(operator, op.output("Out")[0], tensor.dtype, (tensor.shape[0], *pooled(tensor.shape, window)))

    def _linear(self, op) -> None:
        source, tensor = self._source(op, op.input("Input")[0])
        operator, dtype, classes = linear(op, self.parameters, source, tensor)
        self._add(operator, op.output("Out")[0], dtype, (classes, 1, 1))

    def _addition(self, op) -> None:
        (source, x), (second, y) = self._source(op, op.input("X")[0]), self._source(op, op.input("Y")[0])
        if x.shape != y.shape:
            refuse(op, f"summands of shapes {x.shape} and {y.shape}")
        if x.dtype != y.dtype:
            refuse(op, f"summands of types {x.dtype} and {y.dtype}")
        names = ("Scale_x", "Scale_y", "Scale_out")
        scales = (1.0, 1.0, 1.0) if x.dtype == "float32" else tuple(inverse(op, name) for name in names)
        word, alpha, beta = activation(op)
        operator = Operator("addition", source, 0, second, activation=word, alpha=alpha, beta=beta, scales=scales)
        self._add(operator, op.output("Out")[0], x.dtype, x.shape)

    def _softmax(self, op) -> None:
        source, tensor = self._source(op, op.input("X")[0])
        if tensor.dtype != "float32" or tensor.shape[1:] != (1, 1) or op.attr("axis") not in (-1, 1):
            refuse(op, f"softmax of {tensor.dtype} {list(tensor.shape)} along axis {op.attr('axis')}")
        self._add(Operator("softmax", source, 0), op.output("Out")[0], "float32", tensor.shape)

    def _check_output(self) -> None:
        if not self.plan.operators:
            raise ModelError(f"{self.where}: a program without operators", "a classifier")
        if self.plan.precision == "int8" and all(op.weight_scales is None for op in self.plan.operators):
            raise ModelError(f"{self.where} holds no INT8 operator", "an INT8 model, which `inv convert` writes")
        last = self.plan.tensors[self.plan.operators[-1].destination]
        if last.dtype != "float32" or last.shape[1:] != (1, 1):
            raise ModelError(f"{self.where}: the output is {last.dtype} {list(last.shape)}", "float32 scores")


def _is_identity(op) -> bool:
    """Scaling by 1, with which Paddle's saving ends a program, and dropout, which does nothing in inference."""
    if op.type == "dropout":
        return op.attr("dropout_implementation") == "upscale_in_train" or refuse(op, "dropout that scales in inference")
    if op.type != "scale":
        return False
    return (op.attr("scale") == 1.0 and op.attr("bias") == 0.0 and not inputs(op, "ScaleTensor")) or refuse(
        op, f"scale {op.attr('scale')}, bias {op.attr('bias')}"
    )


_HANDLERS = {
    "quantize": _Exporter._quantize, "dequantize": _Exporter._dequantize, "pool2d": _Exporter._pool,
    "fused_conv2d": _Exporter._convolution, "conv2d": _Exporter._convolution,
    "depthwise_conv2d": _Exporter._convolution, "fc": _Exporter._linear, "elementwise_add": _Exporter._addition,
    "fused_elementwise_add": _Exporter._addition, "softmax": _Exporter._softmax,
}  # fmt: skip
