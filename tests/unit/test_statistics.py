import pytest

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
