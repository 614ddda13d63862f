"""Behind ReLU all values are positive, and oneDNN stores them as uint8 with 255 levels; QAT must simulate just that.

paddleslim quantizes every activation to int8's 127 levels per sign, so behind ReLU QAT would simulate half of the
resolution that INT8 has, and a conversion faithful to it would throw half of uint8 away. A sign and 8 bits for the
value are 9 bits with 255 levels per sign: for values that are never negative, `bit_length` 9 of a fake_quantize
operator is uint8 exactly. So training writes 9 there, and conversion reads it as "unsigned".

Not so behind a residual addition: the convolution that adds it writes the residual's type, and a shortcut with a
convolution is signed, so all sums down the line are int8 (`passes`, 5).
"""

from __future__ import annotations

_NEVER_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid", "softmax")
_KEEPS_SIGN = ("pool2d", "dropout", "flatten_contiguous_range", "reshape2", "transpose2", "concat")
UNSIGNED_BITS = 9


def _activation_quantizers(program):
    return [op for op in program.global_block().ops if op.type.startswith("fake_quantize") and op.has_attr("is_test")]


def widen(program) -> int:
    """Give every activation quantizer behind ReLU 255 levels, in place; returns how many there are.

    Works on programs from paddleslim's quant_aware and from its convert alike.
    """
    block = program.global_block()
    producers = {name: op for op in block.ops for name in op.output_arg_names}

    def is_sum(name: str) -> bool:
        op = producers.get(name)
        return op is not None and op.type == "elementwise_add" and not block.var(op.input("Y")[0]).persistable

    def never_negative(name: str) -> bool:
        op = producers.get(name)
        if op is None:
            return False
        if op.type in _NEVER_NEGATIVE:
            # Behind a residual oneDNN writes the residual's type, which is signed somewhere along the shortcuts.
            return not is_sum(op.input("X")[0])
        if op.type.startswith("fake_quantize_dequantize"):
            return never_negative(op.input("X")[0])
        return op.type in _KEEPS_SIGN and all(map(never_negative, op.input("X")))

    scales = set()
    for op in _activation_quantizers(program):
        if never_negative(op.input("X")[0]):
            op._set_attr("bit_length", UNSIGNED_BITS)
            scales |= set(op.output("OutScale"))
    for op in block.ops:
        _widen_dequantizer(op, scales)
    return len(scales)


def _widen_dequantizer(op, scales: set[str]) -> None:
    """A dequantizer divides by the levels of what it undoes: of the activation, or of activation times weight."""
    if op.type == "fake_channel_wise_dequantize_max_abs" and scales & set(op.input("Scales")):
        op._set_attr("quant_bits", [op.attr("quant_bits")[0], UNSIGNED_BITS])
    elif op.type == "fake_dequantize_max_abs" and scales & set(op.input("Scale")):
        signed = {127.0: 255.0, 127.0 * 127.0: 127.0 * 255.0}
        op._set_attr("max_range", signed.get(op.attr("max_range"), op.attr("max_range")))


def narrow(program) -> set[str]:
    """Undo `widen` in a program that is about to be converted; returns the names of the unsigned variables.

    Paddle's conversion passes take 8 bits only; that a variable is unsigned they are told apart.
    """
    names = set()
    for op in _activation_quantizers(program):
        if op.attr("bit_length") == UNSIGNED_BITS:
            names.add(op.input("X")[0])
            op._set_attr("bit_length", 8)
    return names
