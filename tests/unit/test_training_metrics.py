"""The files of a training's measures, and what is left of them after an interruption."""

import json

import pytest
from tensorboardX.proto.event_pb2 import Event

from qat8.training.checkpoint import Position
from qat8.training.metrics import Metrics

SCORE = {"divergence": 0.5, "agreement": 0.9, "top1": 0.8, "images": 10}


def write(metrics: Metrics, updates) -> None:
    for n in updates:
        metrics.updated(n, 1, 1 / n, 0.5, 0.1, 0.01)


def lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def scalars(directory) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all event files; a record is length, CRC, bytes, CRC."""
    found = []
    for file in sorted((directory / "events").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            at += length + 16
    return found


def test_a_line_an_update_and_a_line_a_validation(tmp_path):
    metrics = Metrics(tmp_path, Position("x"))
    metrics.judged(0, "ranges calibrated", SCORE, True)
    write(metrics, [1])
    metrics.close()
    judged, updated = lines(tmp_path)
    assert judged == {"kind": "validation", "update": 0, "at": "ranges calibrated", **SCORE, "best": True}
    assert updated == {
        "kind": "update",
        "update": 1,
        "epoch": 1,
        "loss": 1.0,
        "top1": 0.5,
        "rate": 0.1,
        "seconds": 0.01,
    }


def test_tensorboard_gets_the_same_figures(tmp_path):
    metrics = Metrics(tmp_path, Position("x"))
    metrics.judged(0, "ranges calibrated", SCORE, True)
    write(metrics, [1, 2])
    metrics.close()
    found = {(tag, step): value for tag, step, value in scalars(tmp_path)}
    assert found["update/loss", 2] == 0.5 and found["validation/top1", 0] == pytest.approx(0.8)


def test_what_came_after_the_checkpoint_is_taken_out_and_half_a_line_too(tmp_path):
    metrics = Metrics(tmp_path, Position("x"))
    metrics.judged(0, "ranges calibrated", SCORE, True)
    metrics.judged(0, "means corrected", SCORE, True)
    write(metrics, [1, 2, 3])
    metrics.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "update", "upd')
    position = Position("x", "updates", 2, history=[{"at": "ranges calibrated"}, {"at": "means corrected"}])
    resumed = Metrics(tmp_path, position)
    write(resumed, [3])
    resumed.close()
    assert [entry["update"] for entry in lines(tmp_path)] == [0, 0, 1, 2, 3]


def test_another_training_starts_new_files(tmp_path):
    first = Metrics(tmp_path, Position("x"))
    write(first, [1, 2])
    first.close()
    second = Metrics(tmp_path, Position("y"))
    write(second, [1])
    second.close()
    assert len(lines(tmp_path)) == 1 and len(list((tmp_path / "events").iterdir())) == 1
