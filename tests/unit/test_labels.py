"""Label lists: the tutorial's lines, and every line that is none."""

import pytest

from qat8 import labels
from qat8.errors import DataError


@pytest.fixture
def read(tmp_path):
    """`read(text or bytes, classes)`: the list's entries, paths relative to the data directory."""

    def call(content, classes: int = 1000):
        (tmp_path / "list.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        entries = labels.read(tmp_path, tmp_path / "list.txt", classes)
        return [(str(path.relative_to(tmp_path)), label) for path, label in entries]

    return call


def test_entries_come_in_the_lists_order_and_blank_lines_do_not_count(read):
    assert read("val/b 7\n\n  val/a 0  \r\nval/b 7") == [("val/b", 7), ("val/a", 0), ("val/b", 7)]


def test_names_may_hold_spaces_and_letters_of_any_alphabet(read):
    assert read("val/my  red car.jpg 3\nval/zażółć.jpg 4\n") == [("val/my  red car.jpg", 3), ("val/zażółć.jpg", 4)]


def test_the_tutorials_printed_form_with_blanks_around_the_slash_is_understood(read):
    assert read("val / ILSVRC2012_val_00000001.jpg 0\n") == [("val/ILSVRC2012_val_00000001.jpg", 0)]


def test_a_file_that_is_really_called_so_is_taken_literally(read, tmp_path):
    (tmp_path / "val ").mkdir()
    (tmp_path / "val / x.jpg").touch()
    assert read("val / x.jpg 0\n") == [("val / x.jpg", 0)]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("val/a.jpg", "'val/a.jpg'; expected PATH CLASS"),
        ("7", "'7'; expected PATH CLASS"),
        ("val/a.jpg cat", "PATH CLASS"),
        ("val/a.jpg -1", "PATH CLASS"),
        ("val/a.jpg 1.0", "PATH CLASS"),
        ("val/a.jpg ٣", "PATH CLASS"),
        ("val/a.jpg 10", "class 10; expected a number from 0 to 9"),
        pytest.param("val/a.jpg " + "9" * 5000, "class 999", id="more digits than int() takes"),
        ("/etc/passwd 1", "'/etc/passwd' leads out of the data directory"),
        ("val/../../a.jpg 1", "leads out of the data directory"),
        ("../a.jpg 1", "leads out of the data directory"),
        ("val / .. / .. / a.jpg 1", "leads out of the data directory"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(read, line, fact):
    with pytest.raises(DataError) as failure:
        read(f"val/good.jpg 1\n\n{line}\n", classes=10)
    said = str(failure.value)
    assert "list.txt:3: " in said and fact in said and len(said) < 400


@pytest.mark.parametrize(
    ("content", "fact"),
    [("", "names no image"), ("\n  \n", "names no image"), (b"val/\xff.jpg 1\n", "not readable as UTF-8")],
)
def test_an_empty_or_unreadable_list_is_an_error_that_names_it(read, content, fact):
    with pytest.raises(DataError, match=rf"list\.txt.*{fact}"):
        read(content)


def test_a_missing_list_and_a_missing_directory_are_named_with_their_flag(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: no such label list.*--label-list"):
        labels.read(tmp_path, tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"none: no such directory.*--data-dir"):
        labels.read(tmp_path / "none", tmp_path / "list.txt")


def test_a_directory_in_the_lists_place_is_an_error_and_no_crash(tmp_path):
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(DataError, match=r"list\.txt"):
        labels.read(tmp_path, tmp_path / "list.txt")


def test_a_name_with_a_zero_byte_which_no_file_can_have_is_a_bad_line(read):
    with pytest.raises(DataError) as failure:
        read("a\0b.jpg 1\n")
    assert "expected PATH CLASS" in str(failure.value)


def test_a_name_longer_than_any_file_can_have_is_just_not_there(read):
    ((path, label),) = read("x" * 5000 + " / a.jpg 1\n")
    assert label == 1 and path.endswith("x/a.jpg")
