"""How the two testers fail: one line on stderr, an exit code by cause, and no half-written result."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

both = pytest.mark.parametrize("which", ["cpp", "python"])


def test_use_profile_without_the_build_option_names_the_option(fails, models, data):
    fails("cpp", 5, "-DUSE_PROFILER=ON", infer_model=models / "plain", infer_data=data["uint8"], use_profile="true")


@both
def test_an_output_that_is_not_finite_is_an_error(fails, models, data, which):
    fails(which, 7, "image 0 is not finite", infer_model=models / "not_finite", infer_data=data["uint8"])


@both
def test_a_model_that_is_no_classifier_is_an_error(fails, models, data, which):
    fails(which, 4, "has shape [37, 4, 30, 30]", infer_model=models / "no_classifier", infer_data=data["uint8"])


@both
def test_images_of_another_size_than_the_models_are_an_error(fails, models, which):
    golden = Path(__file__).parents[1] / "golden/uint8.bin"
    fails(which, 3, "3 x 8 x 8", "3 x 32 x 32", infer_model=models / "plain", infer_data=golden)


@both
def test_a_label_beyond_the_models_classes_is_an_error(fails, models, data, tmp_path, which):
    content = bytearray(data["raw"].read_bytes())
    content[-8:] = (10).to_bytes(8, "little")
    (tmp_path / "raw.bin").write_bytes(content)
    flags = {"infer_model": models / "plain", "infer_data": tmp_path / "raw.bin", "data_dim": 32}
    fails(which, 3, "has label 10", "0 to 9", **flags)


def empty_directory(directory: Path, plain: Path) -> None:
    directory.mkdir()


def without_parameters(directory: Path, plain: Path) -> None:
    directory.mkdir()
    (directory / "model.pdmodel").write_bytes((plain / "model.pdmodel").read_bytes())


def two_models(directory: Path, plain: Path) -> None:
    without_parameters(directory, plain)
    (directory / "other.pdmodel").touch()


def damaged_program(directory: Path, plain: Path) -> None:
    without_parameters(directory, plain)
    (directory / "model.pdmodel").write_bytes(b"no protobuf")
    (directory / "model.pdiparams").write_bytes((plain / "model.pdiparams").read_bytes())


def truncated_program(directory: Path, plain: Path) -> None:
    damaged_program(directory, plain)
    (directory / "model.pdmodel").write_bytes((plain / "model.pdmodel").read_bytes()[:-100])


def truncated_parameters(directory: Path, plain: Path) -> None:
    without_parameters(directory, plain)
    (directory / "model.pdiparams").write_bytes((plain / "model.pdiparams").read_bytes()[:1000])


@both
@pytest.mark.parametrize(
    "make",
    [None, empty_directory, without_parameters, two_models, damaged_program, truncated_program, truncated_parameters],
)
def test_a_broken_model_directory_is_one_line_and_exit_code_4(fails, models, data, tmp_path, which, make):
    directory = tmp_path / "model"
    if make:
        make(directory, models / "plain")
    fails(which, 4, str(directory), infer_model=directory, infer_data=data["uint8"])


def test_a_run_that_reports_failure_is_an_error_and_no_result(run, preload, models, data):
    env = preload("namespace paddle_infer { bool Predictor::Run() { return false; } }")
    done = run("cpp", infer_model=models / "plain", infer_data=data["uint8"], env=env)
    assert done.code == 4 and "Run() failed" in done.err and done.err.count("\n") == 1 and done.json is None


def test_a_crash_inside_paddle_is_one_line_and_no_result(run, preload, models, data):
    env = preload(
        "#include <csignal>\nnamespace paddle_infer { bool Predictor::Run() { return raise(SIGSEGV) == 0; } }"
    )
    done = run("cpp", infer_model=models / "plain", infer_data=data["uint8"], env=env)
    assert done.code == 4 and done.err.startswith("error: Paddle crashed") and done.err.count("\n") == 1
    assert done.json is None


def test_of_paddles_pages_of_stack_trace_only_the_sentence_and_the_hint_are_printed(run, preload, models, data):
    env = preload(r"""
        #include <stdexcept>
        namespace paddle_infer {
        bool Predictor::Run() {
          throw std::runtime_error(
              "\n--------------\nC++ Traceback (most recent call last):\n--------------\n0   paddle::Run()\n"
              "1   paddle::Secret()\n\n--------------\nError Message Summary:\n--------------\n"
              "InvalidArgumentError: The width is wrong.\n  [Hint: Expected 3 == 4, but received 3 != 4.] "
              "(at /paddle/paddle/file.cc:12)\n");
        }
        }
    """)
    done = run("cpp", infer_model=models / "plain", infer_data=data["uint8"], env=env)
    expected = "InvalidArgumentError: The width is wrong. [Hint: Expected 3 == 4, but received 3 != 4.]\n"
    assert done.code == 4
    assert done.err == f"error: {models / 'plain'}: cannot run the model: {expected}"


@both
def test_ctrl_c_ends_with_exit_code_130_and_leaves_no_result(commands, models, data, tmp_path, which):
    json = tmp_path / "run.json"
    command = [*commands[which], f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}"]
    process = subprocess.Popen([*command, "--min_seconds=300", f"--json={json}"], stderr=subprocess.PIPE, text=True)
    try:
        wait_until_it_computes(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.startswith("error: interrupted") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def wait_until_it_computes(pid: int) -> None:
    """Until it has loaded Paddle and used half a second of CPU time since."""
    deadline = time.monotonic() + 120
    loaded_at = None
    while time.monotonic() < deadline:
        ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        if loaded_at is None and "libpaddle.so" in Path(f"/proc/{pid}/maps").read_text():
            loaded_at = ticks
        if loaded_at is not None and ticks - loaded_at > 0.5 * os.sysconf("SC_CLK_TCK"):
            return
        time.sleep(0.05)
    raise AssertionError("it never began")


@both
def test_a_full_disk_under_standard_output_is_exit_code_5(commands, models, data, which):
    command = [*commands[which], f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5 and done.stderr.startswith("error: ")


@both
def test_an_old_result_is_replaced_and_no_temporary_file_stays(commands, models, data, tmp_path, which):
    json = tmp_path / "run.json"
    json.write_text("old")
    command = [*commands[which], f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}"]
    subprocess.run([*command, f"--json={json}"], check=True, capture_output=True)
    assert json.read_text().startswith("{") and list(tmp_path.iterdir()) == [json]


@both
def test_a_path_that_is_not_utf_8_still_gives_valid_json(commands, models, data, tmp_path, which):
    link = os.fsencode(tmp_path) + b'/mod\xffel "1"'
    os.symlink(os.fsencode(models / "plain"), link)
    command = [*map(os.fsencode, commands[which]), b"--infer_model=" + link]
    command += [f"--infer_data={data['uint8']}".encode(), f"--json={tmp_path / 'run.json'}".encode()]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert '/mod\N{REPLACEMENT CHARACTER}el \\"1\\"' in (tmp_path / "run.json").read_text()


# Computes as often as a pass over the file needs, and then leaves the last image's scores where they are.
ONE_PASS = """
#include <dlfcn.h>
bool paddle_infer::Predictor::Run() {
  using Real = bool (*)(Predictor*);
  static const Real real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "_ZN12paddle_infer9Predictor3RunEv"));
  static int runs = 0;
  return runs++ < 37 ? real(this) : true;
}
"""


def test_a_timed_run_that_names_another_class_than_the_pass_that_was_counted_is_refused(fails, models, data, preload):
    flags = {"infer_model": models / "plain", "infer_data": data["uint8"], "batch_size": 1, "warmup_size": 0}
    words = ("the model named two classes for image", "one and the same")
    fails("cpp", 7, *words, env=preload(ONE_PASS), min_seconds=0.5, **flags)
