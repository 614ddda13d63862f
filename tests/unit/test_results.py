"""Results files: what is written is read, and what is anything else is refused."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import results
from qat8.errors import DataError
from qat8.results import Check
from qat8.stages import schema


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
        (lambda c: c["runs"][0].update(precision="fp16"), r"runs\.0\.precision"),
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


# The published schema, and files of older revisions.


@pytest.fixture(scope="module")
def published():
    return json.loads(schema.PUBLISHED.read_text())


def test_the_published_schema_is_what_the_code_generates():
    assert schema.PUBLISHED.read_text() == schema.text(), "run `inv schema`"


def test_the_published_schema_is_a_schema_and_another_implementation_takes_our_files_by_it(published, file):
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(json.loads(file().read_text()), published)


@pytest.mark.parametrize("change", [
    lambda c: c.update(typo=1), lambda c: c["runs"][0].update(precision="fp16"), lambda c: c.update(revision=99),
    lambda c: c["environment"]["validity"][0].update(level="note"),
])  # fmt: skip
def test_the_published_schema_refuses_what_the_reader_refuses(published, file, change):
    path = file(change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(path.read_text()), published)
    with pytest.raises(DataError):
        results.load(path)


GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("results-*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.name)
def test_a_file_of_each_revision_is_read_and_fits_the_schema(published, path):
    """Real files, kept as `inv benchmark` of that revision wrote them."""
    found = results.load(path)
    assert f"results-{found.schema_}.{found.revision}.json" == path.name
    assert found.comparisons and all(run.repetitions for run in found.runs)
    jsonschema.validate(json.loads(path.read_text()), published)


def test_there_is_a_golden_file_of_the_present_revision():
    assert f"results-{results.SCHEMA}.{results.REVISION}.json" in [path.name for path in GOLDEN]


def test_a_file_of_revision_0_has_no_verdict_and_no_conditions():
    found = results.load(GOLDEN[0])
    assert (found.revision, found.verdict, found.gates, found.runs[0].conditions) == (0, None, [], [])
    assert found.environment.validity[0].word == "ok"


def test_a_file_of_revision_1_has_gates_of_int8_and_nothing_of_bf16():
    found = results.load(GOLDEN[1])
    assert found.revision == 1 and found.bf16_comparisons == []
    assert {gate.precision for gate in found.gates} == {"int8"} and found.gates[0].subject == "MobileNetV1"
    assert {subset.bf16_agreement for subset in found.accuracy} == {None}


def test_a_file_of_revision_2_may_hold_bf16_beside_the_pairs_of_fp32_and_int8():
    found = results.load(GOLDEN[2])
    assert found.revision == 2 and {run.precision for run in found.runs} == {"fp32", "bf16", "int8"}
    assert len(found.bf16_comparisons) == len(found.comparisons) == 2
    assert [gate.subject for gate in found.gates] == ["MobileNetV1", "MobileNetV1 in BF16"]
    assert all(subset.bf16_agreement is not None for subset in found.accuracy)


def test_a_file_of_revision_3_tells_how_often_a_repetition_was_measured_again():
    found = results.load(GOLDEN[3])
    assert found.revision == 3 and {c.discarded for run in found.runs for c in run.conditions} == {0}
    assert {c.discarded for run in results.load(GOLDEN[2]).runs for c in run.conditions} == {0}, "older: none"
    assert "again" in [check.check for check in found.environment.validity]


def test_the_schema_is_written_where_it_is_asked_for(tmp_path, ends):
    done = ends(schema.main, f"--output={tmp_path / 's.json'}")
    assert done.code == 0 and (tmp_path / "s.json").read_text() == schema.text()


def test_reasons_are_of_failures_and_warnings_of_warnings():
    checks = [Check(check="a", ok=True, detail="x"), Check(check="b", ok=False, detail="y"),
              Check(check="c", ok=False, detail="z", level="warning")]  # fmt: skip
    assert results.reasons(checks) == ["b: y"]
    assert fixture.make_results(validity=checks).warnings == ["c: z"]
    assert [c.word for c in checks] == ["ok", "INVALID", "warning"]


def put(content: dict, path: str, value) -> None:
    *parents, last = path.split(".")
    for name in parents:
        content = content[int(name) if name.isdigit() else name]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("runs.0.repetitions", []), ("runs.0.repetitions", [0.0, 1.0]), ("runs.0.images_per_second", -1.0),
        ("runs.0.threads", 0), ("runs.0.batch_size", 0), ("runs.0.init_ms", 1e300), ("runs.0.init_ms", float("nan")),
        ("runs.0.latency_percentiles_ms", [1.0]), ("comparisons.0.speedup", 0.0), ("comparisons.0.speedup_max", 1e30),
        ("environment.memory_bytes", 10**30), ("runs.0.latency_ms.p50", float("inf")),
    ],
)  # fmt: skip
def test_numbers_that_nobody_measured_are_refused(file, path, value):
    with pytest.raises(DataError):
        results.load(file(lambda content: put(content, path, value)))


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/x", "", ".hidden", "a/b", "a\nb"])
def test_a_run_cannot_name_a_directory_elsewhere_for_its_report(file, name):
    with pytest.raises(DataError, match="run_id"):
        results.load(file(lambda content: put(content, "run_id", name)))
