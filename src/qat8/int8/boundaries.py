"""A value that leaves INT8 only to be given another shape, and comes back at once, stays INT8.

The passes know no INT8 `flatten_contiguous_range`, so between the last pooling and the linear layer they put
dequantize, flatten and quantize. Three operators for nothing: `fc` flattens what it is given (`in_num_col_dims`), and
the levels it is given without them are the pooling's own, which the second rounding could only make coarser. For one
pixel: several (the VGGs') Paddle 2.6.2's INT8 `fc` cannot flatten ("could not reshape a memory descriptor").
"""

from __future__ import annotations

from qat8.int8.compact import is_int8

_FLATTENING = {"flatten_contiguous_range": ("start_axis", "stop_axis"), "flatten2": ("axis",)}


def remove(program) -> int:
    """Take out dequantize, flatten and quantize in front of INT8 linear layers, in place; returns how many triples."""
    block = program.global_block()
    count = 0
    for linear in [op for op in block.ops if op.type == "fc" and is_int8(op) and op.attr("in_num_col_dims") == 1]:
        chain = _chain(block, linear)
        if chain is None or not _is_one_pixel(block.var(chain[1].input("X")[0])):
            continue
        dequantize = chain[0]
        linear._set_attr("Scale_in", dequantize.attr("Scale"))
        linear.desc.set_input("Input", dequantize.input("Input"))
        for op in reversed(chain):
            block._remove_op(block.ops.index(op))
        count += 1
    return count


def _chain(block, linear) -> list | None:
    """[dequantize, flatten, quantize] if that is what makes the input of `linear`, and of nothing else."""
    chain: list = []
    name = linear.input("Input")[0]
    for fits in (_is_plain, _is_flattening, _is_plain):
        makers = [op for op in block.ops if name in op.output_arg_names]
        users = [op for op in block.ops if name in op.input_arg_names]
        if len(makers) != 1 or len(users) != 1 or not fits(makers[0]):
            return None
        chain.insert(0, makers[0])
        name = makers[0].input_arg_names[0]
    return chain if [op.type for op in chain[::2]] == ["dequantize", "quantize"] else None


def _is_plain(op) -> bool:
    """Whether `op` scales and does nothing else: an asymmetric one moves the zero point, too."""
    return op.type in ("quantize", "dequantize") and not (op.has_attr("Shift") and op.attr("Shift"))


def _is_flattening(op) -> bool:
    """Whether all dimensions behind the first become one."""
    axes = [op.attr(name) for name in _FLATTENING.get(op.type, ())]
    return bool(axes) and axes[0] == 1 and axes[1:] in ([], [-1], [3])


def _is_one_pixel(variable) -> bool:
    return len(variable.shape) == 4 and tuple(variable.shape[2:]) == (1, 1)
