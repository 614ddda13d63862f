import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8.report import figures
from qat8.results import Peak


def test_each_configuration_is_one_row_with_both_precisions_and_its_ratio():
    rows = figures.speed_rows(fixture.make_results())
    assert len(rows) == len(fixture.SETTINGS) * 2
    assert all(row.fp32.precision == "fp32" and row.int8.precision == "int8" and row.comparison for row in rows)


def test_rows_begin_with_the_tutorials_setting_and_the_cpp_tester():
    first = figures.speed_rows(fixture.make_results(testers=("python", "cpp")))[0]
    assert (first.tester, first.threads, first.batch_size) == ("cpp", 1, 50)


def test_the_tutorial_stands_beside_single_thread_rows_only():
    for row in figures.speed_rows(fixture.make_results()):
        assert len(row.tutorial) == (2 if row.threads == 1 else 0)


def test_a_precision_that_did_not_run_leaves_its_place_empty():
    results = fixture.make_results()
    only_fp32 = results.model_copy(
        update={"runs": [run for run in results.runs if run.precision == "fp32"], "comparisons": []}
    )
    row = figures.speed_rows(only_fp32)[0]
    assert row.int8 is None
    assert row.comparison is None
    assert figures.headline_row([row], "MobileNetV1") is None


def test_runs_of_several_instances_do_not_borrow_the_ratio_of_one():
    results = fixture.make_results()
    shared = [run.model_copy(update={"instances": 2}) for run in results.runs]
    rows = figures.speed_rows(results.model_copy(update={"runs": shared}))
    assert all(row.comparison is None and not row.tutorial for row in rows)


def test_the_headline_takes_cpp_one_thread_and_the_batch_next_to_fifty():
    rows = figures.speed_rows(fixture.make_results())
    row = figures.headline_row(rows, "MobileNetV1")
    assert (row.tester, row.threads, row.batch_size) == ("cpp", 1, 50)


def test_without_cpp_the_headline_takes_python():
    rows = figures.speed_rows(fixture.make_results(testers=("python",)))
    assert figures.headline_row(rows, "MobileNetV1").tester == "python"


def test_testers_are_compared_pair_by_pair():
    rows = figures.tester_rows(fixture.make_results())
    assert len(rows) == len(fixture.SETTINGS) * 2
    assert all(row.ratio.min < 1 < row.ratio.max and not row.differ for row in rows)


def test_a_steady_difference_between_testers_counts_from_one_percent():
    results = fixture.make_results()
    for factor, differ in ((1.002, False), (1.05, True)):
        python = [run for run in results.runs if run.tester == "python"][:2]
        cpp = [
            run.model_copy(update={"tester": "cpp", "repetitions": [factor * r for r in run.repetitions]})
            for run in python
        ]
        rows = figures.tester_rows(results.model_copy(update={"runs": cpp + python}))
        assert [row.differ for row in rows] == [differ, differ]


def test_one_tester_alone_makes_no_comparison():
    assert figures.tester_rows(fixture.make_results(testers=("cpp",))) == []


def test_accuracy_over_the_whole_file_leaves_shorter_runs_out():
    results = fixture.make_results()
    short = results.runs[0].model_copy(update={"images": 50, "top1": 0.5, "batch_size": 25})
    whole = figures.whole_run(results.model_copy(update={"runs": [short, *results.runs]}), "MobileNetV1")
    assert whole.images == 120
    assert whole.top1 == {"fp32": 0.925, "int8": 109 / 120}
    assert whole.testers_agree


def test_testers_that_count_differently_are_found():
    results = fixture.make_results()
    other = results.runs[-1].model_copy(update={"top1": 0.1})
    assert not figures.whole_run(
        results.model_copy(update={"runs": [*results.runs[:-1], other]}), "MobileNetV1"
    ).testers_agree


def test_a_difference_needs_both_sides():
    assert figures.difference({"fp32": 0.9, "int8": 0.8}) == pytest.approx(-0.1)
    assert figures.difference({"fp32": 0.9, "int8": None}) is None
    assert figures.difference({"fp32": 0.9}) is None


@pytest.mark.parametrize(
    ("counts", "trained", "decides"),
    [
        ((50_000, 36_000, 35_900, 48_000), False, True),
        ((50_000, 36_000, 35_900, 48_000), True, False),
        ((20, 16, 16, 19), False, False),
        ((999, 999, 999, 999), False, False),
        ((5_000, 3_600, 3_590, 4_800), False, False),
        ((50_000, None, None, 48_000), False, False),
    ],
)
def test_only_many_images_that_were_not_trained_on_decide_half_a_point(counts, trained, decides):
    assert figures.decides(fixture.make_subset("MobileNetV1", "some", trained=trained, counts=counts)) is decides


def test_an_interval_that_the_results_lack_is_computed():
    subset = fixture.make_subset("MobileNetV1", "labelled")
    bare = subset.model_copy(update={"top1_interval": {"fp32": None, "int8": None}})
    assert figures.top1_interval(bare, "fp32") == pytest.approx(subset.top1_interval["fp32"])


def test_the_physical_limit_is_the_peak_times_the_cores_over_the_operations():
    results = fixture.make_results(testers=("cpp",))
    rows = figures.speed_rows(results)
    found = figures.limits(results, rows)
    two = next(y for y, row in enumerate(rows) if row.threads == 2)
    assert found[0, "fp32"] == pytest.approx(2.4e11 / 1.14e9) and found[two, "int8"] == pytest.approx(
        2 * 9.4e11 / 1.14e9
    )
    assert all(row.fp32.images_per_second < found[y, "fp32"] for y, row in enumerate(rows))


def test_without_a_peak_or_counted_operations_there_is_no_limit():
    results = fixture.make_results()
    rows = figures.speed_rows(results)
    assert figures.limits(results.model_copy(update={"operations_per_image": {}}), rows) == {}
    environment = results.environment.model_copy(update={"peak": Peak(fp32_flops_per_second_core=1e11)})
    found = figures.limits(results.model_copy(update={"environment": environment}), rows)
    assert {precision for _, precision in found} == {"fp32"}


def test_the_longest_operators_come_first_with_their_share_of_the_whole_run():
    found = figures.longest_operators(fixture.make_profile(layers=14))
    assert len(found) == 12 and found[0].layer == "conv2d_0.w_0" and found[0].ms > found[-1].ms
    assert found[0].share == pytest.approx(0.2 / 2.2) and found[0].types == "u8 s8 u8"
