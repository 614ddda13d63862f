"""One training in several processes: what they add up, and how they find each other.

Every process holds the whole model and computes on its part of each batch. The gradients are added up within the update
program, between backward pass and optimizer, by Paddle's own collective operators over gloo; the little that is left
(ranges, losses, counts) is added up by `Group.reduce`. So all processes make the same update, and the model is the one
that a single process would train on the whole batch, up to the order of additions.

The processes learn who they are from the environment variables of `paddle.distributed.launch`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from qat8.engine import paddle
from qat8.errors import MachineError, StageError
from qat8.older_python import zip_strict

SHARE = "share"  # input of the update program: this process's part of the batch, float32 [1]
_FIND_SECONDS, _WAIT_SECONDS = 300, 3600


class PeerLost(StageError):
    """Another process of the training ended; that one knows why."""


@dataclass
class Group:
    """`rank` of `size` processes. One process alone is a group too, with nothing to add up."""

    rank: int = 0
    size: int = 1
    _programs: dict = field(default_factory=dict)

    def reduce(self, values: np.ndarray, how: str = "sum") -> np.ndarray:
        """`values` (any shape, the same in all processes) added up, or their greatest (how="max")."""
        values = np.asarray(values)
        if self.size == 1:
            return values
        if (how, values.dtype) not in self._programs:
            self._programs[how, values.dtype] = _reduction(how, values.dtype)
        executor, program, result = self._programs[how, values.dtype]
        (reduced,) = executor.run(program, {"values": values.reshape(-1)}, [result])
        return reduced.reshape(values.shape)

    def from_first(self, values: np.ndarray) -> np.ndarray:
        """The first process's `values` in all of them; shape and type must be the same."""
        return self.reduce(values if self.rank == 0 else np.zeros_like(values))

    def text_from_first(self, text: str) -> str:
        content = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
        length = int(self.from_first(np.array([len(content)], np.int64))[0])
        mine = content if self.rank == 0 else np.zeros(length, np.int64)
        return self.from_first(mine).astype(np.uint8).tobytes().decode()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Gloo tells that another process is gone by a RuntimeError without words."""
        try:
            yield
        except RuntimeError as e:
            if self.size > 1:
                raise PeerLost(f"rank {self.rank}: another process of this training is gone") from e
            raise


def join() -> Group:
    """The group that the environment names, connected; a group of one where it names none.

    Raises:
        MachineError: the others did not come.
    """
    rank, size = int(os.environ.get("PADDLE_TRAINER_ID", 0)), int(os.environ.get("PADDLE_TRAINERS_NUM", 1))
    if size == 1:
        return Group()
    paddle.enable_static()
    strategy = paddle.base.core.GlooParallelStrategy()
    strategy.rank, strategy.rank_num = rank, size
    address, _, port = os.environ["PADDLE_MASTER"].rpartition(":")
    strategy.ip_address, strategy.ip_port = address, int(port)
    strategy.iface = os.environ["GLOO_SOCKET_IFNAME"]
    strategy.init_seconds, strategy.run_seconds = _FIND_SECONDS, _WAIT_SECONDS
    try:
        paddle.base.core.GlooParallelContext(strategy).init()
    except (RuntimeError, ValueError) as e:
        raise MachineError(f"rank {rank} of {size} did not find the others at {address}:{port}") from e
    return Group(rank, size)


def _reduction(how: str, dtype: np.dtype):
    program = paddle.static.Program()
    with paddle.utils.unique_name.guard(f"reduce_{how}_"), paddle.static.program_guard(program):
        values = paddle.static.data("values", [-1], str(dtype))
        result = _all_reduce(program, values, how)
    return paddle.static.Executor(paddle.CPUPlace()), program, result.name


def _all_reduce(program, variable, how: str):
    # Not in place: an input that is fed must not be written.
    block = program.global_block()
    result = block.create_var(name=f"{variable.name}_all", shape=variable.shape, dtype=variable.dtype)
    block.append_op(
        type=f"c_allreduce_{how}", inputs={"X": [variable]}, outputs={"Out": [result]},
        attrs={"ring_id": 0, "use_calc_stream": True, "op_role": program._op_role},
    )  # fmt: skip
    return result


def add_up_gradients(program) -> None:
    """Put between `program`'s backward pass and its optimizer: each gradient, times SHARE, added up over all processes.

    The mean over all images is the sum of each process's mean times its part of the images. To be called after
    quant_aware, which would attach an observer to every operator that is added here.
    """
    block = program.global_block()
    optimize = int(paddle.base.core.op_proto_and_checker_maker.OpRole.Optimize)
    first = next(i for i, op in enumerate(block.ops) if int(op.attr("op_role")) & optimize)
    later = [(op.type, _ends(op, "input"), _ends(op, "output"), op.all_attrs()) for op in block.ops[first:]]
    for i in reversed(range(first, len(block.ops))):
        block._remove_op(i, sync=False)
    names = [inputs["Grad"][0] for _, inputs, _, _ in later if "Grad" in inputs]
    with paddle.utils.unique_name.guard("parallel_"), paddle.static.program_guard(program):
        sums = dict(zip_strict(names, _sums(program, [block.var(name) for name in names])))
    for kind, inputs, outputs, attributes in later:
        inputs = {slot: [sums.get(name, name) for name in found] for slot, found in inputs.items()}
        block.append_op(type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
    block._sync_with_cpp()


def _ends(op, kind: str) -> dict[str, list[str]]:
    """Slot -> variables of an operator's inputs or outputs; without those that it leaves empty."""
    slots = op.input_names if kind == "input" else op.output_names
    return {slot: names for slot in slots if (names := getattr(op, kind)(slot))}


def _sums(program, gradients: list) -> list[str]:
    # One operator for all: gloo pairs calls by their order, and an executor may run independent operators in any.
    with program._backward_role_guard():
        flat = paddle.concat([paddle.reshape(gradient, [-1]) for gradient in gradients])
        flat = _all_reduce(program, flat * paddle.static.data(SHARE, [1], "float32"), "sum")
        parts = paddle.split(flat, [int(np.prod(gradient.shape)) for gradient in gradients])
        shaped = [paddle.reshape(part, g.shape) for part, g in zip_strict(parts, gradients)]
        return [gradient.name for gradient in shaped]
