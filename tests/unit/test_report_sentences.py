import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8.report import figures, sentences
from qat8.results import Check


def _headline(results, model="MobileNetV1"):
    return sentences.headline(results, figures.speed_rows(results), model)


def _with_ratio(low, middle, high):
    results = fixture.make_results()
    ratio = {"speedup": middle, "speedup_min": low, "speedup_max": high}
    return results.model_copy(update={"comparisons": [c.model_copy(update=ratio) for c in results.comparisons]})


def test_the_headline_is_made_of_measured_numbers():
    assert _headline(fixture.make_results()) == (
        f"MobileNetV1 is 2.9 times faster in INT8 on {fixture.CPU}, 1 thread, batch 50 (C++ tester), "
        "and names the same class as FP32 on 97.5 % of 120 photographs."
    )


def test_a_slower_int8_model_is_called_slower():
    assert "is slower in INT8, at 0.80 times FP32's speed" in _headline(_with_ratio(0.75, 0.80, 0.85))


def test_a_ratio_that_may_be_one_is_called_no_difference():
    assert "is neither faster nor slower in INT8 (ratio 0.97 to 1.05)" in _headline(_with_ratio(0.97, 1.01, 1.05))


def test_a_model_without_a_pair_has_no_ratio_in_its_headline():
    results = fixture.make_results(accuracy=[]).model_copy(update={"comparisons": []})
    assert _headline(results) == "MobileNetV1: INT8 and FP32 were not measured side by side."


def test_a_loss_of_accuracy_is_said_once_the_images_decide_it():
    subset = fixture.make_subset("MobileNetV1", "val", trained=False, counts=(50_000, 35_390, 35_355, 48_000))
    said = _headline(fixture.make_results(accuracy=[subset]))
    assert said.endswith("and loses 0.07 points of top-1 on 50,000 photographs that were not used in training.")
    assert "loses" not in _headline(fixture.make_results())


def test_a_valid_full_run_has_no_banner():
    assert sentences.banners(fixture.make_results()) == []


def test_a_quick_run_says_so():
    (banner,) = sentences.banners(fixture.make_results(quick=True))
    assert banner.startswith("Quick run")


def test_failed_checks_are_named_with_their_detail():
    checks = [Check(check="steal time", ok=False, detail="3 %"), Check(check="governor", ok=True, detail="")]
    (banner,) = sentences.banners(fixture.make_results(validity=checks))
    assert banner == "INVALID: 1 of 2 checks failed: steal time (3 %)."


def test_a_run_without_checks_is_not_taken_for_valid():
    results = fixture.make_results()
    bare = results.model_copy(update={"environment": results.environment.model_copy(update={"validity": []})})
    assert "Validity unknown" in sentences.banners(bare)[0]


def test_twenty_images_are_said_to_decide_nothing():
    notes = sentences.accuracy(fixture.make_results())
    assert any(
        "“labelled” (20 images): these images decide nothing" in note and "33.5 points" in note for note in notes
    )


def test_some_hundred_images_are_said_not_to_decide_half_a_point():
    subset = fixture.make_subset("MobileNetV1", "dev", trained=False, counts=(500, 463, 455, 480))
    assert "decide no difference of 0.5 points" in sentences.accuracy(fixture.make_results(accuracy=[subset]))[0]


def test_images_used_in_training_are_no_accuracy_estimate_and_name_their_labels():
    notes = sentences.accuracy(fixture.make_results())
    (note,) = [note for note in notes if note.startswith("“ours”")]
    assert "no accuracy estimate" in note
    assert "labels: ours, by eye" in note


def test_agreement_is_counted_and_told_when_training_flatters_it():
    notes = "\n".join(sentences.accuracy(fixture.make_results()))
    assert "117 of 120 images, 97.5 % (95 % interval 92.9 to 99.1 %); images used in training are among them" in notes


def test_accuracy_of_weights_that_were_not_trained_is_not_measured():
    notes = sentences.accuracy(fixture.make_results(models=("VGG16",)))
    assert "accuracy not measured" in notes[0]


def test_results_of_retraining_are_called_open():
    assert any("“Open”, not “Closed”" in note for note in sentences.accuracy(fixture.make_results()))


def test_testers_that_disagree_about_accuracy_are_named():
    results = fixture.make_results()
    other = results.runs[-1].model_copy(update={"top5": 0.1})
    notes = sentences.accuracy(results.model_copy(update={"runs": [*results.runs[:-1], other]}))
    assert any("did not count the same accuracy" in note for note in notes)


def test_nothing_is_claimed_about_cpp_when_python_did_not_run():
    (note,) = sentences.testers(figures.tester_rows(fixture.make_results(testers=("cpp",))))
    assert "nothing is claimed" in note


def test_cpp_is_not_called_faster_within_the_noise():
    (note,) = sentences.testers(figures.tester_rows(fixture.make_results()))
    assert "do not differ in speed here" in note


# Validity, the limit of direct sums, where the time goes.

WARNED = Check(check="turbo", ok=False, detail="on", level="warning")
FAILED = Check(check="steal", ok=False, detail="9 %")
HELD = Check(check="threads", ok=True, detail="1 busy")


def test_a_warning_leaves_a_run_valid_and_is_counted():
    results = fixture.make_results(validity=[HELD, WARNED])
    assert sentences.verdict(results) == ": VALID, 1 warning" and sentences.banners(results) == []
    assert sentences.validity(results)[0].startswith(
        "This run is VALID: no check failed and 1 warn of what may move the figures."
    )


def test_a_failure_makes_it_invalid_and_stands_on_top():
    results = fixture.make_results(validity=[HELD, WARNED, FAILED])
    assert sentences.verdict(results) == ": INVALID, 1 warning"
    assert sentences.validity(results)[0].startswith("This run is INVALID: 1 of 3 checks failed and 1 warn")
    assert "INVALID: 1 of 3 checks failed: steal (9 %)." in sentences.banners(results)
    rows = figures.speed_rows(results)
    assert sentences.headline(results, rows, "MobileNetV1").endswith(" The run is INVALID: not to be quoted.")


def test_the_limit_is_explained_only_where_a_peak_was_measured():
    results = fixture.make_results()
    assert "measured peak of a core (FIXTURE)" in sentences.limits(results)[0]
    assert "an image (MobileNetV1 1.14)" in sentences.limits(results)[0]
    without = results.environment.model_copy(update={"peak": None})
    assert sentences.limits(results.model_copy(update={"environment": without})) == []


def test_a_profile_is_summed_up_with_its_share_in_onednn():
    said = sentences.profile(fixture.make_profile())
    # 14 layers of 0.20, 0.19 .. 0.07 ms are 1.89 of 2.20 ms.
    assert "`inv profile` measured 2.20 ms for a batch of 1 with 1 thread, of which 86 %" in said
