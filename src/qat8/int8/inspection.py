"""What became of each operator: quantized, fused into another, or left in FP32 and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from qat8.int8.compact import is_int8, unpacks
from qat8.int8.passes import CONVOLUTIONS
from qat8.int8.selection import layer_name

BOOKKEEPING = ("feed", "fetch", "quantize", "dequantize", "requantize")
_FUSABLE = ("batch_norm", "relu", "relu6", "elementwise_add", "swish", "hard_swish", "leaky_relu")


@dataclass
class Inspection:
    """Counts by operator type; `left` maps a type to its count and the reason."""

    convolutions: int
    int8_convolutions: int
    quantized: Counter = field(default_factory=Counter)
    fused: Counter = field(default_factory=Counter)
    left: dict[str, tuple[int, str]] = field(default_factory=dict)
    boundaries: Counter = field(default_factory=Counter)  # quantize and dequantize operators
    left_out: list[str] = field(default_factory=list)  # layers that --max-drop leaves in FP32

    def lines(self) -> list[str]:
        """For people, one fact a line."""

        def names(counter: Counter) -> str:
            return ", ".join(f"{count} x {name}" for name, count in sorted(counter.items())) or "nothing"

        return [
            f"quantized: {names(self.quantized)} ({self.int8_convolutions} of {self.convolutions} convolutions)",
            f"fused into the operator before: {names(self.fused)}",
            f"FP32/INT8 boundaries: {names(self.boundaries)}",
            *([f"left in FP32 for the accuracy: {', '.join(self.left_out)}"] if self.left_out else []),
            *(f"left in FP32: {count} x {name}: {why}" for name, (count, why) in sorted(self.left.items())),
        ]


def inspect(before: Counter, program, asked: set[str], left_out: frozenset[str] = frozenset()) -> Inspection:
    """Compare the QAT program's operator counts with the INT8 program.

    Args:
        before: operator types of the QAT program.
        asked: the types that the passes were told to quantize.
        left_out: names of layers that were left in FP32 for the accuracy's sake (`selection.layer_name`).
    """
    ops = [op for op in program.global_block().ops if not unpacks(op)]
    convolutions = [op for op in ops if op.type in CONVOLUTIONS]
    after = Counter(op.type for op in ops)
    result = Inspection(len(convolutions), sum(map(is_int8, convolutions)))
    result.quantized = Counter(op.type for op in ops if is_int8(op))
    result.boundaries = Counter(op.type for op in ops if op.type in ("quantize", "dequantize", "requantize"))
    for name in _FUSABLE:
        if gone := before[name] - after[name]:
            result.fused[name] = gone
    for op in ops:
        name = layer_name(op.input_arg_names, op.output_arg_names) if left_out else ""
        if name in left_out:
            result.left_out.append(name)
        elif op.type not in BOOKKEEPING and not is_int8(op):
            count, _ = result.left.get(op.type, (0, ""))
            result.left[op.type] = (count + 1, why(op, asked))
    return result


def why(op, asked: set[str]) -> str:
    if op.type in CONVOLUTIONS:
        return "asked for, but an activation or filter scale is missing" if op.type in asked else "not asked for"
    if op.type in ("fc", "matmul", "matmul_v2", "mul"):
        return _why_linear(op.type, asked)
    if op.type not in asked:
        return "not asked for, or without an INT8 kernel"
    return "asked for, but its input has no learned scale"


def _why_linear(kind: str, asked: set[str]) -> str:
    if "fc" not in asked:
        return "not asked for (a linear layer is `fc` in --quantized-ops)"
    if kind == "fc":
        return "asked for, but trained without matmul_v2 in quantize_op_types, so its input has no learned scale"
    return "not a linear layer with a bias, so it did not become fc"
