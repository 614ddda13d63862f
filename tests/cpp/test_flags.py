"""The two testers' command lines: the tutorial's flags and defaults, strict values, one line per mistake."""

import re
import subprocess

import pytest

DEFAULTS = {
    "warmup_size": "0", "batch_size": "50", "iterations": "0", "num_threads": "1", "with_accuracy_layer": "false",
    "use_profile": "false", "min_seconds": "0", "data_dim": "224", "int8_online": "false", "bf16": "false",
}  # fmt: skip
both = pytest.mark.parametrize("which", ["cpp", "python"])


@both
def test_help_lists_every_flag_with_its_default(commands, which):
    done = subprocess.run([*commands[which], "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert all(f"--{flag}" in text for flag in [*DEFAULTS, "infer_model", "infer_data", "json"])
    for flag, default in DEFAULTS.items():
        stated = re.search(r"\(default: (\S+)\)", text.rpartition(f"--{flag} ")[2]).group(1)
        assert stated.lower() in (default, f"{default}.0"), flag


@both
@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--batch_size=0", "whole number from 1"),
        ("--batch_size=-5", "whole number from 1"),
        ("--batch_size=5x", "whole number from 1"),
        ("--batch_size=", "whole number from 1"),
        ("--num_threads=0", "whole number from 1"),
        ("--iterations=-2", "whole number from -1"),
        ("--warmup_size=-1", "whole number from 0"),
        ("--warmup_size=1.5", "whole number from 0"),
        ("--min_seconds=-1", "seconds from 0"),
        ("--min_seconds=nan", "seconds from 0"),
        ("--data_dim=5000", "whole number from 1 to 4096"),
        ("--use_profile=maybe", "neither true nor false"),
        ("--bf16=half", "neither true nor false"),
        ("--batchsize=5", "batchsize"),
        ("--batch=5", "batch"),
        ("surplus", "surplus"),
        ("--infer_model=", "--infer_model is missing"),
        ("--infer_data=", "--infer_data is missing"),
        ("--json=/nonexistent/run.json", "no directory"),
    ],
)
def test_a_bad_flag_is_one_line_and_exit_code_2(commands, which, argument, words):
    command = [*commands[which], "--infer_model=model", "--infer_data=data", argument]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr


@both
def test_a_missing_value_is_one_line_and_exit_code_2(commands, which):
    command = [*commands[which], "--infer_model=model", "--infer_data", "--batch_size=5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "infer_data" in done.stderr


@both
def test_values_may_follow_after_a_space_and_names_may_have_hyphens(run, models, data, which):
    flags = ["--infer-model", str(models / "plain"), "--infer_data", str(data["uint8"]), "--iterations", "-1"]
    done = run(which, *flags, "--batch-size", "20", "--use_profile", "false", "--with_accuracy_layer=False")
    assert done.code == 0, done.err
    assert (done.json.batch_size, done.json.images) == (20, 37)


@both
def test_the_defaults_are_the_tutorials(run, models, data, which):
    done = run(which, infer_model=models / "plain", infer_data=data["uint8"])
    assert (done.json.batch_size, done.json.num_threads, done.json.warmup_size, done.json.images) == (50, 1, 0, 37)
