"""Sensitivity and accuracy-aware conversion on a real, small model: real QAT, real passes, real INT8 kernels."""

import json

import numpy as np
import pytest

from qat8 import artifacts, manifests
from qat8.datafile import DTYPES, Header, Writer
from qat8.engine import paddle
from qat8.int8 import fp32_weights, inspection, passes
from qat8.older_python import zip_strict
from qat8.stages import convert, sensitivity

SIDE, CLASSES, IMAGES = 16, 10, 24
LAYERS = ["conv2d_0", "conv2d_1", "conv2d_2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """fp32/, qat/ and val.bin: three convolutions with random weights, ranges learned on the images, and labels that
    are the FP32 model's own answers, so that its top-1 is 100 %."""
    import paddleslim.quant as quant

    from qat8.prediction import predictor
    from qat8.saving import save_model

    directory = tmp_path_factory.mktemp("sensitivity")
    paddle.enable_static()
    static, place, scope = paddle.static, paddle.CPUPlace(), paddle.static.Scope()
    program, startup = static.Program(), static.Program()
    with static.program_guard(program, startup), paddle.utils.unique_name.guard():
        paddle.seed(1)
        x = image = static.data("image", [None, 3, SIDE, SIDE], "float32")
        for channels in (8, 16, 16):
            weights = paddle.nn.initializer.KaimingNormal()
            x = paddle.nn.functional.relu(static.nn.conv2d(x, channels, 3, param_attr=weights, bias_attr=False))
        pooled = paddle.nn.functional.adaptive_avg_pool2d(x, 1)
        logits = static.nn.fc(pooled, CLASSES, weight_attr=paddle.nn.initializer.Normal(0.0, 5.0))
    executor = static.Executor(place)
    executor.run(startup, scope=scope)
    images = np.random.default_rng(2).normal(size=(IMAGES, 3, SIDE, SIDE)).astype(np.float32)
    test = program.clone(for_test=True)
    (directory / "fp32").mkdir(), (directory / "qat").mkdir()
    save_model(test, [image.name], [logits.name], executor, scope, directory / "fp32")
    config = {"weight_quantize_type": "channel_wise_abs_max", "activation_quantize_type": "moving_average_abs_max",
              "quantize_op_types": ["conv2d", "pool2d"], "onnx_format": False}  # fmt: skip
    with static.scope_guard(scope):
        train = quant.quant_aware(program, place, config, scope, for_test=False, return_program=True)
        aware = quant.quant_aware(test, place, config, scope, for_test=True)
        for _ in range(20):
            executor.run(train, {image.name: images}, [logits.name], scope=scope)
        converted = quant.convert(aware, place, config, scope)
    save_model(converted, [image.name], [logits.name], executor, scope, directory / "qat")
    paddle.disable_static()
    answers = predictor(directory / "fp32", 1)(images).argmax(1)
    header = Header(IMAGES, SIDE, SIDE, DTYPES[1], CLASSES, (0.0,) * 3, (1.0,) * 3, {})
    writer = Writer(directory / "val.bin", header)
    for pixels, label in zip_strict(images, answers):
        writer.append(pixels, int(label))
    writer.close()
    return directory


@pytest.fixture
def flags(home, monkeypatch, tmp_path):
    monkeypatch.setattr(artifacts, "DATA", tmp_path)
    yield [f"--qat-model-path={home}/qat", f"--fp32-model={home}/fp32", "--quantized-ops=conv2d,pool2d"]
    paddle.disable_static()


def int8_layers(model) -> list[str]:
    ops = passes.load(str(model / "model")).program.global_block().ops
    return [
        op.input("Filter")[0].partition(".")[0] for op in ops if op.type == "fused_conv2d" and inspection.is_int8(op)
    ]


def weights(model) -> dict[str, np.ndarray]:
    loaded = passes.load(str(model / "model"))
    names = [v.name for v in loaded.program.list_vars() if ".w_" in v.name and v.persistable]
    return {name: np.array(loaded.scope.find_var(name).get_tensor()) for name in names}


def test_every_layer_is_measured_alone_and_the_reference_is_fp32(ends, flags, home, tmp_path):
    command = [*flags, f"--data-file={home}/val.bin", f"--output-dir={tmp_path}/out"]
    done = ends(sensitivity.main, *command)
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out/sensitivity.json").read_text())
    assert [one["layer"] for one in found["layers"]] == LAYERS
    assert found["fp32"] == {"top1": 1.0, "agreement": 1.0, "divergence": 0.0} and found["images"] == IMAGES
    divergences = [one["score"]["divergence"] for one in found["layers"]]
    # Each layer alone moves the outputs differently, and none moves them as far as a wrong model would.
    assert len(set(divergences)) == 3 and all(0 < d < 1 for d in [*divergences, found["every"]["divergence"]])
    assert found["none"]["divergence"] < 1e-9  # the FP32 model again
    names = {f"sensitivity.{kind}" for kind in ("json", "csv", "txt", "png", "svg")} | {"manifest.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert any("each layer quantized alone, 24 images, FP32 top-1 100.0%" in line for line in done.out)
    again = ends(sensitivity.main, *command)
    assert "up to date" in again.out[-1] and any("conv2d_1" in line for line in again.out)


def test_a_limit_that_int8_meets_leaves_no_layer_out(ends, flags, home, tmp_path):
    done = ends(
        convert.main, *flags, f"--check-data={home}/val.bin", "--max-drop=100", f"--int8-model-save-path={tmp_path}/a"
    )
    assert done.code == 0, done.err
    assert int8_layers(tmp_path / "a") == LAYERS
    manifest = manifests.read(tmp_path / "a")
    assert manifest["left_in_fp32"] == [] and manifest["accuracy"]["images"] == IMAGES


def test_layers_stay_in_fp32_until_the_limit_is_met_and_the_file_and_the_manifest_say_which(
    ends, flags, home, tmp_path, monkeypatch
):
    from qat8.int8.sensitivity import Candidates, Score

    real = Candidates.score

    def costly(self, wanted):  # quantizing the second layer loses half of the images
        score, layers = real(self, wanted)
        return Score(0.5 if wanted("conv2d_1") else 1.0, score.agreement, score.divergence + wanted("conv2d_1")), layers

    monkeypatch.setattr(Candidates, "score", costly)
    done = ends(
        convert.main, *flags, f"--check-data={home}/val.bin", "--max-drop=0.5", f"--int8-model-save-path={tmp_path}/b"
    )
    assert done.code == 0, done.err
    assert int8_layers(tmp_path / "b") == ["conv2d_0", "conv2d_2"]
    assert manifests.read(tmp_path / "b")["left_in_fp32"] == ["conv2d_1"]
    ours, theirs = weights(home / "fp32"), weights(tmp_path / "b")
    rounded = weights(home / "qat")
    assert np.array_equal(theirs["conv2d_1.w_0"], ours["conv2d_1.w_0"])
    assert "conv2d_0.w_0" not in theirs and theirs["conv2d_0.w_0@int8"].dtype == np.int8
    assert np.array_equal(rounded["conv2d_1.w_0"], np.round(rounded["conv2d_1.w_0"]))  # on INT8's grid
    assert any("left in FP32 for the accuracy: conv2d_1" in line for line in done.out)
    assert any("0 layers in FP32: top-1 50.0%, -50.00 points from FP32" in line for line in done.out)


def test_a_limit_that_no_choice_of_layers_meets_is_refused_and_leaves_no_model(
    refused, flags, home, tmp_path, monkeypatch
):
    from qat8.int8.sensitivity import Candidates, Score

    real = Candidates.score
    monkeypatch.setattr(Candidates, "score", lambda self, wanted: (Score(0.9, 1.0, 0.0), real(self, wanted)[1]))
    refused(
        convert.main, 7, ["even with no layer in INT8 top-1 falls by 10.00 points", "expected 0.5"], *flags,
        f"--check-data={home}/val.bin", "--max-drop=0.5", f"--int8-model-save-path={tmp_path}/c",
    )  # fmt: skip
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--max-drop=0.5"], ["--max-drop without --check-data"]),
     (["--max-drop=-1", "--check-data=x"], ["--max-drop=-1.0", "from 0 to 100"]),
     (["--max-drop=nan", "--check-data=x"], ["--max-drop=nan"])],
)  # fmt: skip
def test_a_limit_that_cannot_be_measured_is_refused_at_once(refused, flags, options, words):
    refused(convert.main, 2, words, *flags, *options)


