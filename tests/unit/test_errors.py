"""The table of exit codes."""

import pickle
import re

import pytest

from qat8 import errors

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.QatError)]


def test_every_class_has_an_exit_code_of_its_own():
    codes = {c.__name__: c.exit_code for c in CLASSES}
    assert codes == {
        "QatError": 1, "UsageError": 2, "DataError": 3, "ModelError": 4, "MachineError": 5, "StageError": 6,
        "VerificationError": 7, "BusyError": 8,
    }  # fmt: skip


def test_the_readme_lists_these_codes(repo):
    text = (repo / "README.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert listed == {0, errors.HUNG_UP, errors.INTERRUPTED, errors.TERMINATED, *(c.exit_code for c in CLASSES)}


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("a fact",), "a fact"),
        (("a fact.", "this"), "a fact; expected this"),
        (("a fact", "this.", "do that."), "a fact; expected this; next: do that"),
        (("a fact", "", "do that"), "a fact; next: do that"),
    ],
)
def test_fact_expectation_and_next_step_make_one_line(parts, line):
    assert str(errors.DataError(*parts)) == line


def test_an_error_of_a_worker_process_arrives_whole():
    sent = errors.DataError("a.jpg: broken", "a JPEG file", "replace it")
    arrived = pickle.loads(pickle.dumps(sent))
    assert type(arrived) is errors.DataError and str(arrived) == str(sent)
