"""What `inv train` and `inv convert` refuse before the work begins; the work itself is in tests/integration."""

import numpy as np
import pytest

from qat8 import artifacts, environment, instructions, kernel, manifests
from qat8.stages import build_tester, convert, doctor, train


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "DATA", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def weights(tmp_path):
    np.savez(tmp_path / "weights.npz", a=np.zeros(1))
    return tmp_path / "weights.npz"


@pytest.fixture
def asked(monkeypatch, weights, ends):
    """`asked(*flags)`: what would be trained."""

    def run(*flags):
        seen = []
        monkeypatch.setattr(train, "build", lambda *arguments: seen.append(arguments))
        done = ends(train.main, f"--pretrained-model={weights}", *flags)
        assert done.code == 0, done.err
        return seen[0]

    return run


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--LearningRate.base_lr=1e-5", 1e-5),
        ("--set=LearningRate.base_lr=1e-5", 1e-5),
    ],
)
def test_a_key_of_the_configuration_is_a_flag_in_two_ways(asked, flag, value):
    _, settings, *_ = asked(flag)
    assert settings.LearningRate.base_lr == value


def test_the_tutorials_flags_reach_the_configuration(asked, tmp_path):
    model, settings, _, data_dir, save, start = asked(
        "--model=MobileNet-V1", "--data=imagenet", f"--data_dir={tmp_path}", "--save_float32_qat_dir=out",
        "--max_iters=7", "--num_epochs=3", "--batch_size=5", "--set=seed=9",
    )  # fmt: skip
    assert (model.name, data_dir, save, start) == ("MobileNetV1", tmp_path, "out", None)
    assert (settings.max_iters, settings.num_epochs, settings.batch_size, settings.seed) == (7, 3, 5, 9)


def test_a_configuration_file_is_read_and_the_command_line_wins(asked, tmp_path):
    (tmp_path / "my.yaml").write_text("seed: 4\nnum_epochs: 9\n")
    _, settings, *_ = asked(f"--config-file={tmp_path}/my.yaml", "--num-epochs=0")
    assert (settings.seed, settings.num_epochs) == (4, 0)


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--model=AlexNet"], 2, ["unknown model 'AlexNet'"]),
        (["--set=seed"], 2, ["--set seed", "KEY=VALUE"]),
        (["--set=speed=1"], 2, ["unknown key speed", "seed"]),
        (["--batch-size=0"], 2, ["'0' is not a whole number from 1"]),
        (["--max-iters=-1"], 2, ["'-1' is not a whole number from 0"]),
        (["--data=cifar"], 2, ["--data", "imagenet"]),
        (["--LearningRate.base_lr=-1"], 2, ["LearningRate.base_lr"]),
        (["--LearningRate.base=1"], 2, ["--LearningRate.base"]),
        (["--config-file=none.yaml"], 2, ["none.yaml: no such configuration file"]),
        ([], 4, ["no pretrained weights of MobileNetV1", "inv weights"]),
        (["--model=ResNet50"], 4, ["no pretrained weights of ResNet50", "--pretrained-model=FILE.pdparams"]),
        (["--pretrained-model=none.pdparams"], 4, ["none.pdparams: no such file"]),
    ],
)
def test_training_that_cannot_begin_is_refused_at_once(refused, flags, code, words):
    refused(train.main, code, words, *flags)


def test_training_without_its_images_is_refused_and_leaves_no_model(refused, photographs, home, weights):
    data_dir = photographs(3, "train")
    (data_dir / "train/1.jpg").unlink()
    flags = [f"--pretrained-model={weights}", f"--data-dir={data_dir}"]
    refused(train.main, 3, ["train/1.jpg: no such image"], *flags)
    (data_dir / "train_list.txt").unlink()
    refused(train.main, 3, ["train_list.txt: no such label list"], *flags)
    assert not list(home.rglob("model.*"))