def test_a_layer_gets_its_bias_and_batch_norm_back_and_a_residual_is_no_bias():
    static = paddle.static
    paddle.enable_static()
    try:
        program, startup = static.Program(), static.Program()
        with static.program_guard(program, startup), paddle.utils.unique_name.guard():
            x = static.data("x", [None, 3, 8, 8])
            first = static.nn.batch_norm(static.nn.conv2d(x, 3, 3, padding=1, bias_attr=False))
            static.nn.conv2d(first, 3, 3, padding=1) + x
        scope, reference = static.Scope(), static.Scope()
        executor = static.Executor(paddle.CPUPlace())
        executor.run(startup, scope=scope)
        executor.run(startup, scope=reference)
        names = [
            p.name for p in program.list_vars() if p.persistable and scope.find_var(p.name) and p.name[:5] != "feed"
        ]
        for where, value in ((scope, 1.0), (reference, 2.0)):
            for name in names:
                tensor = where.find_var(name).get_tensor()
                tensor.set(np.full(tensor.shape(), value, np.float32), paddle.CPUPlace())
        assert fp32_weights.put_back(program, scope, reference, lambda layer: layer == "conv2d_1") == []
        changed = {name for name in names if (np.array(scope.find_var(name).get_tensor()) == 2).all()}
        norm = {f"batch_norm_0.{kind}" for kind in ("w_0", "b_0", "w_1", "w_2")}
        assert changed == {"conv2d_0.w_0"} | norm
        assert fp32_weights.put_back(program, scope, reference, lambda layer: layer == "conv2d_0") == []
        changed = {name for name in names if (np.array(scope.find_var(name).get_tensor()) == 2).all()}
        assert changed == {"conv2d_0.w_0", "conv2d_1.w_0", "conv2d_1.b_0"} | norm
        assert fp32_weights.put_back(program, scope, static.Scope(), lambda _: False) == ["conv2d_0", "conv2d_1"]
    finally:
        paddle.disable_static()
