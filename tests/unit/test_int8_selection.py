"""Which layers are quantized: names, the search for the fewest in FP32, and what a sensitivity says."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace

import pytest

from qat8.int8 import inspection, selection, sensitivity_tables
from qat8.int8.sensitivity import LayerScore, Score, Sensitivity
from qat8.older_python import zip_strict


class Op:
    def __init__(self, kind: str, inputs: list[str], outputs: list[str], data_type: str | None = "int8") -> None:
        self._kind, self._inputs, self._outputs, self.data_type = kind, inputs, outputs, data_type

    def has_attr(self, name: str) -> bool:
        return name == "mkldnn_data_type" and self.data_type is not None

    def attr(self, _: str) -> str:
        return self.data_type

    def input_arg_names(self) -> list[str]:
        return self._inputs

    def output_arg_names(self) -> list[str]:
        return self._outputs


class Node:
    def __init__(self, op: Op) -> None:
        self._op = op

    def op(self) -> Op:
        return self._op

    def set_attr(self, name: str, value: str) -> None:
        assert name == "mkldnn_data_type"
        self._op.data_type = value


def test_only_marked_operators_that_are_not_wanted_lose_their_mark():
    conv = Op("fused_conv2d", ["x", "conv2d_0.w_0"], ["y"])
    other = Op("fused_conv2d", ["y", "conv2d_1.w_0"], ["z"])
    pool, plain = Op("pool2d", ["z"], ["p"]), Op("softmax", ["p"], ["q"], None)
    graph = SimpleNamespace(all_op_nodes=lambda: [Node(op) for op in (conv, other, pool, plain)])
    selection.restrict(graph, lambda name: name in ("conv2d_0", "p"))
    assert [op.data_type for op in (conv, other, pool, plain)] == ["int8", "float32", "int8", None]


# The search. A layer's cost is what quantizing it loses; the drop is the sum over the quantized ones.


def search(costs: dict[str, float], limit: float, base: float = 0.0):
    asked = []

    def drop(left: frozenset[str]) -> float:
        asked.append(left)
        return base + sum(cost for layer, cost in costs.items() if layer not in left)

    order = sorted(costs, key=lambda layer: -costs[layer])
    return selection.fewest(order, drop, limit), asked


@pytest.mark.parametrize(
    ("limit", "left"),
    [(0.45, {"a"}), (0.3, {"a", "b"}), (0.1, {"a", "b", "c"}), (0.0, {"a", "b", "c", "d"})],
)
def test_the_most_sensitive_layers_are_left_and_no_more_than_needed(limit, left):
    found, _ = search({"a": 1.0, "b": 0.2, "c": 0.15, "d": 0.1}, limit)
    assert found == left


def test_a_layer_that_need_not_be_left_is_given_back():
    # The sensitivity's order was misleading: only `b` matters, and it comes second.
    assert selection.fewest(["a", "b", "c"], lambda left: 0.0 if "b" in left else 1.0, 0.5) == {"b"}


def test_when_even_no_int8_layer_is_too_much_there_is_no_answer():
    found, asked = search({"a": 1.0, "b": 1.0}, 0.5, base=0.6)
    assert found is None and len(asked) == 1


def test_what_is_returned_was_measured_even_when_the_drop_does_not_fall_steadily():
    def drop(left: frozenset[str]) -> float:
        return {0: 3.0, 1: 1.0, 2: 2.0, 3: 1.5, 4: 0.2}[len(left)]

    found = selection.fewest(list("abcd"), drop, 1.0)
    assert found is not None and drop(found) <= 1.0


def test_the_search_takes_few_measurements():
    costs = {f"layer{i}": 1.0 / (i + 1) for i in range(64)}
    found, asked = search(costs, sum(costs.values()) - 1.2)
    assert found == {"layer0", "layer1"} and len(asked) < 12


# What is said.

FP32, NONE, EVERY = Score(0.9, 1.0, 0.0), Score(0.9, 0.99, 0.002), Score(0.88, 0.95, 0.01)
FOUND = Sensitivity(
    50, FP32, NONE, EVERY,
    [LayerScore("conv2d_0", "fused_conv2d", Score(0.9, 0.99, 0.0025)),
     LayerScore("conv2d_1", "fused_conv2d", Score(0.86, 0.96, 0.009))],
)  # fmt: skip


def test_the_order_begins_with_the_layer_that_moves_the_outputs_most():
    assert FOUND.order() == ["conv2d_1", "conv2d_0"]
    assert [one.layer for one in sensitivity_tables.ranked(FOUND)] == FOUND.order()


def test_losses_are_points_against_fp32_and_divergence_is_beyond_no_layer_at_all():
    (_, worst) = FOUND.layers
    assert sensitivity_tables.loss(FOUND, worst.score) == pytest.approx(4.0)
    assert sensitivity_tables.added(FOUND, worst.score) == pytest.approx(0.007)
    header, none, every, first, _ = sensitivity_tables.rows(FOUND)
    assert dict(zip_strict(header, every))["top1_loss_points"] == pytest.approx(2.0)
    assert none[0] == "(none)" and first[0] == "conv2d_0"
    out = io.StringIO()
    csv.writer(out).writerows(sensitivity_tables.rows(FOUND))
    assert len(list(csv.DictReader(io.StringIO(out.getvalue())))) == 4


def test_the_summary_says_how_fine_top1_can_be():
    assert "one image is 2.00" in sensitivity_tables.summary(FOUND)


def test_the_picture_names_the_layers():
    made = sensitivity_tables.pictures("M", FOUND)
    assert made["sensitivity.png"].startswith(b"\x89PNG") and b"conv2d_1" in made["sensitivity.svg"]


def test_layers_that_were_left_out_are_named_and_not_called_a_failure():
    from collections import Counter

    class Saved(Op):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            self.type = self._kind
            self.input_arg_names, self.output_arg_names = self._inputs, self._outputs

    ops = [
        Saved("fused_conv2d", ["x", "conv2d_0.w_0"], ["y"]),
        Saved("fused_conv2d", ["y", "conv2d_1.w_0"], ["z"], "float32"),
    ]
    program = SimpleNamespace(global_block=lambda: SimpleNamespace(ops=ops))
    found = inspection.inspect(Counter(), program, {"fused_conv2d"}, frozenset({"conv2d_1"}))
    assert found.left_out == ["conv2d_1"] and found.left == {} and found.int8_convolutions == 1
    assert "left in FP32 for the accuracy: conv2d_1" in found.lines()
