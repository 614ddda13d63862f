"""The whole chain on real photographs with real weights, each stage as a user starts it: a process with its own data.

The training is a short one (6 forward steps, 2 updates): enough for every stage to do its real work, not for the last
tenth of a point. What the full training reaches is checked at the end, on the models that `make demo` made.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qat8 import instructions, results, tester_run
from qat8.datafile import Reader
from qat8.older_python import zip_strict

pytestmark = pytest.mark.integration

REPO = Path(__file__).resolve().parents[2]
TESTER = REPO / "tester/build/sample_tester"
DEVELOPMENT_SET = REPO.parent / "shared/data/imagenet_user"
DEMO = REPO / "data/models/MobileNetV1"
SHORT = [
    "--num-epochs=1", "--max-iters=2", "--batch-size=8", "--validation.fraction=0.1", "--calibration.steps=6",
    "--calibration.mean_correction_images=8",
]  # fmt: skip


# Of the 120 after so short a training; without VNNI activations have 7 bits (--reduce-range).
LEAST = 0.8 if instructions.saturates() else 0.98


class Home:
    """A data directory, and stages that run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "models/MobileNetV1"

    def environment(self) -> dict[str, str]:
        return {**os.environ, "QAT8_DATA": str(self.path)}

    def command(self, stage: str, *flags: str) -> list[str]:
        return [sys.executable, "-W", "ignore", "-m", f"qat8.stages.{stage}", *map(str, flags)]

    def run(self, stage: str, *flags: str, code: int = 0) -> str:
        """What the stage said: on stdout when it ends well, else its one error line."""
        command = self.command(stage, *flags)
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        if not code:
            return done.stdout
        line = done.stderr.splitlines()[-1]
        assert line.startswith("error: ")
        return line

    def start(self, stage: str, *flags: str) -> subprocess.Popen:
        """The stage as a terminal starts it: in a process group of its own, to which Ctrl-C goes."""
        return subprocess.Popen(
            self.command(stage, *flags), env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip

    def unfinished(self) -> list[str]:
        """What an artifact that is not whole would leave."""
        return [str(p.relative_to(self.path)) for p in self.path.rglob("*.tmp-*")]

    def manifest(self, *parts: str) -> dict:
        return json.loads(self.path.joinpath(*parts, "manifest.json").read_text())


def measure(model: Path, data: Path, directory: Path, *flags: str) -> tester_run.TesterRun:
    target = directory / "run.json"
    command = [TESTER, f"--infer_model={model}", f"--infer_data={data}", f"--json={target}", *flags]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return tester_run.load(target)


@pytest.fixture(scope="module", autouse=True)
def built():
    """The C++ tester, as `inv build.tester` builds it."""
    command = [sys.executable, "-m", "qat8.stages.build_tester"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """Photographs, weights and data files."""
    home = Home(tmp_path_factory.mktemp("data"))
    if (REPO / "data/downloads").is_dir():  # no need to fetch again what is checked by its sum anyway
        shutil.copytree(REPO / "data/downloads", home.path / "downloads")
    for stage in ("dataset", "weights", "preprocess"):
        home.run(stage)
    return home


@pytest.fixture(scope="module")
def embedded(home) -> Path:
    return home.path / "dataset/embedded"


@pytest.fixture(scope="module")
def labelled(home, embedded) -> Path:
    """A data file of the 20 labelled photographs alone."""
    path = home.path / "labelled.bin"
    home.run("preprocess", "--local", f"--data-dir={embedded}", "--label-list=val_list.txt", f"--output-file={path}")
    return path


@pytest.fixture(scope="module")
def trained(home) -> str:
    return home.run("train", *SHORT)


@pytest.fixture(scope="module")
def converted(home, trained, embedded) -> str:
    return home.run("convert", f"--check-data={embedded / 'val.bin'}", f"--min-agreement={LEAST}")


BENCHMARK = ["--quick", "--threads=1", "--batch-sizes=40"]


@pytest.fixture(scope="module")
def measured(home, converted) -> results.Results:
    home.run("benchmark", *BENCHMARK, f"--output={home.path / 'run.json'}")
    return results.load(home.path / "run.json")


# Data.


def test_the_data_file_holds_the_20_labelled_photographs_and_the_100_others(home, embedded):
    with Reader(embedded / "val.bin") as reader:
        assert len(reader) == 120
        listed = [int(line.split()[-1]) for line in (embedded / "all_list.txt").read_text().splitlines()]
        assert reader.labels.tolist() == listed
        batch, _ = reader.batch(0, 120)
    assert batch.min() == -1 and batch.max() == 1 and 0.3 < batch.std() < 0.8
    subsets = json.loads((embedded / "val.bin.manifest.json").read_text())["subsets"]
    assert [(s["start"], s["count"], s["used_in_training"]) for s in subsets] == [(0, 20, False), (20, 100, True)]


# Training.


def test_the_imported_weights_name_16_of_20_photographs_and_all_within_5(home, labelled, trained, tmp_path):
    run = measure(home.model / "fp32", labelled, tmp_path, "--batch_size=20")
    assert (run.images, run.top1, run.top5) == (20, 0.8, 1.0)


def test_training_says_what_it_does_and_how_near_to_fp32_each_state_is(trained):
    told = ["90 training and 10 validation images, 2 updates", "building the programs: done",
            "FP32 model: ", "ranges calibrated: divergence from FP32", "27 BatchNorm means corrected: divergence",
            "epoch 1, 2 updates", "kept: ", "QAT model: "]  # fmt: skip
    assert [words for words in told if words not in trained] == []


def test_the_manifest_holds_the_history_and_what_was_kept(home, trained):
    manifest = home.manifest("models/MobileNetV1/qat")
    history, kept = manifest["training"]["history"], manifest["training"]["best_at"]
    assert [entry["at"] for entry in history][:2] == ["ranges calibrated", "27 BatchNorm means corrected"]
    assert len(history) == 3 and kept in [entry["at"] for entry in history]
    assert all(entry["images"] == 10 and 0 < entry["divergence"] < 1 for entry in history)
    assert manifest["training"]["updates"] == 2 and manifest["kind"] == "qat"
    assert manifest["config"]["calibration"]["steps"] == 6


def test_the_qat_model_lies_where_the_tutorial_has_it_and_qat_leads_there(home, trained):
    float32 = home.model / "quantization_models/act_moving_average_abs_max/float"
    assert (home.model / "qat").resolve() == float32.resolve()
    assert {p.name for p in float32.iterdir()} == {"model.pdmodel", "model.pdiparams", "manifest.json"}
    assert home.unfinished() == []


def reached(home: Home) -> int:
    """Updates in the latest checkpoint."""
    try:
        with np.load(home.model / "training/latest.npz") as arrays:
            return json.loads(str(arrays["__position__"]))["updates"]
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def interrupted(home, trained, tmp_path_factory):
    """The same training in another place, disturbed twice: Ctrl-C after calibration, kill -9 between two updates."""
    other = Home(tmp_path_factory.mktemp("interrupted"))
    for name in ("dataset", "weights"):
        (other.path / name).symlink_to(home.path / name)
    flags = [*SHORT, "--set=checkpoint_seconds=0"]

    first = other.start("train", *flags)
    assert any("ranges calibrated" in line for line in first.stdout), first.communicate()
    deadline = time.monotonic() + 30
    while not (other.model / "training/latest.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGINT)
    said = first.communicate(timeout=60)[1].splitlines()
    after_interrupt = {"code": first.returncode, "said": said, "unfinished": other.unfinished(),
                       "qat": list(other.model.glob("q*/**/model.*"))}  # fmt: skip

    second = other.start("train", *flags)
    while reached(other) < 1 and second.poll() is None:
        time.sleep(0.02)
    os.killpg(second.pid, signal.SIGKILL)
    before_kill = second.communicate()[0]
    after_kill = {"updates": reached(other), "code": second.returncode}
    # As if it had been killed while it wrote: the name under which that is done.
    (other.model / "training/.latest.npz.tmp-killed").write_bytes(b"half")

    last = other.run("train", *flags)
    return {"home": other, "interrupt": after_interrupt, "second": before_kill, "kill": after_kill, "last": last}


def test_ctrl_c_is_exit_code_130_says_how_to_go_on_and_leaves_no_half_artifact(interrupted):
    found = interrupted["interrupt"]
    assert found["code"] == 130
    assert found["said"][-1].startswith("error: interrupted (ranges, 0 updates done)")
    assert "run the same command again" in found["said"][-1]
    assert (found["unfinished"], found["qat"]) == ([], [])


def test_after_ctrl_c_calibration_is_not_done_again(interrupted):
    assert "resuming: ranges, 0 of 2 updates done" in interrupted["second"]
    assert "ranges calibrated" not in interrupted["second"]


def test_after_kill_9_in_mid_training_it_goes_on_after_the_last_checkpoint(interrupted):
    assert interrupted["kill"] == {"updates": 1, "code": -signal.SIGKILL}
    assert "resuming: updates, 1 of 2 updates done" in interrupted["last"]
    assert "BatchNorm means corrected" not in interrupted["last"]
    assert interrupted["home"].unfinished() == []


def test_a_training_that_was_disturbed_ends_as_the_one_that_was_not(home, interrupted):
    disturbed, smooth = (h.manifest("models/MobileNetV1/qat")["training"] for h in (interrupted["home"], home))
    assert disturbed["best_at"] == smooth["best_at"] and disturbed["updates"] == smooth["updates"]
    for mine, theirs in zip_strict(disturbed["history"], smooth["history"]):
        assert mine["at"] == theirs["at"]
        assert [mine[k] for k in ("divergence", "agreement", "top1")] == pytest.approx(
            [theirs[k] for k in ("divergence", "agreement", "top1")], abs=1e-6
        )


# Conversion.


def test_all_27_convolutions_become_int8_and_the_model_says_so(home, converted):
    assert "(27 of 27 convolutions)" in converted
    manifest = home.manifest("models/MobileNetV1/int8")
    assert (manifest["kind"], manifest["model"]) == ("int8", "MobileNetV1")
    assert any("27 x fused_conv2d" in line for line in manifest["operators"])


def test_int8_names_the_same_classes_as_the_qat_model(home, converted):
    assert home.manifest("models/MobileNetV1/int8")["agreement_with_qat"] >= LEAST


def test_an_fp32_model_cannot_be_converted(home, trained, tmp_path):
    target = tmp_path / "int8"
    said = home.run("convert", f"--qat-model-path={home.model / 'fp32'}", f"--int8-model-save-path={target}", code=4)
    assert "not a QAT model" in said and not target.exists()


def test_a_conversion_without_convolutions_is_refused_and_leaves_no_model(home, trained, tmp_path):
    target = tmp_path / "int8"
    said = home.run("convert", "--quantized-ops=pool2d", f"--int8-model-save-path={target}", code=7)
    assert "0 of 27 convolutions were quantized" in said and "conv2d must be in --quantized-ops" in said
    assert not target.exists() and list(tmp_path.glob(".int8.tmp*")) == []


def test_a_conversion_that_agrees_less_than_asked_for_keeps_the_model_before(home, converted, labelled):
    before = (home.model / "int8/manifest.json").read_bytes()
    said = home.run("convert", f"--check-data={labelled}", "--min-agreement=1.01", code=7)
    assert "INT8 agrees with the QAT model on" in said and "101.0% or more" in said
    assert (home.model / "int8/manifest.json").read_bytes() == before


# Benchmark and report.


def test_both_testers_measured_both_precisions(measured):
    assert measured.quick and measured.runtime == "local"
    assert {(r.tester, r.precision) for r in measured.runs} == {
        (t, p) for t in ("cpp", "python") for p in ("fp32", "int8")
    }  # fmt: skip
    assert all(r.images == 120 and len(r.repetitions) == 2 and r.peak_rss_bytes > 10**7 for r in measured.runs)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_testers_count_the_same_accuracy(measured, precision):
    found = {(r.top1, r.top5) for r in measured.runs if r.precision == precision}
    assert len(found) == 1
    top1, top5 = found.pop()
    assert 0.8 < top1 <= top5 <= 1


def test_int8_is_faster_than_fp32_in_both_testers(measured):
    assert {c.tester: c.speedup > 1 for c in measured.comparisons} == {"cpp": True, "python": True}


def test_accuracy_is_given_for_each_part_and_the_whole(measured):
    parts = {s.subset: s for s in measured.accuracy}
    assert [s.images for s in parts.values()] == [20, 100, 120]
    labelled = parts["foolbox-20"]
    assert labelled.top1["fp32"] == 0.8 and not labelled.used_in_training
    low, high = labelled.top1_interval["fp32"]
    assert low < 0.6 and high > 0.9  # 20 photographs decide nothing, and the interval says so
    assert parts["all"].agreement >= 0.85


def validity(record: results.Results) -> dict[str, bool]:
    return {check.check: check.ok for check in record.environment.validity}


def test_onednn_ran_the_convolutions_in_int8_and_processes_stayed_on_their_cpus(measured):
    found = validity(measured)
    assert (found["int8 kernels"], found["affinity"], found["accuracy"]) == (True, True, True)
    detail = next(c.detail for c in measured.environment.validity if c.check == "int8 kernels")
    assert "27 of 27 convolutions" in detail


def test_an_fp32_model_that_is_passed_off_as_int8_is_found_out(home, measured):
    output = home.path / "cheat.json"
    fp32 = home.model / "fp32"
    said = home.run("benchmark", *BENCHMARK, "--testers=cpp", f"--int8-model={fp32}", f"--output={output}")
    assert validity(results.load(output))["int8 kernels"] is False
    assert "INVALID int8 kernels: MobileNetV1: oneDNN ran 0 of 27 convolutions in INT8" in said


def test_the_report_is_written_and_names_its_page(home, measured):
    said = home.run("report", home.path / "run.json")
    page = home.path / "reports" / measured.run_id / "report.html"
    assert said.rstrip().endswith(f"report: {page}")
    text = page.read_text()
    assert "MobileNetV1" in text and "foolbox-20" in text and text.count("<table") >= 5


# Profiles.


@pytest.mark.parametrize(("precision", "source"), [("int8", ("s8", "u8")), ("fp32", ("f32",))])
def test_a_profile_names_the_kernel_of_every_convolution_and_accounts_for_the_run(home, converted, precision, source):
    said = home.run("profile", f"--precision={precision}", "--batch-size=4", "--iterations=3", "--warmup=1")
    directory = home.path / f"profiles/MobileNetV1-{precision}-b4-t1"
    made = json.loads((directory / "profile.json").read_text())
    rows = [p for step in made["steps"] for p in step["primitives"] if p["kind"] == "convolution"]
    assert len(rows) == 27 and all(r["operands"]["src"]["dtype"] in source and r["operations"] for r in rows)
    layers = [step["layer"] for step in made["steps"] if step["operator"] == "fused_conv2d"]
    assert layers == [f"conv2d_{i}" for i in range(27)]
    inside, run = (sum(p["ms"] for s in made["steps"] for p in s["primitives"]), sorted(made["runs_ms"])[1])
    assert 0 < inside < 1.5 * run and len(made["runs_ms"]) == 3  # 1.5: the machine may be disturbed meanwhile
    # The FP32 program is fused when it is loaded; each executed operator names what of the file it stands for.
    if precision == "fp32":
        assert [name.split()[1] for name in made["steps"][0]["saved"]] == ["conv2d", "batch_norm", "relu6"]
    assert made["left"] == []  # what makes float32 of the file's int8 weights is gone when the model is loaded
    assert "outside oneDNN" in said and f"profile: {directory}" in said
    expected = {f"profile.{kind}" for kind in ("json", "csv", "txt", "png", "svg")} | {"manifest.json"}
    assert {p.name for p in directory.iterdir()} == expected


def test_a_profile_of_a_model_that_is_not_there_is_refused(home, trained):
    line = home.run("profile", "--model=VGG16", code=4)
    assert "VGG16/int8: no such directory" in line


# A second time.


@pytest.mark.parametrize("stage", ["dataset", "weights", "preprocess", "train", "convert"])
def test_a_second_time_each_stage_has_nothing_to_do(home, converted, embedded, stage):
    check = [f"--check-data={embedded / 'val.bin'}", f"--min-agreement={LEAST}"]
    flags = {"train": SHORT, "convert": check}.get(stage, [])
    start = time.monotonic()
    said = home.run(stage, *flags)
    assert len(said.splitlines()) == 1 and (" is up to date: " in said or " are up to date: " in said)
    assert time.monotonic() - start < 10  # without Paddle


def test_what_was_measured_is_not_measured_again_when_that_is_asked_for(home, measured):
    (home.path / "results/found.json").write_text((home.path / "run.json").read_text())
    assert "measured before with these models" in home.run("benchmark", *BENCHMARK, "--reuse")


# What the full training reaches, on photographs that it has never seen.


@pytest.mark.skipif(not DEVELOPMENT_SET.is_dir(), reason=f"the development set is not there: {DEVELOPMENT_SET}")
@pytest.mark.skipif(not (DEMO / "qat").is_dir(), reason=f"`make demo` has made no models: {DEMO}")
def test_int8_of_the_demo_is_within_2_points_of_fp32_and_agrees_with_qat_on_the_development_set(home, tmp_path):
    data, int8 = tmp_path / "development.bin", tmp_path / "int8"
    home.run("preprocess", "--local", f"--data-dir={DEVELOPMENT_SET}", f"--output-file={data}", "--dtype=uint8")
    # Converted here, so that it is of this very QAT model: it refuses less than 98 %.
    home.run("convert", f"--qat-model-path={DEMO / 'qat'}", f"--int8-model-save-path={int8}", f"--check-data={data}")
    assert json.loads((int8 / "manifest.json").read_text())["agreement_with_qat"] >= 0.98
    threads = f"--num_threads={len(os.sched_getaffinity(0))}"
    before, after = (measure(model, data, tmp_path, threads) for model in (DEMO / "fp32", int8))
    assert before.images == after.images == 500
    assert before.top1 > 0.9 and after.top1 >= before.top1 - 0.02