def test_a_second_training_of_the_same_model_is_refused(refused, photographs, home, weights):
    with artifacts.exclusive(home / "models/MobileNetV1"):
        flags = [f"--pretrained-model={weights}", f"--data-dir={photographs(3, 'train')}"]
        refused(train.main, 8, ["another run is writing", "MobileNetV1"], *flags)


def test_the_default_qat_link_is_put_back_when_a_killed_run_left_it_out(ends, photographs, home, weights, monkeypatch):
    monkeypatch.setattr(train, "_train", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(manifests, "up_to_date", lambda *_: True)
    model = home / "models/MobileNetV1"
    (model / "fp32").mkdir(parents=True)
    qat = model / "quantization_models/act_moving_average_abs_max/float"
    qat.mkdir(parents=True)
    done = ends(train.main, f"--pretrained-model={weights}", f"--data-dir={photographs(3, 'train')}")
    assert done.out[-1].startswith("QAT model is up to date") and (model / "qat").resolve() == qat.resolve()


def test_how_often_checkpoints_are_written_makes_no_other_model(ends, photographs, weights, monkeypatch, tmp_path):
    described = []
    monkeypatch.setattr(train, "_train", lambda *arguments: described.append(arguments[6]))
    flags = [
        f"--pretrained-model={weights}",
        f"--data-dir={photographs(3, 'train')}",
        f"--save-float32-qat-dir={tmp_path}/x",
    ]
    for setting in ("checkpoint_seconds=1", "checkpoint_seconds=2", "seed=1"):
        assert ends(train.main, *flags, f"--set={setting}").code == 0
    assert described[0] == described[1] != described[2]


def test_a_directory_in_the_links_place_is_refused_before_the_training(refused, home, weights):
    (home / "models/MobileNetV1/qat").mkdir(parents=True)
    refused(train.main, 2, ["MobileNetV1/qat is a directory", "a link"], f"--pretrained-model={weights}")


def test_post_training_quantization_sets_ranges_alone_in_a_place_of_its_own(asked, home, refused, weights):
    _, settings, _, _, save, _ = asked("--strategy=ptq")
    assert (settings.num_epochs, settings.calibration.mean_correction_images) == (0, 0)
    assert str(save).endswith("models/MobileNetV1/ptq")
    _, settings, _, _, save, _ = asked("--strategy=ptq", "--save-float32-qat-dir=mine", "--calibration.steps=7")
    assert (save, settings.calibration.steps) == ("mine", 7)
    refused(
        train.main, 2, ["--strategy=ptq with updates"], f"--pretrained-model={weights}", "--strategy=ptq",
        "--num-epochs=2",
    )  # fmt: skip


def test_conversion_of_post_training_quantization_has_its_own_places(refused):
    refused(convert.main, 4, ["models/MobileNetV1/ptq: no such directory"], "--strategy=ptq")


# Convert.


def test_a_directory_without_a_model_is_refused_by_name(refused, tmp_path):
    refused(convert.main, 4, [f"{tmp_path}/none: no such directory"], f"--qat-model-path={tmp_path}/none")
    refused(convert.main, 4, ["models/ResNet50/qat: no such directory"], "--model=ResNet50")


def test_conversion_of_something_that_is_no_program_leaves_no_model(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(instructions, "shortcomings", list)
    (tmp_path / "qat").mkdir()
    for name in ("model.pdmodel", "model.pdiparams"):
        (tmp_path / "qat" / name).write_bytes(b"")
    flags = [f"--qat-model-path={tmp_path}/qat", f"--int8-model-save-path={tmp_path}/int8"]
    refused(convert.main, 4, ["model.pdmodel is empty"], *flags)
    refused(convert.main, 2, ["'softmax' cannot be quantized", "conv2d"], *flags, "--quantized-ops=softmax")
    assert not (tmp_path / "int8").exists()


def test_a_directory_of_the_users_is_not_replaced_by_a_model(refused, tmp_path, monkeypatch):
    (tmp_path / "qat").mkdir()
    for name in ("model.pdmodel", "model.pdiparams"):
        (tmp_path / "qat" / name).write_bytes(b"x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years")
    flags = [f"--qat-model-path={tmp_path}/qat", f"--int8-model-save-path={tmp_path}/mine"]
    refused(convert.main, 3, ["mine is there and is no artifact of qat8"], *flags)
    assert (tmp_path / "mine/thesis.tex").read_text() == "years"


# The tester's build, and the doctor.


def test_missing_build_tools_are_named_with_the_line_that_brings_them(refused, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda program: None)
    refused(build_tester.main, 5, ["not installed: cmake, g++, make", "apt-get install cmake g++ make"])


def test_a_build_that_fails_tells_the_first_error_of_the_tools_and_shows_all_they_said(ends, tmp_path, monkeypatch):
    monkeypatch.setattr(build_tester, "SOURCE", tmp_path / "source")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/CMakeLists.txt").write_text('message(FATAL_ERROR "no paddle here")\n')
    done = ends(build_tester.main, f"--build-dir={tmp_path / 'build'}")
    assert done.code == 5 and done.err[-1].startswith("error: cmake failed: ")
    assert any("no paddle here" in line for line in done.err[:-1])


@pytest.fixture
def machine(monkeypatch):
    """`machine(**facts)`: what the doctor finds on a good machine but for these facts."""
    good = {"model": "Made up", "vnni": True, "turbo": False, "governor": "performance", "smt": False, "numa_nodes": 1,
            "allowed_cpus": [0], "cpus": 1, "cores": 1, "hypervisor": False}  # fmt: skip

    def find(quota=None, load=0.1, **facts):
        monkeypatch.setattr(environment, "cpu", lambda: good | facts)
        monkeypatch.setattr(kernel, "cgroup_limits", lambda: {"cpu_quota": quota, "memory_limit_bytes": None})
        monkeypatch.setattr(kernel, "load_average", lambda: [load, 0.0, 0.0])
        monkeypatch.setattr(environment, "missing_tools", lambda: [])
        monkeypatch.setattr(environment, "docker_engine", lambda: "20.10")
        monkeypatch.setattr(instructions, "shortcomings", list)
        return {f.what: f for f in doctor.findings()}

    return find


def test_a_good_machine_has_nothing_to_change(machine):
    assert [f.what for f in machine().values() if not f.ok] == []


@pytest.mark.parametrize(
    ("facts", "what", "ok", "advice"),
    [
        ({"vnni": False}, "AVX-512 VNNI", False, "about 1.5x"),
        ({"turbo": True}, "turbo", False, "inv doctor --fix"),
        ({"turbo": None}, "turbo", None, "FP32 and INT8 of one run"),
        ({"governor": "powersave"}, "frequency governor", False, "inv doctor --fix"),
        ({"governor": None}, "frequency governor", None, "the host decides"),
        ({"smt": True}, "SMT", False, "--cpus"),
        ({"numa_nodes": 2}, "NUMA", False, "--cpus"),
        ({"quota": 1.5}, "CPU quota", False, "give it CPUs"),
        ({"load": 2.0}, "load", False, "INVALID"),
        ({"hypervisor": True}, "virtual machine", False, "quote ratios"),
    ],
)
def test_what_spoils_figures_is_found_with_what_to_do(machine, facts, what, ok, advice):
    found = machine(**facts)
    assert found[what].ok is ok and advice in found[what].advice
    assert all(f.ok for name, f in found.items() if name != what)


def test_the_doctor_names_the_variable_that_keeps_onednn_from_vnni(machine, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    machine()
    monkeypatch.setattr(instructions, "shortcomings", lambda: ["ONEDNN_MAX_CPU_ISA=AVX2 keeps oneDNN from it"])
    found = next(f for f in doctor.findings() if f.what == "AVX-512 VNNI")
    assert found.ok is False and "ONEDNN_MAX_CPU_ISA=AVX2" in found.found and found.advice == "unset ONEDNN_MAX_CPU_ISA"


def test_the_doctor_prints_this_machine(ends):
    done = ends(doctor.main)
    assert done.code == 0 and any("AVX-512 VNNI" in line for line in done.out)
