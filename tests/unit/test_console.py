"""What stages print into a log, and what they keep back."""

import os
import sys

import pytest

from qat8 import console
from qat8.console import Bar, native_stderr_kept_back, say, step


def test_a_path_of_any_length_stays_on_its_line_and_brackets_are_no_markup(capsys):
    path = "/data/[bold]" + "long/" * 60
    say(path)
    assert capsys.readouterr().out == path + "\n"


def test_a_step_that_ends_well_says_how_long_it_took(capsys):
    with step("thinking"):
        pass
    first, last = capsys.readouterr().out.splitlines()
    assert first == "thinking ..." and last.startswith("thinking: done in 0.0 s")


def test_a_step_that_fails_does_not_say_that_it_is_done(capsys):
    with pytest.raises(ValueError), step("thinking"):
        raise ValueError
    assert "done" not in capsys.readouterr().out


def test_a_bar_in_a_log_is_a_line_at_most_every_ten_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with Bar("measuring", 40, done=10) as bar:
        for _ in range(30):
            now[0] += 1
            bar.advance(note="loss 1")
    assert capsys.readouterr().out.splitlines() == [
        "  measuring: 21 of 40 loss 1",
        "  measuring: 32 of 40 loss 1",
    ]


def test_a_bar_with_a_unit_says_its_rate_and_the_time_left(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with Bar("preprocessing", 4000, done=1000, unit="images") as bar:  # 1000 of an earlier run: no speed of this one
        for _ in range(12):
            now[0] += 1
            bar.advance(10)
    assert capsys.readouterr().out.splitlines() == ["  preprocessing: 1110 of 4000 10.0 images/s, 4 min 49 s left"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_are_told_as_one_says_them(seconds, text):
    assert console.duration(seconds) == text


def test_native_messages_are_kept_back_when_all_is_well(capfd):
    with native_stderr_kept_back():
        os.write(2, b"noise of a C++ pass\n")
    print("ours", file=sys.stderr)
    assert capfd.readouterr().err == "ours\n"


@pytest.mark.parametrize(("debug", "seen"), [("", ""), ("1", "the cause\n")])
def test_native_messages_of_a_failure_are_shown_when_debugging(capfd, monkeypatch, debug, seen):
    monkeypatch.setenv("QAT8_DEBUG", debug)
    with pytest.raises(ValueError), native_stderr_kept_back():
        os.write(2, b"the cause\n")
        raise ValueError
    assert capfd.readouterr().err == seen
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
