"""Results files: what is written is read, and what is anything else is refused."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import results
from qat8.errors import DataError


@pytest.fixture
def file(tmp_path):
    """`file(change)`: a results file whose JSON was changed."""

    def write(change=lambda content: None) -> Path:
        content = json.loads(results.dump(fixture.make_results()))
        change(content)
        (tmp_path / "run.json").write_text(json.dumps(content))
        return tmp_path / "run.json"

    return write


def test_what_was_written_is_read_again(file):
    assert results.load(file()) == fixture.make_results()


def test_the_fields_that_checks_read_are_there_by_name(file):
    content = json.loads(file().read_text())
    assert content["schema"] == 1
    assert content["environment"].keys() >= {"cpu", "versions", "validity"}
    assert content["environment"]["cpu"].keys() >= {"model", "flags", "vnni"}
    run = {"model", "precision", "tester", "threads", "instances", "batch_size", "images", "images_per_second",
           "latency_ms", "top1", "top5", "peak_rss_bytes", "repetitions"}  # fmt: skip
    assert content["runs"][0].keys() >= run
    assert content["runs"][0]["latency_ms"].keys() == {"mean", "p50", "p90", "p99", "min", "max"}
    comparison = {"model", "threads", "batch_size", "speedup", "top1_diff", "top5_diff"}
    assert content["comparisons"][0].keys() >= comparison


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda c: c.update(typo=1), "typo"),
        (lambda c: c["runs"][0].update(fps=1), r"runs\.0\.fps"),
        (lambda c: c["runs"][1]["latency_ms"].update(p95=1), r"runs\.1\.latency_ms\.p95"),
        (lambda c: c["environment"].update(host="x"), r"environment\.host"),
        (lambda c: c["runs"][0].pop("top1"), r"runs\.0\.top1"),
        (lambda c: c["runs"][0].update(precision="bf16"), r"runs\.0\.precision"),
        (lambda c: c["comparisons"][0].update(speedup="fast"), r"comparisons\.0\.speedup"),
        (lambda c: c.pop("data"), "data"),
    ],
)
def test_an_unknown_missing_or_wrong_field_is_refused_and_named(file, change, where):
    with pytest.raises(DataError, match=rf"run\.json: {where}.*schema 1"):
        results.load(file(change))


@pytest.mark.parametrize("version", [2, 99, 0, "2"])
def test_another_schema_version_is_refused(file, version):
    with pytest.raises(DataError, match=r"run\.json: schema: .*expected a results file of schema 1"):
        results.load(file(lambda c: c.update(schema=version)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "a: yaml"])
def test_what_is_not_a_results_file_is_refused_by_name(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(DataError, match=r"other\.json"):
        results.load(tmp_path / "other.json")


def test_a_file_of_bytes_is_refused_by_name(tmp_path):
    (tmp_path / "other.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"other\.json"):
        results.load(tmp_path / "other.json")


def test_a_missing_file_is_named_with_what_writes_one(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: No such file.*inv benchmark"):
        results.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="directory"):
        results.load(tmp_path)
