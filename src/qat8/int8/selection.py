"""Which layers are quantized: all, one alone, or as many as an accuracy allows.

A layer is called by its weights (`conv2d_3` of `conv2d_3.w_0`), or, without any, by its first output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Wanted = Callable[[str], bool]  # whether the layer of this name is to be INT8


def layer_name(inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """What people call an operator with these variables."""
    weights = [name.rpartition(".w_")[0] for name in inputs if ".w_" in name]
    return ([*weights, *outputs, ""])[0]


def restrict(graph, wanted: Wanted) -> None:
    """Take the mark of the placement pass off every operator that is not wanted; before cpu_quantize_pass."""
    for node in graph.all_op_nodes():
        op = node.op()
        marked = op.has_attr("mkldnn_data_type") and op.attr("mkldnn_data_type") == "int8"
        if marked and not wanted(layer_name(op.input_arg_names(), op.output_arg_names())):
            node.set_attr("mkldnn_data_type", "float32")


def fewest(order: Sequence[str], drop: Callable[[frozenset[str]], float], limit: float) -> frozenset[str] | None:
    """A small set of layers to leave in FP32 so that the drop is at most `limit`; None when all of them do not do.

    Greedy: layers are left out in `order` (the most sensitive first) until the limit is met, as many as bisection
    finds, which takes the drop to fall as layers are left out; then each is given back, the least sensitive first, if
    the limit still holds without it. Whatever the drop does, the set that is returned was measured and meets the limit.

    Args:
        drop: measures the drop with these layers left in FP32.
    """
    low, high = 0, len(order)
    if drop(frozenset(order)) > limit:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if drop(frozenset(order[:middle])) <= limit else (middle, high)
    left = list(order[:high])
    for layer in reversed(left[:-1]):
        fewer = frozenset(left) - {layer}
        if drop(fewer) <= limit:
            left.remove(layer)
    return frozenset(left)
