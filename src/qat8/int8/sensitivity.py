"""What quantizing each layer alone costs, measured with the INT8 kernels that the whole model would run.

Each layer's model comes out of the same passes as the real one, with every other layer left in FP32, with the FP32
model's own weights (`fp32_weights`). A model with no layer quantized is measured, too: it is the FP32 model again,
unless the two models' names differ, so that the weights stay rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from qat8 import artifacts, datafile
from qat8.console import Bar, say
from qat8.errors import VerificationError
from qat8.int8 import fp32_weights, inspection, passes, selection
from qat8.prediction import predictor
from qat8.saving import save_model

BATCH = 20


@dataclass(frozen=True)
class Score:
    """Of a model on the images of a data file: top-1 and agreement with FP32 as fractions of 1, and the mean
    divergence KL(FP32 || model) of the softmaxes in nats."""

    top1: float
    agreement: float
    divergence: float


@dataclass(frozen=True)
class LayerScore:
    layer: str
    operator: str
    score: Score


@dataclass(frozen=True)
class Sensitivity:
    """`layers` in the model's order; `none` and `every`: no layer and every layer quantized."""

    images: int
    fp32: Score
    none: Score
    every: Score
    layers: list[LayerScore]

    def order(self) -> list[str]:
        """Layers' names, the most sensitive first: the one whose quantization moves the outputs most."""
        return [one.layer for one in sorted(self.layers, key=lambda one: -one.score.divergence)]


class Judge:
    """Scores models on a data file against the FP32 model's outputs, which are computed once."""

    def __init__(self, fp32: Path, data: Path, threads: int) -> None:
        self._data, self._threads = data, threads
        with datafile.Reader(data) as reader:
            self.images, self._labels = len(reader), reader.labels.copy()
        self._wanted = self._log_probabilities(fp32)
        self.fp32 = self._score(self._wanted)

    def score(self, model: Path) -> Score:
        """Of a model that this process has just written."""
        return self._score(self._log_probabilities(model, ours=True))

    def _log_probabilities(self, model: Path, ours: bool = False) -> np.ndarray:
        run = predictor(model, self._threads, ours=ours)
        with datafile.Reader(self._data) as reader:
            logits = np.concatenate([run(x) for x, _ in reader.batches(BATCH)])
        return log_softmax(logits.astype(np.float64), axis=1)

    def _score(self, found: np.ndarray) -> Score:
        divergence = (np.exp(self._wanted) * (self._wanted - found)).sum(1).mean()
        agreement, top1 = (found.argmax(1) == of for of in (self._wanted.argmax(1), self._labels))
        return Score(float(top1.mean()), float(agreement.mean()), float(divergence))


class Candidates:
    """INT8 models of one QAT model, each with other layers quantized; made, judged, thrown away."""

    def __init__(self, qat: Path, fp32: Path, ops: set[str], judge: Judge, reduced: bool = False) -> None:
        """`qat` and `fp32`: PREFIX.pdmodel and PREFIX.pdiparams; `reduced`: see `passes.convert`."""
        self._prefix, self._ops, self._judge, self._reduced = str(qat), ops, judge, reduced
        self._fp32 = passes.load(str(fp32))
        self.rounded: list[str] = []  # of the last model: layers in FP32 whose own weights could not be had

    def score(self, wanted: selection.Wanted) -> tuple[Score, list[tuple[str, str]]]:
        """The score with the `wanted` layers in INT8, and (layer, operator) of those that became it."""
        with artifacts.scratch() as name:
            loaded = passes.load(self._prefix)
            self.rounded = fp32_weights.put_back(loaded.program, loaded.scope, self._fp32.scope, wanted)
            program = passes.convert(loaded, self._ops, wanted, self._reduced)
            save_model(program, loaded.feeds, loaded.fetches, loaded.executor, loaded.scope, name)
            ops = [op for op in program.global_block().ops if inspection.is_int8(op) and _has_weights(op)]
            layers = [(selection.layer_name(op.input_arg_names, op.output_arg_names), op.type) for op in ops]
            return self._judge.score(name), layers


def _has_weights(op) -> bool:
    """Pooling and the like follow their inputs; a layer is what has weights of its own."""
    return any(".w_" in name for name in op.input_arg_names)


def analyse(candidates: Candidates, judge: Judge) -> Sensitivity:
    """Measure every layer alone.

    Raises:
        VerificationError: no layer became INT8.
    """
    every, layers = candidates.score(lambda _: True)
    if not layers:
        raise VerificationError("no layer became INT8", "at least one", "conv2d must be in --quantized-ops")
    none, _ = candidates.score(lambda _: False)
    if candidates.rounded:
        say(f"  {len(candidates.rounded)} layers keep their rounded weights: the FP32 model has none of their names")
    found = []
    with Bar("layers", len(layers)) as bar:
        for layer, operator in layers:
            score, _ = candidates.score(lambda name, alone=layer: name == alone)
            found.append(LayerScore(layer, operator, score))
            bar.advance(note=layer)
    return Sensitivity(judge.images, judge.fp32, none, every, found)
