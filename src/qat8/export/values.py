"""What the exporter reads of an operator: attributes with defaults, activations, parameters."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from qat8.errors import ModelError

_RELU = {"relu": ("relu", 0.0, 0.0), "relu6": ("clip", 0.0, 6.0)}


def refuse(op, what: str) -> NoReturn:
    """The engine has the operator, but not this form of it."""
    outputs = ", ".join(op.output_arg_names)
    raise ModelError(f"operator {op.type} that writes {outputs}: {what}", "a form that the engine computes",
                     "run this model with --testers=cpp")  # fmt: skip


def inputs(op, name: str) -> list[str]:
    return op.input(name) if name in op.input_names else []


def number(op, name: str, default):
    """An attribute; `default` where the operator has it not, or empty."""
    value = op.attr(name) if op.has_attr(name) else default
    return default if value is None else value


def inverse(op, name: str) -> float:
    """Paddle multiplies by its scales to quantize; oneDNN names what one step is worth. In float32, as Paddle divides.

    Raises:
        ModelError: a scale that is no positive number.
    """
    return float(inverses(op, [number(op, name, 1.0)])[0])


def inverses(op, scales: list[float]) -> np.ndarray:
    values = np.asarray(scales, np.float32)
    if not (np.isfinite(values).all() and (values > 0).all()):
        refuse(op, "a scale that is not a positive number")
    return np.float32(1) / values


def is_int8(op) -> bool:
    return number(op, "mkldnn_data_type", "float32") == "int8"


def activation(op) -> tuple[str, float, float]:
    """The activation that Paddle's fusions put behind an operator: word of the file's format, alpha, beta."""
    name = number(op, "fuse_activation", "") or number(op, "activation_type", "")
    if not name:
        return "", 0.0, 0.0
    return _RELU.get(name) or refuse(op, f"activation {name}")


class Values:
    """Parameters of a program, from its scope."""

    def __init__(self, scope) -> None:
        self.scope = scope
        self.unpacked: dict[str, np.ndarray] = {}

    def unpack(self, op) -> None:
        """Compute what `compact` put in front of an INT8 operator: float32 of int8 levels and their step."""
        if op.type == "cast":
            value = self._parameter(op, op.input("X")[0]).astype(np.float32)
        else:
            value = self.unpacked[op.input("X")[0]] * self._parameter(op, op.input("Y")[0])
        self.unpacked[op.output("Out")[0]] = value

    def _parameter(self, op, name: str) -> np.ndarray:
        variable = self.scope.find_var(name)
        return refuse(op, f"{name} is no parameter") if variable is None else np.array(variable.get_tensor())

    def __call__(self, op, names: list[str]) -> np.ndarray | None:
        """The one parameter in `names`, float32; None where there is none.

        Raises:
            ModelError: it is not finite, or not float32.
        """
        if not names:
            return None
        value = self.unpacked[names[0]] if names[0] in self.unpacked else self._parameter(op, names[0])
        if value.dtype != np.float32:
            refuse(op, f"{names[0]} is {value.dtype}, not float32")
        if not np.isfinite(value).all():
            refuse(op, f"{names[0]} is not finite")
        return value
