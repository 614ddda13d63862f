"""Peers: names, the environment, the plan's turns, the comparison. The engines themselves are pretended here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_benchmarking import make_plan, one_run
from test_measure import QUIET

from qat8 import artifacts, manifests, peers
from qat8.benchmarking import measure, peer_summary, summary, validity
from qat8.benchmarking.plan import Cell
from qat8.errors import MachineError, ModelError, UsageError
from qat8.stages import build_peers


def test_peers_are_read_by_comma_and_an_unknown_one_is_refused_with_the_known():
    assert peers.parse("torch, openvino,torch") == ["torch", "openvino"]
    assert peers.parse("") == []
    with pytest.raises(UsageError, match="unknown peer 'tvm'; expected of openvino, onnxruntime, torch"):
        peers.parse("openvino,tvm")


def test_without_their_environment_peers_are_refused_with_the_task_that_makes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / "none")
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "none" / "bin" / "python")
    peers.require([])
    with pytest.raises(MachineError, match=r"none is not there; next: inv build\.peers"):
        peers.require(["torch"])


def test_a_peer_that_could_not_be_installed_is_named(monkeypatch, tmp_path):
    (tmp_path / "python").touch()
    (tmp_path / "installed").write_text("openvino\nonnxruntime\n")
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(peers, "INSTALLED", tmp_path / "installed")
    peers.require(["openvino"])
    with pytest.raises(MachineError, match=r"^torch is not installed .*next: inv build\.peers"):
        peers.require(["openvino", "torch"])


def test_in_a_container_peers_are_refused(monkeypatch):
    monkeypatch.setenv("QAT8_CONTAINER", "{}")
    with pytest.raises(UsageError, match="peers in a container; expected --runtime=local"):
        peers.require(["openvino"])


def test_the_lock_is_split_into_torch_and_the_rest_and_nothing_is_lost():
    lock = peers.LOCK.read_text()
    torch, others = build_peers.split(lock)
    assert torch.startswith("torch==") and "\ntorchao==" in torch and torch.count("==") == 2
    assert "openvino==" in others and "\ntorch" not in others
    assert sorted(torch.splitlines() + others.splitlines()) == sorted(lock.splitlines())
    assert "+cpu" in torch and "nvidia" not in lock


@pytest.mark.parametrize("version", [(3, 9), (3, 10)])
def test_with_an_older_python_no_environment_of_peers_is_begun(monkeypatch, tmp_path, refused, version):
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / "none")
    monkeypatch.setattr("qat8.older_python.VERSION", version)
    refused(build_peers.main, 5, [f"the peers' environment with Python 3.{version[1]}; expected 3.11 or newer"])
    assert not (tmp_path / "none").exists()


def test_a_peer_measures_its_own_model_with_the_same_flags():
    plan = make_plan(peers=("openvino",))
    ours = plan.command(Cell("M", "python", 1, 50), "int8")
    theirs = plan.command(Cell("M", "openvino", 1, 50), "int8")
    assert theirs[:3] == [str(peers.PYTHON), ours[1].replace("sample_tester", "peer_tester"), "openvino"]
    assert theirs[3].endswith("models/M/peers/openvino/int8") and theirs[4:] == ours[3:]


def test_peers_take_turns_with_ours_in_every_repetition_and_the_order_alternates(monkeypatch):
    order, run = [], one_run(conditions=QUIET)
    monkeypatch.setattr(measure, "_run", lambda plan, cell, precision: order.append((cell.tester, precision)) or run)
    measure.measure(make_plan(testers=["python"], peers=("torch",), threads=[1], batch_sizes=[1], repetitions=2))
    once = [("python", "fp32"), ("python", "int8"), ("torch", "fp32"), ("torch", "int8")]
    assert order == once + once[::-1]


def test_only_what_differs_in_peers_makes_settings_differ():
    assert "peers" not in make_plan().settings()
    assert make_plan(peers=("torch",)).settings() != make_plan(peers=("openvino",)).settings()


def measured_with(plan, ours: dict[str, list[float]], theirs: dict[str, list[float]], predictions=None):
    runs = {}
    for cell in plan.cells():
        speeds = theirs if cell.tester in plan.peers else ours
        changes = {"predictions": predictions} if predictions and cell.tester in plan.peers else {}
        if cell.tester in plan.peers:
            changes |= {"top1": 0.25, "engine": "Engine 1.0"}
        for precision in plan.precisions_of(cell.tester):
            runs[cell, precision] = [one_run(speed, **changes) for speed in speeds[precision]]
    return runs


ONE = {"testers": ["python"], "peers": ("openvino",), "threads": [1], "batch_sizes": [50], "repetitions": 3}


def test_the_ratio_to_a_peer_is_of_paired_repetitions_with_its_range():
    plan = make_plan(**ONE)
    ours, theirs = {"fp32": [100, 100, 100], "int8": [300, 200, 400]}, {"fp32": [50, 50, 50], "int8": [150, 400, 400]}
    fp32, int8 = peer_summary.comparisons(plan, measured_with(plan, ours, theirs))
    assert (fp32.precision, fp32.ratio, fp32.ratio_min, fp32.ratio_max) == ("fp32", 2, 2, 2)
    assert (int8.peer, int8.tester, int8.ratio, int8.ratio_min, int8.ratio_max) == ("openvino", "python", 1, 0.5, 2)
    assert int8.top1_diff == 0.25 and int8.agreement == 1


def test_a_peers_runs_say_which_engine_ran_and_ours_do_not():
    plan = make_plan(**ONE)
    speeds = {"fp32": [1, 1, 1], "int8": [2, 2, 2]}
    runs = summary.runs(plan, measured_with(plan, speeds, speeds))
    assert {(run.tester, run.engine) for run in runs} == {("python", None), ("openvino", "Engine 1.0")}


def test_another_accuracy_of_a_peer_is_not_taken_for_an_unsteady_tester():
    plan = make_plan(**ONE)
    speeds = {"fp32": [1, 1, 1], "int8": [2, 2, 2]}
    measured = measured_with(plan, speeds, speeds, predictions=[4, 3, 2, 1])
    checks = {check.check: check.ok for check in validity.checks(plan, measured, {}, [], [])}
    assert checks["accuracy"] and checks["outputs"]


def test_bf16_is_compared_with_the_peers_that_run_it_and_their_graphs_must_be_bf16(peer_models):
    peer_models()
    plan = make_plan(**ONE, precisions=("fp32", "bf16", "int8"))
    speeds = {"fp32": [1, 1, 1], "bf16": [2, 2, 2], "int8": [4, 4, 4]}
    measured = measured_with(plan, {**speeds, "bf16": [3, 3, 3]}, speeds)
    assert [(c.precision, c.ratio) for c in peer_summary.comparisons(plan, measured)] == [
        ("fp32", 1), ("bf16", 1.5), ("int8", 1)
    ]  # fmt: skip
    cell = Cell("M", "openvino", 1, 50)
    for counted, ok in (([(27, 27)] * 3, True), ([(27, 27), (26, 27), (27, 27)], False), ([(0, 0)] * 3, False)):
        measured[cell, "bf16"] = [one_run(2, bf16_convolutions=pair) for pair in counted]
        (check,) = [c for c in peer_summary.checks(plan, measured) if c.check == "peer bf16 kernels"]
        assert check.ok is ok and f"{min(counted)[0]} of " in check.detail


@pytest.fixture
def peer_models(monkeypatch, tmp_path):
    """Makes M's OpenVINO models; gives the FP32 model's directory that they were made of."""
    monkeypatch.setattr(artifacts, "DATA", tmp_path)
    fp32 = tmp_path / "fp32"
    fp32.mkdir()
    (fp32 / "model.pdmodel").write_text("weights")

    def make(convolutions=(27, 27)):
        for precision in ("fp32", "int8"):
            place = peers.directory("M", "openvino", precision)
            place.mkdir(parents=True, exist_ok=True)
            made_from = {"fp32": artifacts.sha256(fp32)}
            target = place / "manifest.json"
            manifests.write(target, "peers", {}, made_from, {}, int8_convolutions=convolutions)
        return fp32

    return make


@pytest.mark.parametrize(
    ("predictions", "convolutions", "ok"),
    [([1, 2, 3, 4], (27, 27), [True, True]), ([1, 2, 3, 9], (27, 27), [False, True]),
     ([1, 2, 3, 4], (26, 27), [True, False]), ([1, 2, 3, 4], (0, 0), [True, False])],
)  # fmt: skip
def test_other_weights_and_convolutions_left_in_fp32_make_a_run_with_peers_invalid(
    peer_models, predictions, convolutions, ok
):
    peer_models(convolutions)
    plan = make_plan(**ONE)
    speeds = {"fp32": [1, 1, 1], "int8": [2, 2, 2]}
    checks = peer_summary.checks(plan, measured_with(plan, speeds, speeds, predictions))
    assert [check.check for check in checks] == ["peer weights", "peer int8 kernels"]
    assert [check.ok for check in checks] == ok


def test_a_peers_model_of_other_weights_is_refused_before_anything_is_measured(peer_models):
    with pytest.raises(ModelError, match=r"no model of openvino; next: inv peers --models=M"):
        peers.require_made_from("M", "openvino", Path("fp32"))
    fp32 = peer_models()
    peers.require_made_from("M", "openvino", fp32)
    (fp32 / "model.pdmodel").write_text("trained again")
    with pytest.raises(ModelError, match=r"was made from another model than .*next: inv peers --models=M"):
        peers.require_made_from("M", "openvino", fp32)


def test_the_plan_without_peers_is_what_it_was():
    assert make_plan().cells() == [cell for cell in make_plan(peers=("torch",)).cells() if cell.tester != "torch"]
