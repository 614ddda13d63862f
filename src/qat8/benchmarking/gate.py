"""The accuracy gate: INT8 (BF16) may lose so many points of top-1 against FP32 and no more, if the images can tell.

MLPerf's inference rules ask for a share of the reference's accuracy on the whole validation set (99 % for image
classification), by the point estimate. On few photographs a point estimate is luck, so the interval has a say too.
"""

from __future__ import annotations

import numpy as np

from qat8.results import AccuracyGate
from qat8.statistics import paired_difference_interval

MAX_TOP1_DROP = 0.5  # points
LEAST_FP32 = 5  # times chance: below, FP32 itself does not know these labels


def judge(
    model: str, subset: str, predictions: dict[str, np.ndarray], labels: np.ndarray, max_drop: float, classes: int,
    precision: str = "int8",
) -> AccuracyGate:  # fmt: skip
    """One model on one subset.

    Args:
        predictions: precision -> top-1 class of each image, [n].
        labels: [n], independent of the models.
        max_drop: greatest loss allowed, a fraction of 1.
        classes: how many the labels are out of.
        precision: what is judged against fp32.
    """
    n = len(labels)
    right = {p: np.asarray(v) == labels for p, v in predictions.items()}
    narrow, fp32 = right[precision], right["fp32"]
    gained, lost = int((narrow & ~fp32).sum()), int((fp32 & ~narrow).sum())
    difference, interval = (gained - lost) / n, paired_difference_interval(gained, lost, n)
    outcome = _outcome(difference, interval, max_drop)
    if right["fp32"].mean() < LEAST_FP32 / classes:
        outcome, why = "undecided", f"FP32 itself is right on {right['fp32'].mean():.1%}: it was not trained for these"
    else:
        why = _words(outcome, difference, interval, max_drop, f"{n:,} images of {subset!r}")
    return AccuracyGate(model=model, precision=precision, max_top1_drop=max_drop, subset=subset, images=n,
                        top1_diff=difference, interval=interval, outcome=outcome, detail=why)  # fmt: skip


def without_labels(model: str, precision: str, max_drop: float, why: str) -> AccuracyGate:
    return AccuracyGate(model=model, precision=precision, max_top1_drop=max_drop, subset=None, images=0,
                        top1_diff=None, interval=None, outcome="undecided", detail=why)  # fmt: skip


def _outcome(difference: float, interval: tuple[float, float], max_drop: float) -> str:
    """An interval that lies on one side of the limit decides. One that straddles it decides by the point estimate, as
    MLPerf does, if it is narrow: no wider to either side than the limit itself."""
    low, high = interval
    if low >= -max_drop:
        return "passed"
    if high < -max_drop:
        return "failed"
    if (high - low) / 2 > max_drop:
        return "undecided"
    return "passed" if difference >= -max_drop else "failed"


def _words(outcome: str, difference: float, interval: tuple[float, float], max_drop: float, images: str) -> str:
    ends = (
        f"{difference * 100:+.2f} points of top-1 (95 % interval {interval[0] * 100:+.2f} to {interval[1] * 100:+.2f})"
    )
    limit = f"a drop of {max_drop * 100:g}"
    verdict = {
        "passed": f"within {limit}",
        "failed": f"more than {limit}",
        "undecided": f"{limit} is less than these photographs can tell; more of them, or a wider --max-top1-drop, can",
    }[outcome]
    return f"{ends} on {images}: {verdict}"
