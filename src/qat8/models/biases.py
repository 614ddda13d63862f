"""A convolution's bias as the fusions know it.

Paddle 2 gives a convolution's bias its four dimensions by an operator of its own (reshape2), then adds it. oneDNN's
fusions look for an elementwise_add of the parameter itself: behind the reshape2 they miss it, so bias and ReLU stay
operators in FP32 and every convolution is followed by a dequantize and a quantize. The VGGs are built that way.
"""

from __future__ import annotations


def make_plain(program) -> int:
    """Add such parameters directly, along axis 1, in place; returns how many. The outputs stay the same to the bit."""
    block = program.global_block()
    count = 0
    for add in [op for op in block.ops if op.type == "elementwise_add"]:
        index, reshape = _maker(block, add.input("Y")[0])
        if reshape is None:
            continue
        parameter = block.var(reshape.input("X")[0])
        channels = [*parameter.shape, -1]
        if not parameter.persistable or list(reshape.attr("shape")) not in [[1, n, 1, 1] for n in channels]:
            continue
        add._rename_input(add.input("Y")[0], parameter.name)
        add._set_attr("axis", 1)
        block._remove_op(index)
        count += 1
    return count


def _maker(block, name: str):
    for index, op in enumerate(block.ops):
        if op.type == "reshape2" and op.output("Out")[0] == name:
            return index, op
    return -1, None
