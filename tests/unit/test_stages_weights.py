"""`inv weights --file`: what is imported, and what is refused before anything is written."""

import json

import numpy as np
import pytest

from qat8 import artifacts
from qat8.models import registry
from qat8.stages import weights


@pytest.fixture
def file(tmp_path):
    """MobileNet-V2 with PyTorch's names, as safetensors."""
    from safetensors.numpy import save_file

    names = {"_mean": "running_mean", "_variance": "running_var"}
    state = {}
    for name, shape in registry.state_shapes(registry.get("MobileNetV2")).items():
        layer, _, kind = name.rpartition(".")
        value = np.full(shape, 0.5, np.float32)
        state[f"{layer}.{names.get(kind, kind)}"] = value.T.copy() if name == "classifier.1.weight" else value
    save_file(state, tmp_path / "v2.safetensors")
    return tmp_path / "v2.safetensors"


def run(ends, file, target, *flags):
    return ends(weights.main, "--model=MobileNetV2", f"--file={file}", f"--output-dir={target}", *flags)


def test_a_file_becomes_an_artifact_that_says_where_it_is_from_and_what_matched(ends, file, tmp_path):
    digest = artifacts.sha256(file)
    done = run(ends, file, tmp_path / "out", f"--weights-sha256={digest.upper()}")
    assert done.code == 0 and any("matched: 262 arrays, layout torch" in line for line in done.out)
    with np.load(tmp_path / "out/weights.npz") as arrays:
        assert arrays["classifier.1.weight"].shape == (1280, 1000) and len(arrays.files) == 262
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["origin"], manifest["random_head"], manifest["inputs"]) == ("paddle", False, {file.name: digest})
    assert digest in (tmp_path / "out/ORIGIN.md").read_text()
    assert "up to date" in run(ends, file, tmp_path / "out").out[-1]


def test_another_checksum_is_refused_and_nothing_is_written(refused, file, tmp_path):
    refused(
        weights.main, 4, ["v2.safetensors has SHA-256", "0" * 64], "--model=MobileNetV2", f"--file={file}",
        f"--weights-sha256={'0' * 64}", f"--output-dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_weights_of_another_model_are_refused_by_what_is_missing(refused, file, tmp_path):
    refused(
        weights.main, 4, ["does not fit the model", "missing: ", "unused: "], "--model=ResNet50", f"--file={file}",
        f"--output-dir={tmp_path / 'out'}",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_backbone_gets_a_random_head_that_is_named_as_such(ends, file, tmp_path):
    from safetensors.numpy import load_file, save_file

    state = {n: v for n, v in load_file(file).items() if not n.startswith("classifier")}
    save_file({**state, "breeds.weight": np.zeros((19, 1280), np.float32)}, file)
    assert "unused: breeds.weight" in run(ends, file, tmp_path / "out", "--backbone-only").err[0]
    done = run(ends, file, tmp_path / "out", "--backbone-only", "--allow-unused")
    assert done.code == 0 and any("no accuracy of this model means anything" in line for line in done.out)
    with np.load(tmp_path / "out/weights.npz") as arrays:
        assert 0.009 < arrays["classifier.1.weight"].std() < 0.011 and not arrays["classifier.1.bias"].any()
    assert json.loads((tmp_path / "out/manifest.json").read_text())["random_head"] is True


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["--weights-sha256=1"], 2, ["without --file"]),
        (["--backbone-only"], 2, ["without --file"]),
        (["--model=ResNet50"], 2, ["no package with ImageNet weights of ResNet50", "--file=FILE"]),
        (["--file=none.pth"], 4, ["none.pth: no such file"]),
    ],
)
def test_what_cannot_be_imported_is_refused(refused, flags, code, words):
    refused(weights.main, code, words, *flags)
