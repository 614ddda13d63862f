"""What a QAT step costs beside an FP32 step: the verdict holds only where the figures do."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import tiny_network

from qat8.engine import paddle
from qat8.training import step_time
from qat8.training.step_time import Took


@pytest.fixture(scope="module", autouse=True)
def static_mode():
    yield
    paddle.disable_static()


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([1.1, 1.2, 1.15, 1.12, 1.18, 1.16], "below"),
        ([1.6, 1.7, 1.65, 1.62, 1.68, 1.66], "above"),
        ([1.1, 1.9, 1.2, 1.8, 1.4, 1.6], "undecided"),  # the interval holds the limit
        ([1.1, 1.2, 1.15, 1.12, 1.18], "undecided"),  # five pairs do not make 95 %
        ([1.1] * 11 + [9.0], "below"),  # one disturbed pair changes nothing
    ],
)
def test_the_ratio_is_called_below_or_above_only_when_its_whole_interval_is(ratios, expected):
    assert step_time.verdict(ratios, 1.5) == expected


def test_what_slows_a_pair_falls_out_of_its_ratio_and_waiting_out_of_the_cpu_time():
    slowed = [1, 1, 5, 1, 1, 3]
    times = {
        step_time.FP32: [Took(s, 1) for s in slowed],
        step_time.QAT: [Took(s * 1.2, 1.1) for s in slowed],
        "teacher": [Took(0.1, 0.1)],
    }
    found = step_time.summary(times, 1.5)
    assert found["ratio"]["median"] == pytest.approx(1.2) == found["ratio"]["max"]
    assert found["cpu_ratio"]["median"] == pytest.approx(1.1) and found["verdict"] == "below"
    assert found["steps"][step_time.FP32] == {"median": 1, "min": 1, "max": 5}
    assert found["cpu_share"] == pytest.approx(1.1 / 1.2)  # the median of twelve: four had all of it, four less


def test_both_updates_take_turns_and_all_figures_are_said_and_written(monkeypatch, ends, tmp_path):
    names = SimpleNamespace(get=lambda _: tiny_network.MODEL, DEFAULT="Tiny", MODELS=("Tiny",))
    monkeypatch.setattr(step_time, "registry", names)
    order, once = [], step_time._kinds

    def noted(*args):
        kinds = once(*args)
        return {name: lambda name=name, run=run: (order.append(name), run()) for name, run in kinds.items()}

    monkeypatch.setattr(step_time, "_kinds", noted)
    file = tmp_path / "steps.json"
    done = ends(step_time.main, "--batch-size=2", "--repetitions=6", f"--output={file}")
    assert done.code == 0, done.err
    q, f = step_time.QAT, step_time.FP32
    assert order[:16] == [q, f, f, q] * 4
    figures = json.loads(file.read_text())
    assert figures["batch_size"] == 2 and len(figures["ratio"]["pairs"]) == 6
    assert all(0 < s["min"] <= s["median"] <= s["max"] < 60 for s in figures["steps"].values())
    text = "\n".join(done.out)
    assert all(name in text for name in figures["steps"]) and "QAT / FP32 by CPU time" in text
    assert figures["verdict"] == "undecided" or f"the ratio is {figures['verdict']} 1.5" in text


def test_too_few_pairs_are_said_to_be_too_few(monkeypatch, ends):
    took = {name: [Took(1, 1)] * 2 for name in (step_time.FP32, step_time.QAT)}
    monkeypatch.setattr(step_time, "_kinds", lambda *_: {})
    monkeypatch.setattr(step_time, "_measure", lambda *_: took)
    done = ends(step_time.main, "--model=MobileNetV1", "--repetitions=2")
    assert done.code == 0 and "  not decidable with 2 pairs: --repetitions=6 or more" in done.out
