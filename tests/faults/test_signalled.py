"""Programs ended by Ctrl-C and kill: a small part of the campaign, which `make signals` runs whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import signalled

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("signalled")
    done = subprocess.run([sys.executable, "-m", "qat8.stages.build_tester"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    signalled.make_inputs(home / "inputs")
    return home


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("preprocess", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        ("sample_tester", (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        ("benchmark-instances", (signal.SIGTERM,)),
    ],
)
def test_a_program_that_a_signal_ends_says_one_line_leaves_nothing_and_goes_on(home, name, numbers):
    campaign = signalled.Signals(signalled.ALL[name], home / "inputs", home / name)
    campaign.signals(1, numbers)
    assert campaign.tally.wrong == []
    assert [campaign.tally.tried[n.name] for n in numbers] == [1] * len(numbers)
