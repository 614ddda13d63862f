"""A small part of `make fuzz`, always the same: changed files of every kind end well or in a clear error."""

import random

import attempts
import kinds
import pytest
from attempts import Ending, Kind


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def try_all(module: str, scratch) -> None:
    for kind in kinds.of(module):
        report = attempts.run(kind, range(kind.small), scratch / "scratch", scratch / "finds")
        assert report.finds == [], f"{kind.name}: {report.finds[:3]}; the files are in {scratch / 'finds'}"
        assert report.cases == kind.small
        if kind.codes:  # else what is damaged is not used, and the work starts anew
            assert set(report.ends) - {0}, f"{kind.name}: nothing was refused, so nothing was tried"


@pytest.mark.parametrize("module", ["texts", "images", "states", "weights"])
def test_changed_files_end_well_or_in_a_clear_error(module, scratch):
    try_all(module, scratch)


def test_changed_data_files_are_read_alike_by_python_and_cpp(scratch):
    try_all("data_files", scratch)


def test_changed_models_do_not_take_the_program_along(scratch):
    try_all("models", scratch)


def test_the_seeds_are_whole_files_that_are_read(tmp_path):
    """Else the changes would be made to what is refused anyway."""
    from kinds.weights import weights_seeds

    from qat8.models.weights import formats

    for name, content in weights_seeds().items():
        (tmp_path / name).write_bytes(content)
        assert len(formats.read(tmp_path / name).tensors) > 5, name


# That the campaign finds what there is to find.


def kind_of(attempt, codes=(3,), crashes: bool = False) -> Kind:
    def make(r: random.Random, directory):
        path = directory / "file"
        path.write_bytes(r.randbytes(4))
        return path

    return Kind("test", make, attempt, codes, 3, 3, crashes)


def die(path) -> Ending:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


def fill_the_memory(path) -> Ending:
    return Ending(0, "", str(len(bytearray(attempts.MEMORY * 2))))


def go_on_for_ever(path) -> Ending:
    while True:
        pass


def raise_an_exception(path) -> Ending:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("attempt", "find"),
    [
        (lambda path: Ending(1, "error: KeyError; this is a bug of qat8\n"), "exit code 1"),
        (lambda path: Ending(3, "error: a\nerror: b\n"), "2 lines on stderr"),
        (lambda path: Ending(3, ""), "0 lines on stderr"),
        (lambda path: Ending(0, "Traceback (most recent call last)\n"), "a traceback"),
        (lambda path: Ending(3, "error: \x1b[2J\n"), "control characters on the terminal"),
        (lambda path: Ending(0, "", "wrote outside"), "wrote outside"),
        (die, "death by signal 11"),
        (fill_the_memory, "MemoryError"),
        (go_on_for_ever, "a hang"),
        (raise_an_exception, "an exception"),
    ],
)
def test_what_no_file_may_do_is_a_find_and_the_file_is_kept(tmp_path, monkeypatch, attempt, find):
    monkeypatch.setattr(attempts, "SECONDS", 1.0)
    report = attempts.run(kind_of(attempt), range(2), tmp_path / "scratch", tmp_path / "finds")
    assert [f["find"] for f in report.finds] == [find, find] and report.cases == 2
    assert (tmp_path / "finds/test-1/file").read_bytes() == random.Random("test 1").randbytes(4)


def test_what_is_taken_and_what_is_refused_clearly_are_no_finds(tmp_path):
    for ending in (Ending(0), Ending(3, "error: a file; expected another\n"), Ending(5, "error: out of memory\n")):
        report = attempts.run(kind_of(lambda path, e=ending: e), range(2), tmp_path / "s", tmp_path / "f")
        assert report.finds == [] and report.ends[ending.code] == 2


def test_the_same_number_gives_the_same_file(tmp_path):
    (kind,) = kinds.of("data_files")
    first, second = (attempts.written(kind, 7, tmp_path / name).read_bytes() for name in "ab")
    assert first == second
