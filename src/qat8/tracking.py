"""Run records to MLflow, for those who keep their experiments there; an optional group, requirements-mlflow.txt.

mlflow-skinny is the client without the server: the whole of mlflow would bring pandas, scikit-learn, SQLAlchemy and a
web server for a handful of numbers and one file.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from qat8 import older_python, redact
from qat8.errors import MachineError, StageError
from qat8.results import Results

EXPERIMENT = "qat8"
INSTALL = ".venv/bin/python -m pip install --no-deps --require-hashes -r requirements-mlflow.txt"
BATCH = 900  # metrics in a request; MLflow takes 1000


def require() -> None:
    """
    Raises:
        MachineError: mlflow is not installed, or cannot be. Called before anything is measured.
    """
    older_python.require("--mlflow", (3, 10), "the last MLflow for 3.9 wants an older packaging than is locked")
    if importlib.util.find_spec("mlflow") is None:
        raise MachineError("--mlflow: mlflow is not installed", next_step=INSTALL)


def log(results: Results, path: Path, uri: str) -> str:
    """A run in the experiment `qat8` with the figures as metrics and the results file as artifact; its id.

    Raises:
        StageError: MLflow refused, or does not answer; the results file is there all the same.
    """
    require()
    # A store of files is what a user asks for who names one; MLflow 3 wants that said twice.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        run = client.create_run(experiment, run_name=results.run_id).info.run_id
        pairs = [(_name(key), value) for key, value in metrics(results).items()]
        found = [Metric(key, value, 0, 0) for key, value in pairs]
        for start in range(0, len(found), BATCH):
            client.log_batch(run, metrics=found[start : start + BATCH])
        client.log_batch(run, params=[Param(key, value) for key, value in parameters(results).items()],
                         tags=[RunTag(key, value) for key, value in tags(results).items()])  # fmt: skip
        client.log_artifact(run, str(path))
        client.set_terminated(run)
    except (MlflowException, OSError) as e:
        said = str(e).strip().splitlines()[0][:300]
        raise StageError(redact.text(f"--mlflow={uri}: {said}"), "a store that takes runs",
                         f"{path} is written; only MLflow has nothing of it") from e  # fmt: skip
    return run


def metrics(results: Results) -> dict[str, float]:
    """`MobileNetV1/cpp/i1/t1/b50/speedup` and the like: instances, threads, batch size."""
    found = {}
    for run in results.runs:
        where = f"{run.model}/{run.tester}/i{run.instances}/t{run.threads}/b{run.batch_size}"
        found[f"{where}/{run.precision}_images_per_second"] = run.images_per_second
        found[f"{where}/{run.precision}_p99_ms"] = run.latency_ms.p99
    for c in results.comparisons:
        found[f"{c.model}/{c.tester}/i{c.instances}/t{c.threads}/b{c.batch_size}/speedup"] = c.speedup
    for c in results.bf16_comparisons:
        found[f"{c.model}/{c.tester}/i{c.instances}/t{c.threads}/b{c.batch_size}/bf16_speedup"] = c.speedup
    for s in results.accuracy:
        found[f"{s.model}/{s.subset}/agreement"] = s.agreement
        found |= {f"{s.model}/{s.subset}/{p}_top1": top1 for p, top1 in s.top1.items() if top1 is not None}
    return found


def parameters(results: Results) -> dict[str, str]:
    sums = {f"{model}/{p}/sha256": a.sha256 for model, pair in results.models.items() for p, a in pair.items()}
    return {"command": " ".join(results.command)[:500], "runtime": results.runtime, "data/sha256": results.data.sha256,
            **{_name(key): value for key, value in sums.items()}}  # fmt: skip


def tags(results: Results) -> dict[str, str]:
    environment = results.environment
    return {
        "verdict": results.verdict or "unknown", "reasons": "; ".join(results.reasons)[:4000],
        "quick": str(results.quick), "cpu": str(environment.cpu.get("model")), "identity": results.identity,
        "git_commit": environment.git_commit or "unknown",
        **{f"version.{name}": version for name, version in environment.versions.items()},
    }  # fmt: skip


def _name(text: str) -> str:
    """MLflow's alphabet of keys."""
    return re.sub(r"[^\w\-./ ]", "_", text)
