"""From what was collected to the record: steps with their layers, and what of an INT8 model is not INT8."""

from __future__ import annotations

from pathlib import Path

from qat8 import artifacts, manifests
from qat8.int8 import compact, inspection, passes
from qat8.int8.selection import layer_name
from qat8.older_python import zip_strict
from qat8.profiling.collect import Called
from qat8.profiling.log import Primitive
from qat8.profiling.operations import operations
from qat8.profiling.record import Left, Operand, PrimitiveRow, Step
from qat8.profiling.saved import SavedProgram

_ROLES = ("src", "wei", "bia", "dst")


def steps(calls: list[Called], model: Path) -> list[Step]:
    """One step per executed operator."""
    program, _ = artifacts.model_files(model)
    saved = SavedProgram.read(program)
    return [
        Step(
            index=index, operator=call.operator.type, layer=_layer(call), saved=saved.stands_for(call.operator),
            input_shape=_first_shape(call.operator.inputs, saved),
            output_shape=_first_shape(call.operator.outputs, saved),
            primitives=[_row(p, ms) for p, ms in zip_strict(call.primitives, call.ms)],
            outside_ms=call.outside_ms,
        )
        for index, call in enumerate(calls)
    ]  # fmt: skip


def _row(primitive: Primitive, ms: float) -> PrimitiveRow:
    operands = {r: Operand(dtype=primitive.dtype(r), layout=primitive.layout(r)) for r in _ROLES if primitive.dtype(r)}
    return PrimitiveRow(
        kind=primitive.kind, kernel=primitive.implementation, problem=primitive.problem, operands=operands,
        attributes=primitive.attributes, ms=ms, operations=operations(primitive),
    )  # fmt: skip


def _layer(call: Called) -> str:
    return layer_name([name for name, _ in call.operator.inputs], [name for name, _ in call.operator.outputs])


def _first_shape(variables, saved: SavedProgram) -> list[int]:
    """Of the first variable that is data, not a parameter."""
    return next((list(shape) for name, shape in variables if shape and not saved.is_parameter(name)), [])


def left(steps_: list[Step], model: Path) -> list[Left]:
    """Every operator of a saved INT8 program that is not INT8, with the reason and its share of the measured time."""
    program, _ = artifacts.model_files(model)
    manifest = manifests.read(model) or {}
    asked = passes.op_set(str(manifest.get("config", {}).get("quantized_ops", "conv2d,pool2d")))
    chosen = manifest.get("left_in_fp32", [])
    times = {number: step for step in steps_ for number in (int(name.split()[0]) for name in step.saved)}
    found = []
    for number, op in enumerate(passes.load(str(program.with_suffix(""))).program.global_block().ops):
        if op.type in inspection.BOOKKEEPING or inspection.is_int8(op) or compact.unpacks(op):
            continue
        step = times.get(number)
        name = layer_name(op.input_arg_names, op.output_arg_names)
        own = step and step.primitives and step.operator == op.type  # of several fused into one step, only this one
        ms = step.ms if own else None
        why = "left out for the accuracy (--max-drop)" if name in chosen else inspection.why(op, asked)
        found.append(Left(operator=op.type, layer=name, why=why, ms=ms))
    return found
