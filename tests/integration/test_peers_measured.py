"""Each peer from our FP32 model to its INT8 figures, on a tiny network; CI has no `.venv-peers`, which costs 1.6 GB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qat8 import artifacts, datafile, imaging, peers

pytestmark = pytest.mark.integration
SIDE, CLASSES, IMAGES = 32, 7, 12
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

net = Tiny()
net.eval()
paddle.jit.save(net, sys.argv[1], input_spec=[paddle.static.InputSpec([-1, 3, 32, 32], "float32", "image")])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A tiny FP32 model and 12 images of noise in several scales."""
    home = tmp_path_factory.mktemp("peers")
    fp32 = home / "models" / "Tiny" / "fp32"
    fp32.mkdir(parents=True)
    (home / "make_model.py").write_text(MAKE_MODEL)
    subprocess.run([sys.executable, home / "make_model.py", str(fp32 / "model")], check=True, capture_output=True)
    artifacts.write_manifest(fp32 / "manifest.json", "train", {}, {}, artifacts.outputs_of(fp32))
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


@pytest.mark.parametrize("peer", peers.NAMES)
def test_a_peer_names_paddles_classes_and_runs_its_int8_model_in_int8(home, peer):
    if not peers.INSTALLED.is_file() or peer not in peers.INSTALLED.read_text().split():
        pytest.skip(f"{peer} is not installed: `inv build.peers` makes its environment of 1.6 GB, which CI does not")
    environment = {**os.environ, "QAT8_DATA": str(home)}
    make = [str(peers.PYTHON), "-m", "qat8.peers.make", f"--peer={peer}", "--model=Tiny",
            f"--fp32-model={home}/models/Tiny/fp32", f"--calibration={home}/images.bin"]  # fmt: skip
    first = subprocess.run(make, capture_output=True, text=True, env=environment)
    assert first.returncode == 0, first.stderr
    again = subprocess.run(make, capture_output=True, text=True, env=environment)
    assert again.stdout.count("is up to date") == 2

    ours = measure(home, [sys.executable, "tester/sample_tester.py"], home / "models/Tiny/fp32", "paddle")
    start = [str(peers.PYTHON), "tester/peer_tester.py", peer]
    fp32, int8 = (measure(home, start, home / f"models/Tiny/peers/{peer}/{p}", p) for p in ("fp32", "int8"))
    assert fp32["predictions"] == ours["predictions"]
    assert sum(a == b for a, b in zip(int8["predictions"], ours["predictions"], strict=True)) >= IMAGES - 2
    assert fp32["images"] == int8["images"] == IMAGES and fp32["partial_batch"]["images"] == 2
    assert int8["tester"] == peer and int8["engine"] and int8["threads_busy"] <= 1
    manifest = json.loads((home / f"models/Tiny/peers/{peer}/int8/manifest.json").read_text())
    assert manifest["int8_convolutions"] == [3, 3]


def test_a_paddle_model_is_not_taken_for_a_peers(home):
    command = [sys.executable, "tester/peer_tester.py", "openvino", f"--infer_model={home}/models/Tiny/fp32",
               f"--infer_data={home}/images.bin"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4 and "not a model of openvino" in done.stderr and "inv peers" in done.stderr
