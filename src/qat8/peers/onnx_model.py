"""A saved Paddle model -> ONNX, the form that all peers take."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import onnx
from onnx import helper

from qat8.artifacts import model_files
from qat8.errors import ModelError

OPSET = 17  # from 13 on weights may have a scale per channel


def export(paddle_model: Path, target: Path) -> None:
    """Write the ONNX form of a saved float32 Paddle model: input float32 [N, 3, H, W], output float32 [N, classes].

    Raises:
        ModelError: not a model, or with an operator that paddle2onnx does not know.
    """
    # paddle2onnx's converter reads the files by itself; its Python part imports Paddle only to trace dynamic models.
    sys.modules.setdefault("paddle", types.ModuleType("paddle"))
    import paddle2onnx

    program, parameters = model_files(paddle_model)
    try:
        content = paddle2onnx.export(str(program), str(parameters), opset_version=OPSET, verbose=False)
    except RuntimeError as e:
        raise ModelError(f"{paddle_model}: paddle2onnx cannot convert it ({e})") from e
    if not content:
        raise ModelError(f"{paddle_model}: paddle2onnx cannot convert it", "a classifier of the registry")
    model = onnx.load_model_from_string(content)
    _flatten(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def _flatten(model) -> None:
    """Paddle's flatten arrives as Shape, Slice, Concat and Reshape: as ONNX's Flatten every engine can see through it.

    Raises:
        ModelError: a Reshape of another kind.
    """
    graph = model.graph
    made_by = {node.output[0]: node for node in graph.node}
    for at, node in enumerate(graph.node):
        if node.op_type != "Reshape":
            continue
        shape = made_by.get(node.input[1])
        if shape is None or shape.op_type != "Concat" or made_by[shape.input[0]].op_type != "Slice":
            raise ModelError(f"node {node.name or node.output[0]}: a Reshape that is no flatten", "a classifier")
        flat = helper.make_node("Flatten", [node.input[0]], [node.output[0]], axis=1)
        graph.node.remove(node)
        graph.node.insert(at, flat)
    _drop_unused(graph)


def _drop_unused(graph) -> None:
    """Remove nodes that nothing reads, in one pass backwards (nodes are in order)."""
    wanted = {output.name for output in graph.output}
    for node in list(graph.node)[::-1]:
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted |= set(node.input)
