"""Paddle predictors, one way to set them up, for checking and teaching; what is timed is the testers' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from qat8 import paddle_error, trial
from qat8.artifacts import model_files
from qat8.console import native_stderr_kept_back
from qat8.engine import paddle
from qat8.errors import ModelError

CACHE_CAPACITY = 10  # oneDNN primitives of so many input shapes are kept


def predictor(
    directory: Path, threads: int, native: bool = False, ours: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A function image float32 [n, 3, H, W] -> logits float32 [n, classes] of a saved model.

    `native` runs the program as it stands (Paddle's own QAT semantics); else oneDNN with all fusions, as testers do.
    `ours`: this process wrote it just now, so that it need not be tried (`trial`).

    Raises:
        ModelError: not a model that Paddle can load.
    """
    program, parameters = model_files(directory)
    if not ours:
        trial.require_sound(directory, (program, parameters), lambda: _try(directory, threads, native))
    config = paddle.inference.Config(str(program), str(parameters))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.switch_ir_optim(not native)
    config.enable_memory_optim()
    if not native:
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(CACHE_CAPACITY)
    try:
        with native_stderr_kept_back():
            engine = paddle.inference.create_predictor(config)
        source = engine.get_input_handle(engine.get_input_names()[0])
        sink = engine.get_output_handle(engine.get_output_names()[0])
    except (RuntimeError, OSError, ValueError, IndexError) as e:
        raise ModelError(f"{directory}: Paddle cannot load it ({paddle_error.brief(str(e))})") from e

    def run(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x)
        try:
            source.reshape(list(x.shape))
            source.copy_from_cpu(x)
            engine.run()
            return sink.copy_to_cpu()
        except (RuntimeError, OSError, ValueError, IndexError) as e:
            raise ModelError(f"{directory}: Paddle cannot run it ({paddle_error.brief(str(e))})") from e

    return run


def _try(directory: Path, threads: int, native: bool) -> None:
    """Load the model and run it on one image."""
    run = predictor(directory, threads, native, ours=True)
    _, *sides = _input_shape(directory)
    run(np.zeros((1, *sides), np.float32))


def _input_shape(directory: Path) -> list[int]:
    program = paddle.base.core.ProgramDesc(model_files(directory)[0].read_bytes())
    block = program.block(0)
    (feed,) = [op for op in map(block.op, range(block.op_size())) if op.type() == "feed"]
    return block.find_var(feed.output("Out")[0].encode()).shape()
