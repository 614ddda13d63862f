"""The few statistics that results and reports need; scipy does the ones that have a name.

Sources:
    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    Newcombe, R. G. (1998), Two-sided confidence intervals for the single proportion: comparison of seven methods,
        Statistics in Medicine 17, 857-872: why Wilson's interval and not the usual p +- 1.96 sqrt(p(1-p)/n), which
        is too narrow for few images and empty at 0 % and 100 %. Its method 3 is the one used here.
    Bonett, D. G. and Price, R. M. (2012), Adjusted Wald confidence interval for a difference of binomial proportions
        based on paired data, Journal of Educational and Behavioral Statistics 37, 479-488.
    Efron, B. and Tibshirani, R. J. (1993), An Introduction to the Bootstrap, chapter 13: the percentile interval.
    Welch, B. L. (1947), The generalization of "Student's" problem, Biometrika 34, 28-35.
    Cliff, N. (1993), Dominance statistics: ordinal analyses to answer ordinal questions, Psych. Bulletin 114, 494-509.
    Benjamini, Y. and Hochberg, Y. (1995), Controlling the false discovery rate, JRSS B 57, 289-300.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, bootstrap, false_discovery_control, norm, ttest_ind

from qat8.older_python import zip_strict

RESAMPLES = 9999


class Spread(NamedTuple):
    """A median with the smallest and the largest of the values it stands for."""

    median: float
    min: float
    max: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval, without continuity correction, of the share `successes / n`; both ends in [0, 1].

    Raises:
        ValueError: no trials, or successes outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials: no interval")
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    return float(statistics.median(values))


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), float(min(values)), float(max(values)))


def paired_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """The ratios of repetitions that were measured side by side, pair by pair.

    A ratio of two medians would mix repetitions taken at different times; what slowed the machine for a while slowed
    both halves of a pair, and falls out of the pair's ratio.

    Raises:
        ValueError: the two do not have the same number of repetitions, or none.
    """
    return spread([a / b for a, b in zip_strict(numerator, denominator)])


def bootstrap_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """The percentile bootstrap interval of the median; None for fewer than three values, which say nothing of spread.

    With n values it cannot be surer than "smallest to largest", which holds the median with probability 1 - 2^(1-n):
    75 % for three, 93.75 % for five. It speaks of the repetitions of one run, not of what differs between runs.
    """
    if len(values) < 3:
        return None
    if min(values) == max(values):
        return float(values[0]), float(values[0])
    # random_state: SciPy's newer name for it, rng, is not in the version that Python 3.9 and 3.10 get.
    found = bootstrap(
        (np.asarray(values, float),), np.median, n_resamples=RESAMPLES, confidence_level=confidence,
        method="percentile", random_state=np.random.default_rng(8),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def paired_difference_interval(gained: int, lost: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bonett and Price's interval of a difference of two shares of the same n: `gained` - `lost` over n.

    Args:
        gained: wrong before, right after. lost: right before, wrong after.
    """
    if n < 1 or min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost of {n}: no interval")
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = norm.ppf((1 + confidence) / 2) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def percentiles(values: Sequence[float]) -> list[float]:
    """The 0th to the 100th by the nearest rank, so that each is a value that was measured."""
    return [float(v) for v in np.percentile(np.asarray(values, float), range(101), method="inverted_cdf")]


class Change(NamedTuple):
    """From the values `before` to the values `after`."""

    relative: float  # of the medians: 0.1 is 10 % more
    p_value: float | None  # two-sided; None for fewer than three values on a side
    cliffs_delta: float  # share of pairs in which after is greater, less the share in which it is smaller; -1 to 1


def change(before: Sequence[float], after: Sequence[float]) -> Change:
    """Welch's t-test on the logarithms (a change is a factor), and an effect size that assumes no distribution.

    A permutation test assumes less, but with five values on a side it cannot give a p-value below 0.008, which is lost
    as soon as a handful of configurations are compared at once.
    """
    if not before or not after:
        raise ValueError("no values to compare")
    a, b = np.asarray(before, float), np.asarray(after, float)
    greater = float(np.sign(b[:, None] - a[None, :]).mean())
    relative = median(after) / median(before) - 1
    if min(len(a), len(b)) < 3:
        return Change(relative, None, greater)
    if np.ptp(a) == np.ptp(b) == 0:  # no scatter at all: no test is needed, and none can be computed
        return Change(relative, float(a[0] == b[0]), greater)
    return Change(relative, float(ttest_ind(np.log(b), np.log(a), equal_var=False).pvalue), greater)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons, so that of all that are called a change 5 % are expected to be none."""
    return [float(p) for p in false_discovery_control(p_values)] if p_values else []
