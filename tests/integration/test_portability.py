"""CPUs with fewer instructions, imitated by oneDNN's own variable: right results all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qat8 import instructions

pytestmark = pytest.mark.integration

REPO = Path(__file__).resolve().parents[2]
SCORES = """
import sys
import numpy as np
from pathlib import Path
from qat8.prediction import predictor
for name in ("fp32", "full", "reduced"):
    (score,) = set(predictor(Path(sys.argv[1]) / name, 1)(np.ones((1, 3, 8, 8), np.float32))[0].tolist())
    print(name, score)
"""
LESSER = ["AVX512_CORE", "AVX2", "SSE41"]


@pytest.fixture(scope="module")
def saturating(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("saturating")
    make = [sys.executable, REPO / "tests/data/saturating_model.py", home]
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home


def scores(models: Path, isa: str = "") -> dict[str, float]:
    """What each model gives for an image of ones, with oneDNN held back to `isa`."""
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run([sys.executable, "-c", SCORES, models], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


EXACT = 32 * 1.5 * 0.25


def test_the_models_compute_what_they_should_with_all_instructions(saturating):
    found = scores(saturating)
    assert found["fp32"] == pytest.approx(EXACT, rel=1e-5)
    assert found["reduced"] == pytest.approx(EXACT, rel=0.02)
    assert instructions.saturates() or found["full"] == pytest.approx(EXACT, rel=0.02)


@pytest.mark.parametrize("isa", LESSER)
def test_without_vnni_the_full_range_overflows_and_the_reduced_one_does_not(saturating, isa):
    found = scores(saturating, isa)
    assert found["full"] < 0.6 * EXACT
    assert found["reduced"] == pytest.approx(EXACT, rel=0.02)
