"""The accuracy gate: passed, failed, or undecided because the photographs are too few."""

import numpy as np
import pytest
from test_benchmarking import SMALL, measured_of

from qat8.benchmarking import gate, summary
from qat8.benchmarking.summary import Subset

LIMIT = 0.005


def judged(n: int, gained: int, lost: int, wrong: int = 0, limit: float = LIMIT):
    """n images; INT8 is right on `gained` that FP32 has wrong, wrong on `lost` that it has right; both miss `wrong`."""
    labels = np.zeros(n, int)
    fp32, int8 = np.zeros(n, int), np.zeros(n, int)
    fp32[:gained] = 1
    int8[gained : gained + lost] = 1
    fp32[n - wrong :] = int8[n - wrong :] = 1
    return gate.judge("M", "s", {"fp32": fp32, "int8": int8}, labels, limit, 1000)


def test_no_loss_on_imagenets_validation_set_passes():
    found = judged(50_000, 800, 850)
    assert (found.outcome, found.top1_diff, found.images) == ("passed", -0.001, 50_000)
    assert found.interval[0] < -0.001 < found.interval[1]
    assert found.detail.startswith("-0.10 points of top-1 (95 % interval ")
    assert found.detail.endswith("on 50,000 images of 's': within a drop of 0.5")


def test_a_point_lost_on_imagenets_validation_set_fails():
    found = judged(50_000, 800, 1300)
    assert found.outcome == "failed" and found.interval[1] < -LIMIT and "more than a drop of 0.5" in found.detail


def test_near_the_limit_many_images_decide_by_the_point_estimate_as_mlperf_does():
    assert judged(50_000, 800, 1040).outcome == "passed"  # -0.48
    over = judged(50_000, 800, 1060)  # -0.52
    assert over.outcome == "failed" and over.interval[1] > -LIMIT


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (0, 1), (0, 3)])
def test_twenty_images_decide_nothing_and_the_detail_says_what_would(gained, lost):
    found = judged(20, gained, lost)
    assert found.outcome == "undecided" and "less than these photographs can tell" in found.detail


def test_even_few_images_decide_when_int8_is_ruined():
    assert judged(20, 0, 18).outcome == "failed"


def test_a_wide_limit_can_be_decided_on_few_images():
    assert judged(200, 0, 1, limit=0.05).outcome == "passed"


def test_labels_that_fp32_itself_does_not_know_decide_nothing():
    found = judged(5000, 0, 0, wrong=5000)
    assert found.outcome == "undecided" and "FP32 itself is right on 0.0%" in found.detail


def gates(subsets, n=4, **changes):
    pair = {p: ([1.0], {"predictions": [1] * n} | changes) for p in ("fp32", "int8")}
    return summary.gates(SMALL, measured_of(SMALL, **pair), np.ones(n, int), subsets, LIMIT)


def test_the_largest_subset_that_training_has_not_seen_is_judged():
    subsets = [Subset("a", 0, 1, "", False), Subset("b", 1, 2, "", False), Subset("c", 0, 4, "", True)]
    (found,) = gates(subsets)
    assert (found.model, found.subset, found.images) == ("M", "b", 2)


def test_without_independent_labels_or_classes_the_gate_is_undecided_and_says_why():
    (found,) = gates([Subset("c", 0, 4, "", True)])
    assert (found.outcome, found.subset) == ("undecided", None) and "training has not seen" in found.detail
    (found,) = gates([Subset("a", 0, 4, "", False)], predictions=[])
    assert found.outcome == "undecided" and "gives no classes" in found.detail
