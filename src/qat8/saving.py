"""The one way to save a program: as DIRECTORY/model.pdmodel and model.pdiparams, fit for oneDNN."""

from __future__ import annotations

from pathlib import Path

from qat8.engine import paddle


def save_model(program, feeds: list[str], fetches: list[str], executor, scope, directory: Path) -> None:
    """Write `program` with its inputs `feeds`, its outputs `fetches` and the parameters in `scope`."""
    block = program.global_block()
    with paddle.static.scope_guard(scope):
        # clip_extra=False: oneDNN's attributes are "extra" and would be stripped.
        paddle.static.save_inference_model(
            str(directory / "model"), [block.var(n) for n in feeds], [block.var(n) for n in fetches], executor,
            program=program, clip_extra=False,
        )  # fmt: skip
