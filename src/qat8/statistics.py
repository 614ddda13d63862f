"""The few statistics that results and reports need; scipy does the ones that have a name.

Sources:
    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22, 209-212.
    Newcombe, R. G. (1998), Two-sided confidence intervals for the single proportion: comparison of seven methods,
        Statistics in Medicine 17, 857-872: why Wilson's interval and not the usual p +- 1.96 sqrt(p(1-p)/n), which
        is too narrow for few images and empty at 0 % and 100 %. Its method 3 is the one used here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest


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
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])
