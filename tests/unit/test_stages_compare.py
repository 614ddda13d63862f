"""`inv compare` and `inv history`, on results whose differences are known."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import comparison, results
from qat8.older_python import zip_strict
from qat8.report import history as history_report
from qat8.results import Check
from qat8.stages import compare, history


@pytest.fixture
def written(tmp_path):
    """`written(name, int8=1.0, **changes)`: results whose INT8 is so many times as fast as the fixture's."""

    def write(name: str, int8: float = 1.0, cpu: dict | None = None, repetitions: int = 5, **changes) -> Path:
        made = fixture.make_results(testers=("cpp",))
        runs = []
        for run in made.runs:
            factor = int8 if run.precision == "int8" else 1.0
            reps = [speed * factor for speed in run.repetitions[:repetitions]]
            runs.append(run.model_copy(update={"repetitions": reps, "images_per_second": sorted(reps)[len(reps) // 2]}))
        pairs = zip_strict(runs[::2], runs[1::2])
        environment = made.environment
        if cpu:
            environment = environment.model_copy(update={"cpu": {**environment.cpu, **cpu}})
        if "validity" in changes:
            environment = environment.model_copy(update={"validity": changes.pop("validity")})
        if "git_commit" in changes:
            environment = environment.model_copy(update={"git_commit": changes.pop("git_commit")})
        update = {"runs": runs, "comparisons": [fixture.make_comparison(*pair) for pair in pairs],
                  "environment": environment, "run_id": name, **changes}  # fmt: skip
        path = tmp_path / f"{name}.json"
        path.write_text(results.dump(made.model_copy(update=update)))
        return path

    return write


def test_the_same_results_have_no_change_and_end_with_0(written, ends):
    done = ends(compare.main, written("a"), written("b"))
    assert done.code == 0 and done.out[-1] == "no regression of INT8/FP32 beyond 5 %"
    assert "slower" not in "".join(done.out) and "faster" not in "".join(done.out)


def test_a_loss_of_a_fifth_is_a_regression_and_ends_with_7(written, ends):
    done = ends(compare.main, written("a"), written("b", int8=0.8))
    assert done.code == 7
    assert re.search(
        r"regression: MobileNetV1, C\+\+, \d threads?, batch \d+: INT8/FP32 -20.0 % \(and 3 more\)", done.err[0]
    )
    assert sum("slower" in line for line in done.out) == 8  # ratio and INT8 of four configurations; FP32 is the same


def test_a_loss_within_the_limit_is_said_and_ends_with_0(written, ends):
    a, b = written("a"), written("b", int8=0.8)
    assert ends(compare.main, a, b, "--max-regression=25").code == 0
    assert ends(compare.main, a, b, "--metric=fp32").code == 0
    assert ends(compare.main, a, b, "--metric=int8").code == 7


def test_a_gain_is_no_regression(written, ends):
    done = ends(compare.main, written("a"), written("b", int8=1.2))
    assert done.code == 0 and sum("faster" in line for line in done.out) == 8


def test_a_change_below_the_least_is_noise_however_steady(written, ends):
    a, b = written("a"), written("b", int8=0.99)
    for path in (a, b):  # without any scatter
        content = json.loads(path.read_text())
        for run in content["runs"]:
            run["repetitions"] = [run["images_per_second"]] * 5
        path.write_text(json.dumps(content))
    done = ends(compare.main, a, b, "--max-regression=0")
    assert done.code == 0 and "slower" not in "".join(done.out)
    assert ends(compare.main, a, b, "--max-regression=0", "--min-change=0.5").code == 7


def test_two_repetitions_cannot_tell_and_that_is_said(written, ends):
    done = ends(compare.main, written("a"), written("b", int8=0.5, repetitions=2))
    assert done.code == 0 and done.out[-1].endswith("; 4 configurations with fewer than 3 repetitions cannot tell")


def test_unlike_machines_are_refused_with_what_differs_unless_forced(written, refused, ends):
    a, b = written("a"), written("b", cpu={"model": "Another", "smt": True})
    refused(compare.main, 3, ["unlike machines", "CPU model: FIXTURE CPU 9000", "-> Another", "CPU smt: False -> True",
                              "--force"], a, b)  # fmt: skip
    done = ends(compare.main, a, b, "--force")
    assert done.code == 0 and any("-> Another" in line for line in done.out)


def test_what_a_file_does_not_know_of_its_machine_is_not_compared(written, ends):
    assert ends(compare.main, written("a", cpu={"turbo": None}), written("b", cpu={"turbo": True})).code == 0


def test_other_software_is_named_and_compared(written, ends):
    done = ends(compare.main, written("a", git_commit="a" * 40), written("b", git_commit="b" * 40, runtime="docker"))
    assert done.code == 0
    assert {"  runtime: local -> docker", f"  git commit: {'a' * 40} -> {'b' * 40}"} <= set(done.out)


def test_an_invalid_run_cannot_prove_that_there_is_no_regression(written, refused, ends):
    invalid = [Check(check="steal", ok=False, detail="9 %")]
    a, b = written("a"), written("b", validity=invalid)
    refused(compare.main, 7, ["B is INVALID", "measure again"], a, b)
    done = ends(compare.main, a, b, "--force")
    assert done.code == 0 and "  B is INVALID: steal: 9 %" in done.out
    assert ends(compare.main, b, a).code == 0  # what it was before may be as it was


def test_files_without_a_common_configuration_are_refused(written, refused):
    a, b = written("a"), written("b", runs=[], comparisons=[])
    refused(compare.main, 3, ["no configuration in common"], a, b)


@pytest.mark.parametrize("flag", ["--max-regression=-1", "--max-regression=nan", "--min-change=inf", "--metric=speed"])
def test_flags_that_mean_nothing_are_refused(written, refused, flag):
    refused(compare.main, 2, [flag.partition("=")[0]], written("a"), written("b"), flag)


def test_a_file_that_is_none_is_refused(written, refused, tmp_path):
    refused(compare.main, 3, ["none.json"], written("a"), tmp_path / "none.json")


def test_another_accuracy_is_said_with_its_images(written, ends):
    accuracy = [fixture.make_subset("MobileNetV1", "labelled", trained=False, counts=(20, 16, 12, 15))]
    done = ends(compare.main, written("a"), written("b", accuracy=accuracy))
    assert "  MobileNetV1, 'labelled': INT8 top-1 80.0 % -> 60.0 % (-20.0 points on 20 images)" in done.out


def test_a_sha_is_shortened_and_nothing_else():
    assert comparison._brief("a" * 64) == "a" * 12 and comparison._brief("a" * 40) == "a" * 40


# History.


def points(path: Path) -> list[dict]:
    return list(csv.DictReader((path / "history.csv").read_text().splitlines()))


def test_history_plots_a_models_ratio_over_commits_in_the_order_of_time(written, ends, tmp_path):
    for day, factor in ((3, 0.9), (1, 1.0), (2, 1.1)):
        written(f"run{day}", int8=factor, created=f"2026-01-0{day}T12:00:00Z", git_commit=f"{day}" * 40)
    done = ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}")
    assert done.code == 0, done.err
    found = points(tmp_path / "h")
    assert [p["commit"] for p in found] == ["1" * 7, "2" * 7, "3" * 7]
    ratios = [float(p["ratio"]) for p in found]
    assert ratios[1] / ratios[0] == pytest.approx(1.1) and ratios[2] / ratios[0] == pytest.approx(0.9)
    assert {(p["model"], p["tester"], p["threads"], p["batch_size"]) for p in found} == {
        ("MobileNetV1", "cpp", "1", "50")
    }
    assert (tmp_path / "h/history.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "h/history.svg").read_text()
    assert "1111111" in svg and "INT8/FP32" in svg
    assert "3 runs, last " in done.out[0] and "at 3333333, first " in done.out[0]


def test_history_again_replaces_its_plot_and_nobody_elses_directory(written, ends, refused, tmp_path):
    written("a")
    for _ in "12":
        assert ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    refused(history.main, 3, ["no artifact of qat8"], tmp_path, f"--output-dir={tmp_path / 'mine'}")


def test_all_configurations_and_one_model_can_be_asked_for(written, ends, refused, tmp_path):
    written("a")
    assert ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}", "--all").code == 0
    assert len(points(tmp_path / "h")) == 4
    refused(history.main, 3, ["no comparison of VGG16"], tmp_path, "--model=VGG16")


def test_another_cpu_and_an_invalid_run_are_told_apart(written, ends, tmp_path):
    written("a")
    written("b", cpu={"model": "Another"}, validity=[Check(check="steal", ok=False, detail="9 %")])
    ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}")
    assert {p["cpu"]: p["valid"] for p in points(tmp_path / "h")} == {fixture.CPU: "True", "Another": "False"}
    assert "hollow: INVALID run" in (tmp_path / "h/history.svg").read_text()


def test_two_generations_of_one_name_are_not_one_line_of_history_and_not_compared(written, ends, refused, tmp_path):
    zen4, zen5 = "family 25, model 17, stepping 1", "family 26, model 2, stepping 1"
    a, b = written("a", cpu={"signature": zen4}), written("b", cpu={"signature": zen5})
    ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}")
    assert {p["cpu"] for p in points(tmp_path / "h")} == {f"{fixture.CPU} ({zen4})", f"{fixture.CPU} ({zen5})"}
    refused(compare.main, 3, [f"CPU signature: {zen4} -> {zen5}"], a, b)


def test_a_file_that_is_no_result_is_named_and_left_out(written, ends, refused, tmp_path):
    written("a")
    (tmp_path / "other.json").write_text("{}")
    done = ends(history.main, tmp_path, f"--output-dir={tmp_path / 'h'}")
    assert done.code == 0 and any("left out: " in line and "other.json" in line for line in done.out)
    (tmp_path / "empty").mkdir()
    refused(history.main, 3, ["holds no comparison"], tmp_path / "empty")
    refused(history.main, 3, ["no such directory"], tmp_path / "none")


def test_changed_files_and_no_checkout_show_in_the_commits_name():
    for commit, shown in (("a" * 40 + "-dirty", "aaaaaaa+"), (None, "unknown")):
        made = fixture.make_results()
        made = made.model_copy(update={"environment": made.environment.model_copy(update={"git_commit": commit})})
        (found,) = history_report.series([made]).values()
        assert found[0].commit == shown
