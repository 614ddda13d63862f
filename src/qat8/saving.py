"""The one way to save a program: as DIRECTORY/model.pdmodel and model.pdiparams, fit for oneDNN."""

from __future__ import annotations

from pathlib import Path

from qat8.engine import paddle
from qat8.errors import MachineError
from qat8.models.weights import lodtensor


def save_model(program, feeds: list[str], fetches: list[str], executor, scope, directory: Path) -> None:
    """Write `program` with its inputs `feeds`, its outputs `fetches` and the parameters in `scope`.

    Raises:
        MachineError: the parameters did not fit on the disk.
    """
    block = program.global_block()
    fetches = [_without_identities(block, name) for name in fetches]
    for kind in ("pdmodel", "pdiparams"):  # where that is refused Python says why, and Paddle does not
        (directory / f"model.{kind}").touch()
    # Names as in a fresh process: else the bytes depend on what was saved before.
    with paddle.static.scope_guard(scope), paddle.utils.unique_name.guard():
        # clip_extra=False: oneDNN's attributes are "extra" and would be stripped.
        paddle.static.save_inference_model(
            str(directory / "model"), [block.var(n) for n in feeds], [block.var(n) for n in fetches], executor,
            program=program, clip_extra=False,
        )  # fmt: skip
    _require_whole(directory / "model.pdmodel", directory / "model.pdiparams")
    _drop_identities(directory / "model.pdmodel")


def _drop_identities(path: Path) -> None:
    """Take out the `scale` operators of factor 1 that save_inference_model has put before the outputs.

    They copy the scores, and each costs a run as much as a small layer (docs/performance.md, the fixed cost).
    """
    program = paddle.static.deserialize_program(path.read_bytes())
    block = program.global_block()
    for op in [op for op in block.ops if _is_identity(op)]:
        users = [user for user in block.ops if user is not op and op.output("Out")[0] in user.input_arg_names]
        if all(user.type == "fetch" for user in users):
            for user in users:
                user.desc.set_input("X", op.input("X"))
            block._remove_op(block.ops.index(op))
    path.write_bytes(program.desc.serialize_to_string())


def _require_whole(program: Path, parameters: Path) -> None:
    """Paddle's C++ that writes the parameters does not look whether it could: a full disk cuts them off."""
    saved = paddle.static.deserialize_program(program.read_bytes())
    wanted = sum(paddle.static.io.is_persistable(variable) for variable in saved.list_vars())
    try:
        found = lodtensor.count(parameters) if wanted else 0
    except (ValueError, OSError) as e:
        found = str(e)
    if found != wanted:
        raise MachineError(f"{parameters} is not whole ({found}; {wanted} tensors)", "room on the disk for all of it",
                           "make room, then run again")  # fmt: skip


def _without_identities(block, name: str) -> str:
    """The variable behind the `scale` operators of factor 1 that every save_inference_model puts before its outputs.

    A model that is loaded and saved again would have one more each time, and each costs as much as a small layer.
    """
    producers = {output: op for op in block.ops for output in op.output_arg_names}
    op = producers.get(name)
    while op is not None and _is_identity(op):
        name = op.input("X")[0]
        op = producers.get(name) if op.output("Out")[0] != name else None
    return name


def _is_identity(op) -> bool:
    return op.type == "scale" and op.attr("scale") == 1 and op.attr("bias") == 0 and not op.input("ScaleTensor")
