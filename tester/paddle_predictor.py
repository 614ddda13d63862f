"""A Paddle predictor for image classification on oneDNN, with the settings of predictor.cc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8 import paddle_error
from qat8.errors import DataError, MachineError, ModelError, QatError, VerificationError
from qat8.older_python import zip_strict

CACHE_CAPACITY = 10  # shapes whose oneDNN primitives are kept: the batch, and the last partial batch
# The oneDNN passes rename conv2d to fused_conv2d; without that name no convolution would be quantized.
INT8_OPS = {"conv2d", "depthwise_conv2d", "fused_conv2d", "pool2d"}


@contextmanager
def paddle_errors(doing: str) -> Iterator[None]:
    """Turn what Paddle raises into one line. `doing` says what was tried with the model."""
    try:
        yield
    except QatError:
        raise
    except MemoryError as e:
        raise MachineError(f"{doing}: out of memory", next_step="a smaller --batch_size") from e
    except Exception as e:
        brief = paddle_error.brief(str(e))
        raise (MachineError if brief.startswith("ResourceExhausted") else ModelError)(f"{doing}: {brief}") from e


def model_files(directory: Path) -> tuple[Path, Path | None]:
    """Program and parameters; None for upstream's one file per parameter.

    Raises:
        ModelError: no model there, or more than one.
    """
    if not directory.is_dir():
        raise ModelError(f"{directory}: not a directory", "the directory of a model", "give --infer_model=DIR")
    programs = list(directory.glob("*.pdmodel"))
    if len(programs) > 1:
        raise ModelError(f"{directory}: more than one .pdmodel file", "one model")
    if programs:
        params = programs[0].with_suffix(".pdiparams")
        if not params.exists():
            raise ModelError(f"{params}: no such file", f"the parameters of {programs[0]}")
        return programs[0], params
    program, params = directory / "__model__", directory / "__params__"
    if not program.exists():
        raise ModelError(
            f"{directory}: no model", "NAME.pdmodel and NAME.pdiparams, or __model__",
            "`inv train` and `inv convert` write models",
        )  # fmt: skip
    return program, params if params.exists() else None


@dataclass
class Output:
    """What one batch gives: scores [images, classes], or the model's own accuracy."""

    scores: np.ndarray | None = None
    top1: float = 0.0
    top5: float = 0.0


class Predictor:
    """`run` lends the input to Paddle, as predictor.cc does, runs, copies the output."""

    def __init__(self, model: str, height: int, width: int, num_threads: int, accuracy: bool, online: bool,
                 bf16: bool = False) -> None:  # fmt: skip
        self._model, self._sides, self._accuracy = model, (height, width), accuracy
        program, params = model_files(Path(model))
        with paddle_errors(f"{model}: cannot load the model"):
            self._load(program, params, num_threads, online, bf16)

    def _load(self, program: Path, params: Path | None, num_threads: int, online: bool, bf16: bool) -> None:
        from qat8.engine import paddle

        description = paddle.base.core.ProgramDesc(
            program.read_bytes()
        )  # first: the predictor would crash over a damaged one
        # As bytes, because a path need not be UTF-8.
        config = paddle.inference.Config(*map(os.fsencode, (program, params) if params else (program.parent,)))
        config.disable_gpu()
        config.switch_ir_optim(True)
        config.enable_mkldnn()
        config.set_mkldnn_cache_capacity(CACHE_CAPACITY)
        config.enable_memory_optim()
        config.set_cpu_math_library_num_threads(num_threads)
        config.disable_glog_info()
        if online:
            config.enable_mkldnn_int8(INT8_OPS)
        if bf16:
            config.enable_mkldnn_bfloat16()
        self._predictor = paddle.inference.create_predictor(config)
        self._inputs, self._outputs = self._predictor.get_input_names(), self._predictor.get_output_names()
        self._check_inputs(description)
        self._image, self._place = paddle.base.core.LoDTensor(), paddle.CPUPlace()
        self._handles = [self._predictor.get_input_handle(name) for name in self._inputs]
        self._results = [self._predictor.get_output_handle(name) for name in self._outputs]

    def _check_inputs(self, program) -> None:
        inputs, outputs = (2, 3) if self._accuracy else (1, 1)
        if len(self._inputs) != inputs or len(self._outputs) < outputs:
            expected = (
                "image and label, and outputs 1 and 2 to be top-1 and top-5, as --with_accuracy_layer=true says"
                if self._accuracy
                else "one input, the image, as --with_accuracy_layer=false says"
            )
            other_way = not self._accuracy and len(self._inputs) == 2 and len(self._outputs) >= 3
            hint = "--with_accuracy_layer=" + ("true" if other_way else "false")
            raise ModelError(
                f"{self._model}: the model takes {len(self._inputs)} inputs ({', '.join(self._inputs)}) and gives "
                f"{len(self._outputs)} outputs", expected, hint if other_way or self._accuracy else "",
            )  # fmt: skip
        shape = program.block(0).find_var(self._inputs[0].encode()).shape()
        ours = (3, *self._sides)
        if len(shape) != 4 or any(side not in (-1, our) for side, our in zip_strict(shape[1:], ours)):
            raise DataError(
                f"the data file's images are {' x '.join(map(str, ours))}",
                f"{' x '.join(map(str, shape[1:]))} for input '{self._inputs[0]}' of {self._model}",
                "preprocess the images for this model",
            )

    def run(self, images: np.ndarray, labels: np.ndarray) -> Output:
        """Predict float32 [n, 3, H, W]; int64 [n] `labels` are used only with an accuracy layer."""
        with paddle_errors(f"{self._model}: cannot run the model"):
            self._image.set(images, self._place, True)  # without a copy of 30 MB for 50 images
            self._handles[0].share_external_data(self._image)
            if self._accuracy:
                self._handles[1].reshape((len(labels), 1))
                self._handles[1].copy_from_cpu(labels.reshape(-1, 1))
            self._predictor.run()
            if self._accuracy:
                return Output(None, self._own_accuracy(1, "top-1"), self._own_accuracy(2, "top-5"))
            scores = self._results[0].copy_to_cpu()
            if scores.ndim != 2 or scores.shape[0] != len(images) or scores.shape[1] < 1:
                raise ModelError(
                    f"{self._model}: output '{self._outputs[0]}' has shape {list(scores.shape)}",
                    f"[{len(images)}, classes], a classifier",
                )
            return Output(scores)

    def _own_accuracy(self, index: int, name: str) -> float:
        value = self._results[index].copy_to_cpu()
        if value.size != 1:
            raise ModelError(f"{self._model}: output {index} is not one number", name)
        if not 0 <= value.item() <= 1:
            raise VerificationError(
                f"{self._model}: output {index} is {value.item()}", f"{name} accuracy between 0 and 1"
            )
        return value.item()
