"""The files of a training's measures, and what is left of them after an interruption."""

import errno
import json

import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event, SessionLog

from qat8.training.checkpoint import Position
from qat8.training.metrics import Metrics

SCORE = {"divergence": 0.5, "agreement": 0.9, "top1": 0.8, "images": 10}


def write(metrics: Metrics, updates) -> None:
    for n in updates:
        metrics.updated(n, 1, 1 / n, 0.5, 0.1, 0.01)


def lines(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def events(directory):
    """Of all event files; a record is length, CRC, bytes, CRC."""
    for file in sorted((directory / "events").iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            yield Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16


def scalars(directory) -> list[tuple[str, int, float]]:
    """(tag, step, value)"""
    return [(value.tag, event.step, value.simple_value) for event in events(directory) for value in event.summary.value]


def sessions(directory) -> list[tuple[int, bool]]:
    """(step, whether TensorBoard starts anew from it)"""
    return [(event.step, event.session_log.status == SessionLog.START) for event in events(directory)]


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


def test_a_full_disk_ends_the_training_and_does_not_hold_it_up_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(record_writer, "open_file", lambda path: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(OSError) as failure:
        write(Metrics(tmp_path, Position("x")), range(1, 100))  # more than any queue holds
    assert failure.value.errno == errno.ENOSPC


def test_a_training_that_goes_on_makes_tensorboard_forget_what_came_after_the_checkpoint(tmp_path):
    first = Metrics(tmp_path, Position("x"))
    write(first, [1, 2, 3])
    first.close()
    resumed = Metrics(tmp_path, Position("x", "updates", 2))
    resumed.close()
    assert [step for step, started in sessions(tmp_path) if started] == [3]


def test_what_a_killed_run_was_writing_of_the_lines_is_cleared(tmp_path):
    (tmp_path / ".metrics.jsonl.tmp-x").write_text("half")
    Metrics(tmp_path, Position("x")).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events", "metrics.jsonl"]
