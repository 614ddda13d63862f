import pytest

from qat8.report import text


@pytest.mark.parametrize(
    ("value", "decimals", "expected"),
    [(81.25, 1, "81.3"), (2.675, 2, "2.68"), (-0.05, 1, "-0.1"), (-0.04, 1, "0.0"), (1e-7, 2, "0.00")],
)
def test_a_half_is_rounded_away_from_zero_as_at_school(value, decimals, expected):
    assert text.fixed(value, decimals) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.21, "+0.21"), (-0.07, "-0.07"), (0.0, "0.00"), (-0.001, "0.00")])
def test_a_difference_shows_its_sign_unless_it_is_nil(value, expected):
    assert text.signed(value, 2) == expected


@pytest.mark.parametrize(
    ("fraction", "images", "expected"),
    [(0.975, 120, "97.5 %"), (109 / 120, 120, "90.8 %"), (0.7078, 50_000, "70.78 %"), (1.0, 20, "100.0 %")],
)
def test_percents_have_the_decimals_that_the_number_of_images_supports(fraction, images, expected):
    assert text.percent(fraction, images) == expected


def test_percents_are_rounded_as_decimals_and_not_as_binary_numbers():
    # 0.285 * 100 is 28.499999999999996
    assert text.percent(0.0285, 50_000) == "2.85 %"
    assert text.fixed(text._scaled(0.285), 0) == "29"


def test_what_was_not_measured_says_so():
    for missing in (text.percent(None, 20), text.points(None, 20), text.interval(None, 20), text.speed(None)):
        assert missing == "not measured"
    assert text.ratio(None) == "not measured"


def test_speeds_keep_about_four_digits():
    assert text.speed(476.04) == "476.0"
    assert text.speed(26.84) == "26.84"


def test_lists_read_like_a_sentence():
    assert text.listed(["a"]) == "a"
    assert text.listed(["a", "b", "c"]) == "a, b and c"


def test_free_form_values_become_words():
    assert text.scalar(True) == "yes"
    assert text.scalar(None) == "unknown"
    assert text.scalar({"L1d": "48K", "L2": ["1M", "2M"]}) == "L1d: 48K, L2: 1M, 2M"


def test_testers_and_peers_have_names_for_people_and_others_keep_their_own():
    assert text.tester("cpp") == "C++"
    assert text.tester("openvino") == "OpenVINO"
    assert text.tester("tvm") == "tvm"
