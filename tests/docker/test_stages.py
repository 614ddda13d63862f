"""Stages in containers: the same artifacts, results and exit codes as on the host."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from qat8 import artifacts, instructions
from qat8.containers import rights

CPU = max(os.sched_getaffinity(0))
WORDS = ("--quick", "--batch-sizes=1", "--threads=1", f"--cpus={CPU}", "--memory=4g", "--numa=0", "--max-top1-drop=100")
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stage(wheel_image, inv, fetched):
    def call(*words, **variables):
        done = inv(*words, "--runtime=docker", **variables)
        assert done.code == 0, done.out + done.err
        return done

    return call


@pytest.fixture(scope="module")
def results(small, stage):
    stage("benchmark", *WORDS)
    [path] = (artifacts.DATA / "results").glob("*.json")
    return json.loads(path.read_text())


def check(results, name):
    return next(c for c in results["environment"]["validity"] if c["check"] == name)


def test_the_pinning_is_proved(results):
    assert results["runtime"] == "docker" and results["environment"]["container"]
    assert results["environment"]["cpu"]["allowed_cpus"] == [CPU]
    assert results["environment"]["variables"]["OMP_NUM_THREADS"] == "1"
    for name in ("container CPUs", "affinity", "threads"):
        assert check(results, name)["ok"], check(results, name)
    for run in results["runs"]:
        assert (run["cpus"], run["threads"], run["threads_busy"]) == ([CPU], 1, 1)


def test_the_results_say_which_container_it_was(results, client):
    facts = results["environment"]["container_details"]
    assert facts["image_id"] == client.images.get("qat8:wheel").id
    assert (facts["cpus"], facts["nodes"], facts["memory"]) == ([CPU], [0], 4 << 30)
    assert results["environment"]["git_commit"]


def test_both_testers_ran_all_convolutions_in_int8(results):
    assert {run["tester"] for run in results["runs"]} == {"cpp", "python"}
    assert check(results, "int8 kernels")["ok"], check(results, "int8 kernels")
    assert all(c["speedup"] > 0.5 for c in results["comparisons"])


def test_our_own_engine_measures_in_a_container(small, stage):
    stage("export")
    output = artifacts.DATA / "engine.json"
    stage("benchmark", *WORDS, "--testers=cpp,engine", f"--output={output}")
    runs = json.loads(output.read_text())["runs"]
    assert {(run["tester"], run["precision"]) for run in runs} == {
        (tester, precision) for tester in ("cpp", "engine") for precision in ("fp32", "int8")}  # fmt: skip
    top1 = {run["precision"]: set() for run in runs}
    for run in runs:
        top1[run["precision"]].add(run["top1"])
    exact = top1 if instructions.has_vnni() else ["fp32"]  # without VNNI halves of weights are rounded two ways
    assert all(len(top1[precision]) == 1 for precision in exact), "the engine's scores are Paddle's"


def test_a_model_is_profiled_in_a_container(small, stage):
    done = stage("profile", "--iterations=1", "--warmup=1", "--batch-size=1", f"--cpus={CPU}")
    [path] = (artifacts.DATA / "profiles").glob("*/profile.json")
    assert json.loads(path.read_text()) and "fused_conv2d" in done.out, done.out


def test_the_report_is_written_and_the_output_kept(results, stage):
    stage("report")
    assert list((artifacts.DATA / "reports").glob("*/report.html"))
    logs = list((artifacts.DATA / "logs").glob("*-benchmark.log"))
    assert any("results: " in log.read_text() for log in logs)


def test_a_link_out_of_data_leads_in_a_container_where_it_leads_on_the_host(small, inv, tmp_path):
    elsewhere, link = tmp_path / "elsewhere", artifacts.DATA / "dataset" / "linked"
    shutil.copytree(artifacts.DATA / "dataset" / "embedded", elsewhere)
    link.symlink_to(elsewhere)
    try:
        words = ("preprocess", "--local", f"--data-dir={link}", "--data-dim=64", "--dtype=uint8")
        for runtime in ("docker", "local"):
            done = inv(*words, f"--output-file={tmp_path}/{runtime}.bin", f"--runtime={runtime}")
            assert done.code == 0, done.out + done.err
    finally:
        link.unlink()
    assert artifacts.sha256(tmp_path / "docker.bin") == artifacts.sha256(tmp_path / "local.bin")


def test_files_belong_to_this_user_and_nothing_is_left_running(results, ours):
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in artifacts.DATA.rglob("*")}
    ours_too = {tuple(map(int, rights.user().split(":")))}  # of what root's containers wrote
    assert ours_too <= owners <= ours_too | {(os.getuid(), os.getgid())}
    assert ours() == []


def test_the_same_measurement_is_found_again(results, stage):
    assert "measured before" in stage("benchmark", *WORDS, "--reuse").out


@pytest.mark.parametrize(
    "words, code",
    [
        (("convert", "--qat-model-path=/absent/model"), 4),
        (("benchmark", "--data-file=/absent/val.bin", "--testers=python"), 3),
        (("benchmark", "--batch-sizes=0", "--testers=python"), 2),
    ],
)
def test_a_stage_fails_with_the_line_and_the_code_that_it_has_on_the_host(wheel_image, inv, ours, words, code):
    inside, outside = inv(*words, "--runtime=docker"), inv(*words, "--runtime=local")
    assert (inside.code, inside.errors) == (outside.code, outside.errors)
    assert inside.code == code and len(inside.errors) == 1


@pytest.mark.parametrize(
    "words, error",
    [
        (("--cpus=0-4095",), "--cpus '0-4095'; expected some of"),
        (("--numa=7",), "--numa '7'; expected some of"),
        (("--memory=1m",), "--memory '1m'; expected 64m to"),
        (("--output=/usr/x.json",), "a container cannot write to /usr"),
    ],
)
def test_a_limit_that_the_host_cannot_give_is_refused_before_anything_starts(wheel_image, inv, words, error):
    done = inv("benchmark", *words, "--runtime=docker")
    assert done.code == 2 and error in done.errors[0], done.errors


def test_a_stage_that_is_killed_is_told_with_its_log(wheel_image, inv, monkeypatch):
    """64 MB are too little to start Python with NumPy."""
    done = inv("benchmark", "--memory=64m", "--runtime=docker")
    assert done.code == 5 and "ran out of memory" in done.errors[-1], done.errors
