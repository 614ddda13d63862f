"""BatchNorm's running statistics with `batch_norm=train`, when several processes train together.

Each process normalises by its own part of a batch, as everywhere in data-parallel training (Paddle's sync_batch_norm
has no kernel for CPUs). What the saved model normalises by are the running statistics, and those are made the ones of
the whole batch. The mean of the processes' variances would not do: it leaves out how far their means lie apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qat8.older_python import zip_strict
from qat8.training.parallel import Group


@dataclass(frozen=True)
class Norm:
    """Variables of one BatchNorm; an update makes a statistic `momentum * old + (1 - momentum) * batch`."""

    mean: str
    variance: str
    momentum: float


def variables(norms: list[Norm]) -> list[str]:
    return [name for norm in norms for name in (norm.mean, norm.variance)]


def moved_by(program) -> list[Norm]:
    """The BatchNorms whose running statistics `program` moves, in an order that all processes share."""
    norms = (
        Norm(op.input("Mean")[0], op.input("Variance")[0], op.attr("momentum"))
        for op in program.global_block().ops
        if op.type == "batch_norm" and not op.attr("use_global_stats") and not op.attr("is_test")
    )
    return sorted(norms, key=lambda norm: norm.mean)


def of_all(
    group: Group, norms: list[Norm], before: list[np.ndarray], after: list[np.ndarray], share: float
) -> list[np.ndarray]:
    """The running statistics that one process would have that saw all images.

    `before` and `after` this process's step: mean and variance of each norm in turn, float32 [channels]; `share`: its
    part of the images. With m and v a part's mean and (biased) variance, the batch's are the sums of share * m and of
    share * (v + m^2), less the square of the first.
    """
    keep = [norm.momentum for norm in norms for _ in range(2)]
    old = [values.astype(np.float64) for values in before]
    own = [(new - k * was) / (1 - k) for new, k, was in zip_strict(after, keep, old)]
    means, squares = own[0::2], [v + m * m for m, v in zip_strict(own[0::2], own[1::2])]
    sums = np.split(group.reduce(share * np.concatenate(means + squares)), np.cumsum([len(m) for m in means * 2])[:-1])
    batch = []
    for mean, square in zip_strict(sums[: len(means)], sums[len(means) :]):
        batch += [mean, square - mean * mean]
    return [(k * was + (1 - k) * now).astype(np.float32) for k, was, now in zip_strict(keep, old, batch)]
