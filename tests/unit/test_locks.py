"""Two runs of a stage at once: the second one ends with 8, names what the first is writing, and touches nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
import report_fixture

from qat8 import artifacts, datafile, imaging
from qat8.benchmarking import plan as planning
from qat8.results import dump
from qat8.stages import benchmark, convert, dataset, export, preprocess, report, weights


@pytest.fixture
def model(tmp_path):
    """`model(name)`: a directory that looks like a saved model."""

    def write(name: str) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        for file in ("model.pdmodel", "model.pdiparams"):
            (directory / file).write_text(name)
        return directory

    return write


def to_dataset(tmp_path, model, photographs):
    return dataset.main, [f"--output-dir={tmp_path / 'made'}"]


def to_weights(tmp_path, model, photographs):
    return weights.main, [f"--output-dir={tmp_path / 'made'}"]


def to_preprocess(tmp_path, model, photographs):
    return preprocess.main, ["--local", f"--data-dir={photographs(3)}", f"--output-file={tmp_path / 'made'}"]


def to_convert(tmp_path, model, photographs):
    return convert.main, [f"--qat-model-path={model('qat')}", f"--int8-model-save-path={tmp_path / 'made'}"]


def to_report(tmp_path, model, photographs):
    (tmp_path / "run.json").write_text(dump(report_fixture.make_results(testers=("cpp",))))
    return report.main, [str(tmp_path / "run.json"), f"--output-dir={tmp_path / 'made'}"]


STAGES = [to_dataset, to_weights, to_preprocess, to_convert, to_report]  # training: test_stages_train_convert.py


@pytest.mark.parametrize("stage", STAGES, ids=lambda s: s.__name__)
def test_a_second_run_at_the_same_time_is_refused_and_disturbs_nothing(stage, tmp_path, model, photographs, refused):
    main, flags = stage(tmp_path, model, photographs)
    with artifacts.exclusive(tmp_path / "made"):
        half = tmp_path / ".made.tmp-first"
        half.mkdir()
        refused(main, 8, [f"another run is writing {tmp_path / 'made'}", "wait for it, then run again"], *flags)
        assert half.is_dir() and not (tmp_path / "made").exists()


def test_a_second_export_is_refused(tmp_path, model, refused):
    with artifacts.exclusive(tmp_path / "engine"):
        flags = [f"--fp32-model={model('fp32')}", f"--int8-model={model('int8')}"]
        refused(export.main, 8, [f"another run is writing {tmp_path / 'engine'}"], *flags)


def test_a_second_benchmark_is_refused_because_it_would_disturb_the_first(tmp_path, model, refused, monkeypatch):
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    (tmp_path / "tester").touch()
    monkeypatch.setattr(planning, "TESTERS", {"cpp": [str(tmp_path / "tester")]})
    spec = imaging.SYMMETRIC
    writer = datafile.Writer(
        tmp_path / "val.bin", datafile.Header(1, 8, 8, datafile.DTYPES[1], 10, spec.mean, spec.std, spec.fingerprint())
    )
    writer.append(np.zeros((3, 8, 8), np.float32), 1)
    writer.close()
    flags = [f"--fp32-model={model('fp32')}", f"--int8-model={model('int8')}", f"--data-file={tmp_path / 'val.bin'}"]
    with artifacts.exclusive(tmp_path / "results/benchmark"):
        refused(benchmark.main, 8, ["another run is writing"], "--testers=cpp", *flags)
