"""Flags in both spellings, strict values, one line and an exit code for each failure."""

import errno
import os
import subprocess
import sys

import pytest

from qat8 import cli, errors
from qat8.errors import UsageError


@pytest.fixture
def parse():
    p = cli.Parser(prog="prog")
    p.flag("data-dir", default="here")
    p.flag("quick", default=False)
    p.flag("checked", default=True)
    p.flag("size", type=cli.positive_int, default=5)
    p.flag("warmup", type=cli.count, default=1)
    return lambda *argv: p.parse_args(list(argv))


@pytest.mark.parametrize("argv", [("--data-dir=x",), ("--data_dir=x",), ("--data-dir", "x"), ("--data_dir", "x")])
def test_a_flag_of_two_words_goes_by_both_spellings(parse, argv):
    assert parse(*argv).data_dir == "x"


@pytest.mark.parametrize(
    ("argv", "value"),
    [((), False), (("--quick",), True), (("--quick=true",), True), (("--quick=True",), True), (("--quick=on",), True),
     (("--quick=1",), True), (("--quick=False",), False), (("--quick=no",), False), (("--quick", "0"), False)],
)  # fmt: skip
def test_a_boolean_means_what_is_written(parse, argv, value):
    assert parse(*argv).quick is value


def test_a_boolean_that_is_on_can_be_switched_off(parse):
    assert (parse().checked, parse("--checked=false").checked) == (True, False)


@pytest.mark.parametrize(
    ("argument", "fact"),
    [
        ("--quick=maybe", "'maybe' is neither true nor false"),
        ("--size=0", "'0' is not a whole number from 1"),
        ("--size=-3", "'-3' is not a whole number from 1"),
        ("--size=2.5", "'2.5' is not a whole number from 1"),
        ("--warmup=-1", "'-1' is not a whole number from 0"),
        ("--nothing=1", "--nothing"),
        ("--warmu=2", "--warmu"),  # no abbreviations: a later flag could make them ambiguous
        ("--siz=2", "--siz"),
        ("stray", "stray"),
    ],
)
def test_what_is_not_taken_is_a_usage_error_that_names_it_and_the_help(parse, argument, fact):
    with pytest.raises(UsageError) as failure:
        parse(argument)
    assert fact in str(failure.value) and "prog --help" in str(failure.value)


def test_zero_is_a_count_and_no_size(parse):
    assert parse("--warmup=0").warmup == 0


CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.QatError)]


def raising(error):
    def main(argv):
        raise error

    return main


def test_a_stage_that_ends_well_ends_with_code_0(ends):
    done = ends(lambda argv: print("got", *argv), "--a", "b")
    assert (done.code, done.out, done.err) == (0, ["got --a b"], [])


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_one_line_and_its_own_exit_code(refused, kind):
    line = refused(raising(kind("the fact", "this", "do that")), kind.exit_code, [])
    assert line == "error: the fact; expected this; next: do that"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_full_disk_and_missing_rights_are_the_machines_fault_and_name_the_file(refused, number):
    refused(raising(OSError(number, os.strerror(number), "/data/x.bin")), 5, ["/data/x.bin", os.strerror(number)])


def test_an_os_error_without_a_file_is_told_without_one(refused):
    line = refused(raising(OSError(errno.ENOSPC, "No space left on device")), 5, [])
    assert line.startswith("error: No space left on device; next: ")


@pytest.mark.parametrize("bug", [KeyError("lost"), OSError(errno.ENOENT, "No such file", "lost"), OSError("lost")])
def test_a_bug_is_one_line_with_the_switch_that_shows_where(refused, monkeypatch, bug):
    monkeypatch.delenv("QAT8_DEBUG", raising=False)
    refused(raising(bug), 1, ["lost", type(bug).__name__, "bug of qat8", "QAT8_DEBUG=1"])


@pytest.mark.parametrize("bug", [KeyError("lost"), OSError(errno.ENOENT, "No such file", "lost")])
def test_the_switch_lets_the_traceback_through(monkeypatch, bug):
    monkeypatch.setenv("QAT8_DEBUG", "1")
    with pytest.raises(type(bug)):
        cli.run(raising(bug), [])


def test_an_interruption_is_code_130_and_says_that_it_can_go_on(refused):
    refused(raising(KeyboardInterrupt()), 130, ["interrupted", "run the same command again"])


def test_an_interruption_that_knows_where_it_stopped_says_so(refused):
    refused(raising(KeyboardInterrupt("interrupted (updates, 3 updates done)")), 130, ["3 updates done"])


def test_help_ends_well_and_names_the_flags(capsys):
    p = cli.Parser(prog="prog", description="does things")
    p.flag("data-dir", default="here", help="directory")
    with pytest.raises(SystemExit) as end:
        p.parse_args(["--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "--data-dir" in out and "(default: here)" in out


@pytest.mark.parametrize(
    "script", ["train_image_classification.py", "save_qat_model.py", "full_ILSVRC2012_val_preprocess.py"]
)
def test_the_tutorials_scripts_take_flags_and_fail_as_stages_do(repo, script):
    command = [sys.executable, str(repo / "src" / script), "--no-such-flag"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "--no-such-flag" in done.stderr and f"{script} --help" in done.stderr


def test_what_a_file_holds_cannot_move_the_cursor_or_begin_another_line(refused):
    line = refused(raising(errors.DataError("a\x1b[2Jb\nc\x07\udcff\x9b")), 3, [])
    assert line == "error: a\\x1b[2Jb\\nc\\x07\\udcff\\x9b"


def test_an_endless_message_is_cut_and_says_so(refused):
    line = refused(raising(errors.DataError("x" * 100_000)), 3, ["98000 characters more"])
    assert len(line) < 2100


def test_letters_of_any_alphabet_are_left_as_they_are(refused):
    assert (
        refused(raising(errors.DataError("Gr\u00fc\u00dfe, \u4e16\u754c")), 3, [])
        == "error: Gr\u00fc\u00dfe, \u4e16\u754c"
    )


def test_no_memory_is_an_error_of_the_machine(refused):
    refused(raising(MemoryError()), 5, ["out of memory"])
