import numpy as np
import pytest

from qat8 import statistics
from qat8.statistics import Spread, median, paired_ratios, spread, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_that_of_newcombe_1998_table_1_method_3(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_twenty_images_leave_an_interval_of_a_third_of_the_scale():
    low, high = wilson_interval(16, 20)
    assert high - low > 0.33


def test_the_interval_of_all_right_ends_at_one_and_has_a_width():
    low, high = wilson_interval(20, 20)
    assert low < 0.85
    assert high == 1.0


def test_the_interval_is_symmetric_in_successes_and_failures():
    low, high = wilson_interval(117, 120)
    assert wilson_interval(3, 120) == pytest.approx((1 - high, 1 - low))


def test_a_higher_confidence_gives_a_wider_interval():
    narrow, wide = wilson_interval(90, 100, 0.90), wilson_interval(90, 100, 0.99)
    assert wide[0] < narrow[0]
    assert wide[1] > narrow[1]


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 10), (11, 10)])
def test_impossible_counts_have_no_interval(successes, n):
    with pytest.raises(ValueError, match="no interval"):
        wilson_interval(successes, n)


def test_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert median([4, 1, 3, 2]) == 2.5
    assert spread([4, 1, 3, 2]) == Spread(2.5, 1, 4)


def test_paired_ratios_do_not_mix_repetitions():
    # The machine was twice as slow in the second repetition; the ratio was 3 all the time.
    assert paired_ratios([300, 150, 300], [100, 50, 100]) == Spread(3, 3, 3)


def test_repetitions_that_are_not_paired_have_no_ratio():
    with pytest.raises(ValueError, match="zip"):
        paired_ratios([1, 2], [1])


# Intervals by resampling, of paired shares, and the test of a change.


def test_the_bootstrap_interval_of_few_values_is_their_range_and_of_two_none():
    assert statistics.bootstrap_interval([2.0, 3.0]) is None
    assert statistics.bootstrap_interval([2.0, 2.5, 3.0]) == (2.0, 3.0)
    assert statistics.bootstrap_interval([2.0, 2.1, 2.2, 2.3, 3.0]) == (2.0, 3.0)
    assert statistics.bootstrap_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_the_bootstrap_interval_of_many_values_narrows_and_is_the_same_each_time():
    values = [2 + i / 100 for i in range(100)]
    low, high = statistics.bootstrap_interval(values)
    assert 2.2 < low < 2.495 < high < 2.8
    assert statistics.bootstrap_interval(values) == (low, high)


def test_the_paired_interval_is_bonett_and_prices():
    # By hand: p = 7/102 and 3/102, sum 10/102, difference 4/102; se = sqrt((10/102 - (4/102)^2) / 102) = 0.030754...
    low, high = statistics.paired_difference_interval(6, 2, 100)
    assert low == pytest.approx(0.039216 - 1.959964 * 0.030755, abs=1e-5)
    assert high == pytest.approx(0.039216 + 1.959964 * 0.030755, abs=1e-5)
    low, high = statistics.paired_difference_interval(0, 0, 20)
    assert low == -high and high > 0.05  # nothing seen is not nothing there


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_counts_have_no_paired_interval(gained, lost, n):
    with pytest.raises(ValueError, match="no interval"):
        statistics.paired_difference_interval(gained, lost, n)


def test_percentiles_are_values_that_were_measured():
    found = statistics.percentiles([5.0, 1.0, 3.0])
    assert len(found) == 101 and set(found) == {1.0, 3.0, 5.0} and (found[0], found[50], found[100]) == (1, 3, 5)


def test_a_clear_change_has_a_small_p_value_and_full_effect():
    found = statistics.change([1.0, 1.01, 0.99, 1.0, 1.02], [1.2, 1.21, 1.19, 1.22, 1.2])
    assert found.relative == pytest.approx(0.2) and found.cliffs_delta == 1 and found.p_value < 1e-5


def test_values_of_the_same_source_are_no_change():
    found = statistics.change([1.0, 1.1, 0.9, 1.05], [1.02, 0.95, 1.08, 0.99])
    assert found.p_value > 0.5 and abs(found.cliffs_delta) < 0.5


def test_of_changes_that_are_none_one_in_twenty_is_called_one():
    random = np.random.default_rng(4)
    draws = random.lognormal(1, 0.05, (2000, 2, 5))
    share = np.mean([statistics.change(list(a), list(b)).p_value < 0.05 for a, b in draws])
    assert 0.03 < share < 0.065


def test_two_values_test_nothing_and_values_without_scatter_need_no_test():
    assert statistics.change([1.0, 2.0], [3.0, 4.0]).p_value is None
    assert statistics.change([2.0] * 3, [2.0] * 3) == (0, 1, 0)
    assert statistics.change([2.0] * 3, [1.0] * 3) == (-0.5, 0, -1)
    with pytest.raises(ValueError, match="no values"):
        statistics.change([], [1.0])


def test_several_comparisons_are_adjusted_and_none_is_none():
    assert statistics.adjusted([0.01, 0.04, 0.04]) == pytest.approx([0.03, 0.04, 0.04])
    assert statistics.adjusted([]) == []
