import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import manifests
from qat8.errors import DataError, UsageError
from qat8.results import dump
from qat8.stages import report


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "RESULTS_DIR", tmp_path / "data/results")
    monkeypatch.setattr(report, "REPORTS_DIR", tmp_path / "data/reports")
    return tmp_path


def _names(directory):
    """What is there but for the lock that an artifact's writer leaves beside it."""
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith(".lock"))


def _results(path, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(fixture.make_results(testers=("cpp",), **kwargs)))
    return path


def test_without_arguments_the_newest_results_are_reported(home, capsys):
    old, new = _results(home / "data/results/b.json", quick=True), _results(home / "data/results/a.json")
    os.utime(old, (1, 1))
    report.main([])
    directory = Path("data/reports/20260101T120000-fixture")
    assert _names(directory) == sorted([*report.FILES, "latency.png", "latency.svg", "manifest.json"])
    assert "Quick run" not in (directory / "report.md").read_text()
    said = capsys.readouterr().out
    assert said.rstrip().endswith(f"report: {directory / 'report.html'}")
    assert "2.87" in said
    assert new.exists()


def test_newest_results_from_the_future_are_warned_of_because_they_would_hide_all_later_ones(home, capsys):
    path = _results(home / "data/results/a.json")
    os.utime(path, (2**32, 2**32))
    report.main([])
    assert "warning: the time of data/results/a.json lies in the future" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--output-dir", "--output_dir"])
def test_both_spellings_of_a_flag_name_the_directory(home, flag):
    report.main(["--results", str(_results(home / "r.json")), f"{flag}={home / 'here'}"])
    assert (home / "here/report.html").stat().st_size > 10_000


def test_an_earlier_report_is_replaced_and_nothing_is_left_beside_it(home):
    report.main([str(_results(home / "r.json", quick=True)), "--output-dir=out/here"])
    report.main([str(_results(home / "r.json")), "--output-dir=out/here"])
    assert "Quick run" not in (home / "out/here/report.md").read_text()
    assert _names(home / "out") == ["here"]


def test_a_failure_half_way_leaves_the_earlier_report_whole(home, monkeypatch):
    path = _results(home / "r.json")
    report.main([str(path), "--output-dir=out/here"])
    before = {item.name: item.read_bytes() for item in (home / "out/here").iterdir()}

    write = Path.write_bytes

    def full_disk(target, content):
        if target.name == "speed.png":
            raise OSError(28, "No space left on device", str(target))
        return write(target, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        report.main([str(path), "--output-dir=out/here"])
    assert {item.name: item.read_bytes() for item in (home / "out/here").iterdir()} == before
    assert _names(home / "out") == ["here"]


def test_a_directory_with_other_files_is_not_replaced(home):
    path = _results(home / "r.json")
    (home / "mine").mkdir()
    (home / "mine/thesis.tex").write_text("years")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        report.main([str(path), "--output-dir=mine"])
    assert (home / "mine/thesis.tex").read_text() == "years"


def test_no_results_say_what_writes_them(home):
    with pytest.raises(DataError, match="no results in data/results") as failure:
        report.main([])
    assert "inv benchmark" in str(failure.value)


def test_results_without_runs_are_refused(home):
    empty = fixture.make_results().model_copy(update={"runs": [], "comparisons": []})
    (home / "r.json").write_text(dump(empty))
    with pytest.raises(DataError, match="holds no runs"):
        report.main(["r.json"])


def test_results_are_named_in_one_way_only(home):
    with pytest.raises(UsageError, match="by position and by --results"):
        report.main(["a.json", "--results=b.json"])


def test_one_directory_cannot_take_two_reports(home):
    with pytest.raises(UsageError, match="2 results files"):
        report.main(["a.json", "b.json", "--output-dir=out"])


def test_a_profile_of_just_these_weights_is_part_of_the_report_and_one_of_others_is_not(home, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PROFILES_DIR", tmp_path / "profiles")
    for name, sha in (("mine", "ab" * 32), ("other", "99" * 32)):
        directory = tmp_path / "profiles" / name
        directory.mkdir(parents=True)
        layers = {"mine": 3, "other": 5}[name]
        (directory / "profile.json").write_text(fixture.make_profile(layers=layers).model_dump_json(by_alias=True))
        manifests.write(directory / "manifest.json", "profile", {}, {"model": sha}, {})
    (found,) = report.profiles_of(fixture.make_results())
    assert len(found.steps) == 3
