"""What `inv benchmark` refuses before it measures anything. The models are files that nothing loads."""

import datetime
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import artifacts, datafile, imaging, instructions, manifests, results
from qat8.benchmarking import plan as planning
from qat8.benchmarking import recording
from qat8.benchmarking.load import Load
from qat8.stages import benchmark

CPUS = [0, 1, 2, 3]


def write_data(path: Path, spec: imaging.Preprocessing, label: int = 3) -> None:
    header = datafile.Header(3, 8, 8, datafile.DTYPES[1], 10, spec.mean, spec.std, spec.fingerprint())
    writer = datafile.Writer(path, header)
    for each in (1, 2, label):
        writer.append(np.zeros((3, 8, 8), np.float32), each)
    writer.close()


def write_model(directory: Path, spec: imaging.Preprocessing, in_config: bool = False) -> None:
    directory.mkdir(parents=True)
    for name in ("model.pdmodel", "model.pdiparams"):
        (directory / name).write_text(str(directory))
    known = {"preprocessing": spec.fingerprint()}
    config, more = (known, {}) if in_config else ({}, known)
    manifests.write(directory / "manifest.json", "train", config, {}, manifests.outputs_of(directory), **more)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Models, a data file that fits them, testers and CPUs, all pretended."""
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(CPUS))
    monkeypatch.setattr(instructions, "has_vnni", lambda: True)
    (tmp_path / "tester").write_text("program")
    monkeypatch.setattr(planning, "TESTERS", {name: [str(tmp_path / "tester")] for name in ("cpp", "python")})
    write_data(tmp_path / "val.bin", imaging.SYMMETRIC)
    write_model(tmp_path / "fp32", imaging.SYMMETRIC, in_config=True)
    write_model(tmp_path / "int8", imaging.SYMMETRIC)
    return tmp_path


@pytest.fixture
def flags(home):
    return [f"--fp32-model={home}/fp32", f"--int8-model={home}/int8", f"--data-file={home}/val.bin"]


@pytest.fixture
def planned(monkeypatch, flags, ends):
    """`planned(*flags)`: the plan, subsets and labels that would be measured, and what was said."""

    def run(*more):
        seen = []
        made = fixture.make_results()
        monkeypatch.setattr(recording, "record", lambda *arguments: seen.append(arguments) or made)
        done = ends(benchmark.main, *flags, *more)
        assert done.code == 0, done.err
        (arguments,) = seen
        return (*arguments[:3], done.out)

    return run


@pytest.fixture
def refuses(monkeypatch, flags, refused):
    def check(code: int, words: list[str], *more) -> None:
        monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("measured all the same"))
        refused(benchmark.main, code, words, *flags, *more)

    return check


def test_without_flags_both_testers_one_thread_and_all_batches_of_1_and_50_are_measured(planned, home):
    plan, subsets, labels, _ = planned()
    assert (plan.testers, plan.threads, plan.batch_sizes, plan.cpus) == (["cpp", "python"], [1, 4], [1, 50], CPUS)
    assert (plan.repetitions, plan.min_seconds, plan.quick) == (5, 3.0, False)
    assert plan.models == {"MobileNetV1": {"fp32": home / "fp32", "int8": home / "int8"}}
    assert labels.tolist() == [1, 2, 3]
    assert [(s.name, s.start, s.count) for s in subsets] == [("all", 0, 3)]


def test_quick_is_short_and_says_so(planned):
    plan, *_ = planned("--quick", "--repetitions=9")
    assert (plan.quick, plan.repetitions, plan.min_seconds) == (True, 2, 0.3)


def test_scenarios_and_instances_come_with_one_plain_configuration_unless_more_is_asked_for(planned):
    plan, *_ = planned("--scenario=offline,server", "--target-latency-ms=15", "--instances=2")
    assert (plan.testers, plan.threads, plan.batch_sizes) == (["cpp"], [1], [50])
    assert plan.load == Load(("offline", "server"), 15, 3.0, 0, ((2, 2),))
    plan, *_ = planned("--sweep", "--threads=all", "--batch-sizes=1,8", "--testers=python,cpp", "--quick")
    assert (plan.testers, plan.threads, plan.batch_sizes) == (["python", "cpp"], [4], [1, 8])
    assert plan.load.duration == 0.3 and (4, 1) in plan.load.splits


def test_what_is_measured_beyond_single_processes_tells_two_measurements_apart(planned):
    plain, one, two = (planned(*f)[0].settings() for f in ([], ["--instances=1"], ["--instances=2"]))
    assert "load" not in plain and one != two


def test_fewer_cpus_are_fewer_threads(planned):
    plan, *_ = planned("--cpus=1-2", "--threads=all")
    assert (plan.cpus, plan.threads) == ([1, 2], [2])


def test_models_lie_below_data_when_none_is_named(home, refused):
    words = [f"{artifacts.DATA}/models/ResNet50/fp32: no such directory"]
    refused(benchmark.main, 4, words, "--models=resnet50", f"--data-file={home}/val.bin")


def test_the_data_files_subsets_are_used(planned, home):
    subsets = [{"name": "x", "start": 1, "count": 2, "labels": "l", "used_in_training": True}]
    manifests.write(home / "val.bin.manifest.json", "preprocess", {}, {}, {}, subsets=subsets)
    _, found, _, _ = planned()
    assert [(s.name, s.start, s.count, s.used_in_training) for s in found] == [("x", 1, 2, True)]


def test_a_cpu_without_vnni_is_warned_of_and_measured(planned, monkeypatch):
    assert not any("VNNI" in line for line in planned()[3])
    monkeypatch.setattr(instructions, "has_vnni", lambda: False)
    monkeypatch.setattr(instructions, "_flags", set)
    assert any("no AVX-512 VNNI" in line and "about 1.5x" in line for line in planned()[3])


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--models=AlexNet", ["unknown model 'AlexNet'", "MobileNetV1", "ResNet50"]),
        ("--models=", ["unknown model ''"]),
        ("--batch-sizes=0", ["--batch-sizes", "'0' is not a whole number from 1", "by comma"]),
        ("--batch-sizes=-1", ["--batch-sizes", "'-1'"]),
        ("--batch-sizes=1,x", ["--batch-sizes", "'x'"]),
        ("--batch-sizes=", ["--batch-sizes"]),
        ("--threads=5", ["--threads 5 on 4 CPUs", "at most 4", "--cpus"]),
        ("--threads=0", ["--threads '0'"]),
        ("--cpus=9", ["--cpus '9'", "some of 0,1,2,3"]),
        ("--testers=java", ["unknown tester 'java'", "cpp, python"]),
        ("--repetitions=0", ["'0' is not a whole number from 1"]),
        ("--min-seconds=-1", ["--min-seconds=-1", "0 or more"]),
        ("--min-seconds=nan", ["--min-seconds=nan", "0 or more"]),
        ("--min-seconds=inf", ["--min-seconds=inf"]),
        ("--max-top1-drop=-1", ["--max-top1-drop=-1", "points, 0 to 100"]),
        ("--max-top1-drop=nan", ["--max-top1-drop=nan"]),
        ("--precisions=fp32,bf16", ["--precisions=fp32,bf16 without int8", "bf16 may be added"]),
        ("--precisions=half", ["unknown precision 'half'", "fp32, bf16, int8"]),
        ("--warmup=-1", ["'-1' is not a whole number from 0"]),
        ("--scenario=batch", ["--scenario 'batch'", "single-stream, offline, server"]),
        ("--scenario=server", ["--scenario=server without a target", "--target-latency-ms"]),
        ("--target-latency-ms=5", ["--target-latency-ms without --scenario=server"]),
        ("--duration=5", ["--duration or --min-queries without"]),
        ("--duration=-1", ["--duration=-1"]),
        ("--instances=9", ["9 instances of 1 cores on 4 cores", "at most 4"]),
        ("--cores-per-instance=2", ["--cores-per-instance without --instances"]),
        ("--output=no/such/dir/x.json", ["--output", "no directory no/such/dir"]),
    ],
)
def test_flags_that_cannot_be_measured_are_refused(refuses, flag, words):
    refuses(2, words, flag)


def test_bf16_on_a_cpu_without_it_ends_with_5_before_anything_is_measured(refuses, planned, monkeypatch):
    monkeypatch.setattr(instructions, "has_bf16", lambda: False)
    refuses(5, ["no bfloat16 (avx512_bf16 or amx_bf16)", "--precisions=fp32,int8"], "--precisions=fp32,bf16,int8")
    monkeypatch.setattr(instructions, "has_bf16", lambda: True)
    plan, *_ = planned("--precisions=bf16,int8,fp32")
    assert plan.precisions == ("fp32", "bf16", "int8")


def test_one_directory_cannot_stand_for_several_models(refuses):
    refuses(2, ["with several models", "one model"], "--models=MobileNetV1,ResNet50")


# Data and models that are not what they should be.


def test_data_preprocessed_for_another_model_are_refused_with_the_command_that_makes_the_right_ones(refuses, home):
    write_data(home / "val.bin", imaging.IMAGENET)
    refuses(3, ["/fp32 was trained", "preprocessed otherwise", "bilinear", "inv preprocess --model=MobileNetV1"])


@pytest.mark.parametrize("which", ["fp32", "int8"])
def test_each_of_the_two_models_must_fit_the_data(refuses, home, which):
    manifest = json.loads((home / which / "manifest.json").read_text())
    manifest.pop("preprocessing", None)
    manifest["config"] = {"preprocessing": imaging.IMAGENET.fingerprint()}
    (home / which / "manifest.json").write_text(json.dumps(manifest))
    refuses(3, ["preprocessed otherwise"])


def test_another_version_of_the_decoder_is_no_other_preprocessing(planned, home):
    manifest = json.loads((home / "int8/manifest.json").read_text())
    manifest["preprocessing"]["decoder"] = "Pillow 1.0"
    (home / "int8/manifest.json").write_text(json.dumps(manifest))
    planned()


def test_a_model_without_a_manifest_is_the_users_and_is_measured(planned, home):
    (home / "int8/manifest.json").unlink()
    planned()


def test_several_models_may_each_have_data_of_their_own_with_the_same_labels(planned, home, monkeypatch, refused):
    for name, spec in (("MobileNetV1", imaging.SYMMETRIC), ("ResNet50", imaging.IMAGENET)):
        write_data(home / f"{name}.bin", spec)
        for precision in ("fp32", "int8"):
            write_model(home / "models" / name / precision, spec)
    monkeypatch.setattr(artifacts, "DATA", home)
    own = ["--models=MobileNetV1,ResNet50", f"--data-file={home}/{{model}}.bin"]
    monkeypatch.setattr(recording, "record", lambda *_: fixture.make_results())
    benchmark.main(own)
    words = [
        f"{home}/MobileNetV1.bin was preprocessed otherwise than",
        "ResNet50/fp32",
        "inv preprocess --model=ResNet50",
    ]
    refused(benchmark.main, 3, words, own[0], f"--data-file={home}/MobileNetV1.bin")
    write_data(home / "ResNet50.bin", imaging.IMAGENET, label=5)
    refused(benchmark.main, 3, ["ResNet50.bin has other labels than", "the same images for every model"], *own)


def test_one_of_the_two_with_random_weights_is_enough_to_tell_no_accuracy(planned, home):
    assert planned()[0].untrained == frozenset()
    manifest = json.loads((home / "int8/manifest.json").read_text())
    manifest["config"]["untrained"] = True
    (home / "int8/manifest.json").write_text(json.dumps(manifest))
    assert planned()[0].untrained == {"MobileNetV1"}


def test_a_truncated_data_file_is_refused_with_both_sizes(refuses, home):
    whole = (home / "val.bin").read_bytes()
    (home / "val.bin").write_bytes(whole[:-100])
    refuses(3, [f"{len(whole) - 100} bytes", f"expected {len(whole)}", "truncated"])


def test_a_damaged_data_file_is_refused(refuses, home):
    content = bytearray((home / "val.bin").read_bytes())
    content[-20] ^= 1
    (home / "val.bin").write_bytes(content)
    refuses(3, ["val.bin: labels or trailer are damaged"])


def test_a_missing_data_file_is_refused_with_what_writes_one(refuses, home):
    (home / "val.bin").unlink()
    refuses(3, ["val.bin: No such file", "inv preprocess"])


def test_a_directory_without_a_model_is_refused(refuses, home):
    (home / "int8/model.pdmodel").unlink()
    refuses(4, [f"{home}/int8 holds 0 files *.pdmodel"])


def test_a_model_without_its_parameters_is_refused(refuses, home):
    (home / "fp32/model.pdiparams").unlink()
    refuses(4, [f"{home}/fp32/model.pdiparams is missing"])


def test_a_second_benchmark_at_the_same_time_would_disturb_the_first_and_is_refused(refuses, home):
    with artifacts.exclusive(home / "results/benchmark"):
        refuses(8, ["another run is writing"])


def test_raw_latencies_of_a_killed_run_are_cleared_by_the_next(planned, home):
    left = home / "results/.20260101-000000-1.latencies.tmp-abc"
    left.mkdir(parents=True)
    (left / "x.latencies").write_text("half")
    planned()
    assert not left.exists()


def test_half_a_results_file_of_a_killed_run_and_latencies_without_results_are_cleared(planned, home):
    (home / "results/20260101-000000-1.latencies").mkdir(parents=True)
    (home / "results/20260101-000000-2.latencies").mkdir()
    (home / "results/20260101-000000-2.json").write_text("{}")
    (home / "results/.20260101-000000-1.json.tmp-abc").write_text("half")
    said = planned()[3]
    assert any("raw latencies of a run that has no results" in line for line in said)
    left = sorted(p.name for p in (home / "results").iterdir() if not p.name.endswith(".lock"))
    assert left == ["20260101-000000-2.json", "20260101-000000-2.latencies"]


def test_half_of_the_file_that_output_names_is_cleared(planned, home):
    (home / ".run.json.tmp-abc").write_text("half")
    planned(f"--output={home}/run.json")
    assert not (home / ".run.json.tmp-abc").exists()


def test_a_manifest_of_another_data_file_is_refused(refuses, home):
    manifests.write(home / "val.bin.manifest.json", "preprocess", {}, {}, {"val.bin": "ab" * 32})
    refuses(3, ["val.bin.manifest.json is of another file than val.bin", "run inv preprocess again"])


def test_a_clock_that_was_set_back_overwrites_no_results(home):
    created = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    first = recording._run_id(created, home / "results")
    (home / "results").mkdir()
    (home / f"results/{first}.json").write_text("{}")
    assert recording._run_id(created, home / "results") == f"{first}-1"


# Measured before.


@pytest.fixture
def before(home, planned):
    """Puts results into data/results that were measured with just these models, data and settings."""
    plan, *_ = planned()

    def write(**changes) -> Path:
        made = fixture.make_results().model_copy(update={"identity": recording.identity(plan), **changes})
        path = home / "results/before.json"
        path.write_text(results.dump(made))
        return path

    return write


def test_reuse_does_nothing_when_the_same_was_measured_before(before, flags, ends, monkeypatch):
    path = before()
    monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("measured again"))
    done = ends(benchmark.main, *flags, "--reuse")
    assert done.out == [f"measured before with these models, data and settings: {path}"]


def test_without_reuse_it_is_measured_again(before, planned):
    before()
    planned()


@pytest.mark.parametrize(
    "change",
    [
        lambda home: (home / "int8/model.pdiparams").write_text("other"),
        lambda home: (home / "fp32/model.pdmodel").write_text("other"),
        lambda home: (home / "tester").write_text("built anew"),
        lambda home: write_data(home / "val.bin", imaging.SYMMETRIC, label=4),
    ],
    ids=["int8", "fp32", "tester", "data"],
)
def test_another_model_tester_or_data_file_is_measured_again_even_with_reuse(before, planned, home, change):
    before()
    change(home)
    planned("--reuse")


def test_other_settings_are_measured_again_even_with_reuse(before, planned):
    before()
    planned("--reuse", "--repetitions=2")


def test_results_that_cannot_be_read_are_passed_over(home, planned):
    (home / "results").mkdir()
    (home / "results/broken.json").write_text("{")
    planned("--reuse")


# The exit code of a run whose results are written.


@pytest.fixture
def ended(monkeypatch, flags, ends):
    """`ended(changes, *flags)`: the benchmark ends with results that have these fields."""

    def run(changes: dict, *more):
        record = fixture.make_results().model_copy(update=changes)
        monkeypatch.setattr(recording, "record", lambda *_: record)
        return ends(benchmark.main, *flags, *more)

    return run


def gate(outcome: str) -> results.AccuracyGate:
    return results.AccuracyGate(model="M", max_top1_drop=0.005, subset="all", images=9, top1_diff=-0.01,
                                interval=(-0.02, -0.006), outcome=outcome, detail="lost a point")  # fmt: skip


def test_a_failed_accuracy_gate_ends_with_7(ended):
    done = ended({"gates": [gate("passed"), gate("failed")]})
    assert done.code == 7 and "M: lost a point" in done.err[0]


def test_a_failed_gate_of_bf16_is_called_so_and_does_not_advise_to_train(ended):
    done = ended({"gates": [gate("passed"), gate("failed").model_copy(update={"precision": "bf16"})]})
    assert done.code == 7 and "M in BF16: lost a point" in done.err[0] and "train" not in done.err[0]


@pytest.mark.parametrize("outcome", ["passed", "undecided"])
def test_a_gate_that_passed_or_cannot_be_decided_ends_with_0(ended, outcome):
    assert ended({"gates": [gate(outcome)]}).code == 0


def test_an_invalid_run_ends_with_0_and_with_strict_with_7_and_its_first_reason(ended):
    invalid = {"verdict": "INVALID", "reasons": ["threads: 0 busy", "steal: 9 %"]}
    assert ended(invalid).code == 0
    done = ended(invalid, "--strict")
    assert done.code == 7 and "the run is INVALID: threads: 0 busy" in done.err[0]
    assert ended({"reasons": []}, "--strict").code == 0
