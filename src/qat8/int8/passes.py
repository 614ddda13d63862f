"""Paddle's Quant2Int8 pass, made to quantize on Paddle 2.6.

What the stock pass gets wrong in 2.6, silently (its oneDNN fusions rename conv2d to fused_conv2d, for a start):

1. The placement pass gets the user's op list, which names conv2d only: no convolution is marked. The list needs
   fused_conv2d.
2. Filter scales are computed for the types in `_conv_ops` only; without a scale the quantize pass skips the
   convolution. That list needs it too.
3. `params_quantization_mkldnn_pass` writes int8 filters and int32 biases that the fused kernel of 2.6.2 computes
   wrongly (ResNet50's top-1 falls to chance, at full speed). It is left out with the pass that prepares it: filters
   stay float32 in the file and are quantized once, at loading.
4. A square linear layer (the VGGs' second) gets the scales of its columns applied to its rows: wrong weights. Here the
   axis follows from the operator, not from which side happens to have the length.
5. A convolution writes the type of the residual that it adds. Where that is signed (a ResNet's shortcut with a
   convolution) an output behind ReLU is int8 with the scale of uint8: everything above half of the range is cut. Here
   such outputs, and those that follow from them along the shortcuts, stay signed; training simulates the same.
6. Outputs behind ReLU are stored as uint8, but with the scale of int8 (127 / range): half of the 256 levels are never
   used. The stock pass has a step against that, switched off as nondeterministic: it doubles the scale *and* marks it
   unsigned, for which cpu_quantize_pass multiplies by 255 instead of 127, so values are clipped at half their range.
   Here exactly those variables are marked that QAT simulated as uint8 (`unsigned`), without doubling.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import paddle_error, trial
from qat8.console import native_stderr_kept_back
from qat8.engine import paddle
from qat8.errors import ModelError, UsageError
from qat8.int8 import boundaries, selection
from qat8.int8.unsigned import narrow

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "fused_conv2d")
# Of what cpu_quantize_placement_pass knows, the types that occur in image classifiers.
QUANTIZABLE = ("conv2d", "depthwise_conv2d", "pool2d", "elementwise_add", "fc", "matmul", "concat", "reshape2",
               "transpose2")  # fmt: skip
# What a linear layer is called before the fusions make it fc: `mul` in the tutorial's time, matmul_v2 in Paddle 2.
_LINEAR = {"mul": "fc", "matmul_v2": "fc"}
_SCALES = "moving_average_abs_max", "range_abs_max"


@dataclass(frozen=True)
class Loaded:
    """A program in a scope of its own, with the names of its inputs and outputs."""

    program: object
    scope: object
    executor: object
    feeds: list[str]
    fetches: list[str]

    def types(self) -> Counter:
        return Counter(op.type for op in self.program.global_block().ops)


def load(prefix: str, ours: bool = False) -> Loaded:
    """Load PREFIX.pdmodel and PREFIX.pdiparams.

    Args:
        ours: this process wrote them just now, so that they need not be tried (`trial`).

    Raises:
        ModelError: they are not what Paddle saves.
    """
    if not ours:
        files = Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams")
        trial.require_sound(files[0].parent, files, lambda: load(prefix, ours=True))
    if not Path(f"{prefix}.pdmodel").stat().st_size:  # Paddle takes it for a program without blocks and crashes
        raise ModelError(f"{prefix}.pdmodel is empty", "a saved program", "save the model again")
    paddle.enable_static()
    executor, scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()
    try:
        with paddle.static.scope_guard(scope):
            program, feeds, fetches = paddle.static.load_inference_model(prefix, executor)
    except MemoryError:
        raise
    except Exception as e:  # what a damaged program can make of Paddle's Python is anything
        raise ModelError(f"{prefix}.pdmodel: Paddle cannot load it ({paddle_error.brief(str(e))})") from e
    return Loaded(program, scope, executor, list(feeds), [v.name for v in fetches])


def require_qat(loaded: Loaded, where: str) -> None:
    """Refuse a model without learned activation scales: there is nothing that INT8 could be made from."""
    fake = [t for t in loaded.types() if t.startswith("fake_quantize") and any(s in t for s in _SCALES)]
    if not fake:
        raise ModelError(
            f"{where} holds no activation scales (fake_quantize_*): not a QAT model", "what `inv train` saves",
            "inv train",
        )  # fmt: skip


def op_set(names: str) -> set[str]:
    """`conv2d,pool2d` -> the types that the passes must be told.

    Raises:
        UsageError: a type that oneDNN's INT8 passes do not take.
    """
    wanted = {_LINEAR.get(name.strip(), name.strip()) for name in names.split(",") if name.strip()}
    if unknown := sorted(wanted - set(QUANTIZABLE)):
        raise UsageError(f"--quantized-ops: {unknown[0]!r} cannot be quantized", f"of {', '.join(QUANTIZABLE)}")
    if not wanted:
        raise UsageError("--quantized-ops is empty", f"of {', '.join(QUANTIZABLE)}")
    if wanted & {"conv2d", "depthwise_conv2d"}:
        wanted |= set(CONVOLUTIONS)
    return wanted


def convert(loaded: Loaded, ops: set[str], wanted: selection.Wanted | None = None, reduced: bool = False):
    """Apply the passes to a QAT program; returns the INT8 program, in the same scope.

    Args:
        wanted: which layers are quantized, of those that `ops` names (None: all).
        reduced: outputs behind ReLU use 127 of uint8's 255 levels, so that the sums of two products that CPUs without
            VNNI keep in 16 bits cannot overflow (`qat8.instructions`); what the stock pass does (6), for this reason.
    """
    from paddle.base.framework import IrGraph
    from paddle.framework import core

    with paddle.static.scope_guard(loaded.scope), native_stderr_kept_back():
        unsigned = narrow(loaded.program)
        if reduced:
            unsigned = set()
        graph = IrGraph(core.Graph(loaded.program.desc), for_test=True)
        graph = _pass_class(unsigned, wanted)(ops, _scope=loaded.scope, _place=paddle.CPUPlace(), _core=core).apply(
            graph
        )
        program = graph.to_program()
        boundaries.remove(program)
        return program


def _follow_types(graph, scales: dict) -> None:
    """Give outputs the scale and sign that their operator really writes; `scales`: variable -> (unsigned, scale)."""
    for node in graph.topology_sort():
        op = node.node.op()
        if op.type() == "pool2d" and op.input("X")[0] in scales:
            # Pooling does not rescale: what comes out has the scale of what went in.
            scales[op.output("Out")[0]] = scales[op.input("X")[0]]
        for residual in op.input("ResidualData") if "ResidualData" in op.input_names() else []:
            output = op.output("Output")[0]
            if output in scales and not scales.get(residual, (False, None))[0]:
                # The kernel writes the residual's type: with the scale of uint8 it would cut int8 at half.
                scales[output] = (False, scales[output][1])


def _pass_class(unsigned: set[str], wanted: selection.Wanted | None):
    from paddle.static.quantization import Quant2Int8MkldnnPass

    class FusedQuant2Int8Pass(Quant2Int8MkldnnPass):
        _LEFT_OUT = (
            "int8_scale_calculation_mkldnn_pass", "params_quantization_mkldnn_pass",
            # Makes one FP32 operator of two linear layers with ReLU (the VGGs'), which has no INT8 kernel.
            "repeated_fc_relu_fuse_pass",
        )  # fmt: skip

        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self._conv_ops = [*self._conv_ops, "fused_conv2d"]

        def _propagate_scales(self, graph):
            scales = self._var_quant_scales
            for name in unsigned & scales.keys():
                scales[name] = (True, scales[name][1])
            graph = super()._propagate_scales(graph)
            _follow_types(graph, scales)
            return graph

        def _dequantize_op_weights(self, graph, op, weight_name, output_name):
            steps = self._weight_thresholds[op.output(output_name)[0]]
            name = op.input(weight_name)[0]
            levels = self._load_param(self._scope, name)
            if op.name() in self._conv_ops or steps.size == 1 or levels.ndim != 2:
                return super()._dequantize_op_weights(graph, op, weight_name, output_name)
            # A linear layer's channels are its columns; where it is square the stock pass takes the rows.
            self._restore_var(name, (levels / self._s8_max * steps).astype(np.float32))

        def _apply_pass(self, graph, name, attrs=None, attr_values=None):
            if name == "cpu_quantize_pass" and wanted:
                selection.restrict(graph, wanted)
            return graph if name in self._LEFT_OUT else super()._apply_pass(graph, name, attrs, attr_values)

    return FusedQuant2Int8Pass
