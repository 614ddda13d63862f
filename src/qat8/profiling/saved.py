"""Which operators of the saved program an executed one stands for: Paddle fuses some when it loads a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qat8.profiling.log import Operator

_ENDS = ("feed", "fetch")


@dataclass(frozen=True)
class SavedOperator:
    type: str
    inputs: list[str]
    outputs: list[str]


class SavedProgram:
    """The operators of a program's first block, by their number and by what they write."""

    def __init__(self, operators: list[SavedOperator], parameters: set[str]) -> None:
        self._operators, self._parameters = operators, parameters
        self._writer = {name: number for number, op in enumerate(operators) for name in op.outputs}

    @classmethod
    def read(cls, path: Path) -> SavedProgram:
        """From a .pdmodel file."""
        from qat8.engine import paddle

        program = paddle.base.core.ProgramDesc(Path(path).read_bytes())  # what is below lives as long as this
        block = program.block(0)
        ops = [block.op(number) for number in range(block.op_size())]
        operators = [SavedOperator(op.type(), op.input_arg_names(), op.output_arg_names()) for op in ops]
        return cls(operators, {v.name() for v in block.all_vars() if v.persistable()})

    def is_parameter(self, name: str) -> bool:
        """Whether a variable is one of the file's parameters, or what Paddle folded parameters into."""
        return name.startswith("fuse_conv_bn/") or name in self._parameters

    def stands_for(self, executed: Operator) -> list[str]:
        """`NUMBER TYPE` of each saved operator between the executed one's outputs and its inputs, in their order.

        Empty when no output of the executed operator is a variable of the saved program: Paddle made it up.
        """
        known, found = {name for name, _ in executed.inputs}, set()
        pending = [name for name, _ in executed.outputs]
        while pending:
            number = self._writer.get(pending.pop())
            if number is None or number in found or self._operators[number].type in _ENDS:
                continue
            found.add(number)
            pending += [name for name in self._operators[number].inputs if name not in known]
        return [f"{number} {self._operators[number].type}" for number in sorted(found)]
