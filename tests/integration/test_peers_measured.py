"""Each peer from our FP32 model to its INT8 figures, on a tiny network; CI has no `.venv-peers`, which costs 1.6 GB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qat8 import datafile, imaging, instructions, manifests, peers
from qat8.older_python import zip_strict

pytestmark = pytest.mark.integration
SIDE, CLASSES, IMAGES = 32, 7, 12
CONVOLUTIONS = {"Tiny": 3, "Plain": 2}
MAKE_MODEL = """
import sys
from qat8.engine import paddle
nn = paddle.nn
paddle.seed(3)

class Tiny(nn.Layer):
    def __init__(self):
        super().__init__()
        conv = lambda i, o, k, s, p, g=1: nn.Sequential(
            nn.Conv2D(i, o, k, s, p, groups=g, bias_attr=False), nn.BatchNorm2D(o), nn.ReLU6())
        self.first, self.left = conv(3, 16, 3, 2, [0, 1, 0, 1]), conv(16, 16, 3, 1, 1, 16)
        self.right, self.pool, self.fc = conv(16, 16, 1, 1, 0), nn.AdaptiveAvgPool2D(1), nn.Linear(16, 7)

    def forward(self, x):
        x = self.first(x)
        return self.fc(paddle.flatten(self.pool(self.left(x) + self.right(x)), 1))

class Plain(nn.Layer):
    # As the VGGs: biases instead of BatchNorm, maximum pooling, an average over single pixels, several linear layers.
    def __init__(self):
        super().__init__()
        conv = lambda i, o: nn.Sequential(nn.Conv2D(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2D(2, 2))
        self.features, self.pool = nn.Sequential(conv(3, 16), conv(16, 16)), nn.AdaptiveAvgPool2D(8)
        self.head = nn.Sequential(nn.Linear(1024, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(),
                                  nn.Dropout(), nn.Linear(32, 7))

    def forward(self, x):
        return self.head(paddle.flatten(self.pool(self.features(x)), 1))

net = {"Tiny": Tiny, "Plain": Plain}[sys.argv[2]]()
net.eval()
paddle.jit.save(net, sys.argv[1], input_spec=[paddle.static.InputSpec([-1, 3, 32, 32], "float32", "image")])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two tiny FP32 models and 12 images of noise in several scales."""
    home = tmp_path_factory.mktemp("peers")
    (home / "make_model.py").write_text(MAKE_MODEL)
    for name in CONVOLUTIONS:
        fp32 = home / "models" / name / "fp32"
        fp32.mkdir(parents=True)
        make = [sys.executable, home / "make_model.py", str(fp32 / "model"), name]
        subprocess.run(make, check=True, capture_output=True)
        manifests.write(fp32 / "manifest.json", "train", {}, {}, manifests.outputs_of(fp32))
    spec = imaging.SYMMETRIC
    header = datafile.Header(IMAGES, SIDE, SIDE, datafile.DTYPES[1], CLASSES, spec.mean, spec.std, {})
    writer, random = datafile.Writer(home / "images.bin", header), np.random.default_rng(5)
    for i in range(IMAGES):
        shade = random.uniform(-1, 1, (3, 1, 1))
        image = np.clip(shade + random.normal(0, 0.3 + 0.1 * (i % 3), (3, SIDE, SIDE)), -1, 1)
        writer.append(image.astype(np.float32), i % CLASSES)
    writer.close()
    return home


def measure(home: Path, start: list[str], model: Path, name: str) -> dict:
    command = [*start, f"--infer_model={model}", f"--infer_data={home}/images.bin", "--batch_size=5",
               "--warmup_size=1", f"--json={home}/{name}.json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads((home / f"{name}.json").read_text())


def require(peer: str) -> None:
    if not peers.INSTALLED.is_file() or peer not in peers.INSTALLED.read_text().split():
        pytest.skip(f"{peer} is not installed: `inv build.peers` makes its environment of 1.6 GB, which CI does not")


def make_models(home: Path, peer: str, model: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "QAT8_DATA": str(home)}
    make = [str(peers.PYTHON), "-m", "qat8.peers.make", f"--peer={peer}", f"--model={model}",
            f"--fp32-model={home}/models/{model}/fp32", f"--calibration={home}/images.bin"]  # fmt: skip
    return subprocess.run(make, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(("peer", "model"), [*((peer, "Tiny") for peer in peers.NAMES), ("torch", "Plain")])
def test_a_peer_names_paddles_classes_and_runs_its_int8_model_in_int8(home, peer, model):
    require(peer)
    first = make_models(home, peer, model)
    assert first.returncode == 0, first.stderr
    assert make_models(home, peer, model).stdout.count("is up to date") == 2

    ours = measure(home, [sys.executable, "tester/sample_tester.py"], home / f"models/{model}/fp32", "paddle")
    start = [str(peers.PYTHON), "tester/peer_tester.py", peer]
    fp32, int8 = (measure(home, start, home / f"models/{model}/peers/{peer}/{p}", p) for p in ("fp32", "int8"))
    assert fp32["predictions"] == ours["predictions"]
    assert sum(a == b for a, b in zip_strict(int8["predictions"], ours["predictions"])) >= IMAGES - 2
    assert fp32["images"] == int8["images"] == IMAGES and fp32["partial_batch"]["images"] == 2
    assert int8["tester"] == peer and int8["engine"] and int8["threads_busy"] <= 1
    manifest = json.loads((home / f"models/{model}/peers/{peer}/int8/manifest.json").read_text())
    assert manifest["int8_convolutions"] == [CONVOLUTIONS[model]] * 2


@pytest.mark.skipif(not instructions.has_bf16(), reason="a CPU without avx512_bf16 and amx_bf16")
def test_openvino_runs_its_fp32_model_in_bfloat16_when_asked_and_in_float32_when_not(home):
    require("openvino")
    assert make_models(home, "openvino", "Tiny").returncode == 0
    fp32 = home / "models/Tiny/peers/openvino/fp32"
    start = [str(peers.PYTHON), "tester/peer_tester.py", "openvino"]
    plain, bf16 = measure(home, start, fp32, "plain"), measure(home, [*start, "--bf16"], fp32, "bf16")
    assert plain["bf16_convolutions"] is None and bf16["bf16_convolutions"] == [3, 3]
    assert sum(a == b for a, b in zip_strict(plain["predictions"], bf16["predictions"])) >= IMAGES - 2
    done = subprocess.run([*start, "--bf16", f"--infer_model={fp32.with_name('int8')}",
                           f"--infer_data={home}/images.bin"], capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 4 and "--bf16 of an INT8 model" in done.stderr


def test_a_paddle_model_is_not_taken_for_a_peers(home):
    command = [sys.executable, "tester/peer_tester.py", "openvino", f"--infer_model={home}/models/Tiny/fp32",
               f"--infer_data={home}/images.bin"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4 and "not a model of openvino" in done.stderr and "inv peers" in done.stderr
