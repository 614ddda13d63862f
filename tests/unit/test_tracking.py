"""Run records to MLflow: on its own file store where mlflow is installed, else on what does not need it."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture as fixture

from qat8 import older_python, results, tracking
from qat8.benchmarking import recording
from qat8.errors import MachineError, StageError
from qat8.stages import benchmark
from qat8.tracking import EXPERIMENT

installed = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not installed, reason=f"mlflow is an optional group: {tracking.INSTALL}")


def test_the_figures_are_named_by_model_tester_setting_and_precision():
    found = tracking.metrics(fixture.make_results(testers=("cpp",)))
    assert found["MobileNetV1/cpp/i1/t1/b50/speedup"] == pytest.approx(2.87, abs=0.1)
    assert found["MobileNetV1/cpp/i1/t2/b1/int8_images_per_second"] > 700
    assert found["MobileNetV1/labelled/fp32_top1"] == 0.8 and found["MobileNetV1/all/agreement"] == 117 / 120


def test_a_name_that_mlflow_does_not_take_is_rewritten():
    assert tracking._name("a/b c.d-e_f:g(h)") == "a/b c.d-e_f_g_h_"


def test_without_mlflow_nothing_is_measured_and_the_way_to_get_it_is_named(monkeypatch, refused):
    monkeypatch.setattr(older_python, "VERSION", (3, 10))
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError):
        tracking.require()
    monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("measured all the same"))
    refused(benchmark.main, 5, ["mlflow is not installed", "requirements-mlflow.txt"], "--mlflow=file:x")


def test_with_python_3_9_mlflow_is_refused_before_anything_is_measured(monkeypatch, refused):
    monkeypatch.setattr(older_python, "VERSION", (3, 9))
    monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("measured all the same"))
    refused(benchmark.main, 5, ["--mlflow with Python 3.9; expected 3.10 or newer", "make setup"], "--mlflow=file:x")


@needs_mlflow
def test_a_run_goes_to_mlflows_file_store_with_figures_verdict_and_the_file(tmp_path):
    from mlflow.tracking import MlflowClient

    made = fixture.make_results().model_copy(update={"verdict": "INVALID", "reasons": ["steal: 9 %"]})
    path = tmp_path / "run.json"
    path.write_text(results.dump(made))
    uri = (tmp_path / "store").as_uri()
    run = tracking.log(made, path, uri)
    again = tracking.log(made, path, uri)
    client = MlflowClient(tracking_uri=uri)
    kept = client.get_run(run)
    assert kept.data.metrics == pytest.approx(tracking.metrics(made))
    assert (kept.data.tags["verdict"], kept.data.tags["reasons"]) == ("INVALID", "steal: 9 %")
    assert kept.data.params["MobileNetV1/int8/sha256"] == "ab" * 32 and kept.info.status == "FINISHED"
    local = client.download_artifacts(run, "run.json")
    assert results.load(Path(local)) == made
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    assert {r.info.run_id for r in client.search_runs([experiment])} == {run, again}


@needs_mlflow
def test_a_store_that_cannot_be_written_is_one_error_that_says_the_results_are_safe(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StageError, match=r"--mlflow=file://.*run\.json is written"):
        tracking.log(fixture.make_results(), tmp_path / "run.json", (tmp_path / "file").as_uri())
