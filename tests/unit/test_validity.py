"""What makes a run INVALID, and what is a warning. Each check is made false in just one way; for real: integration."""

from pathlib import Path

import pytest
from test_benchmarking import SMALL, make_plan, measured_of, one_run

from qat8 import instructions, kernel, manifests
from qat8.benchmarking import validity
from qat8.benchmarking.onednn_log import Kernels
from qat8.results import AccuracyGate
from qat8.tester_run import Conditions

QUIET = {
    "seconds": 2.0, "cpu_seconds": 1.9, "other_load": 0.0, "elsewhere_load": 0.0, "steal": 0.0, "throttled_periods": 0,
    "throttled_ms": 0.0, "thermal_events": 0, "swapped_pages": 0, "major_faults": 0, "frequency_mhz": (2500.0, 2500.0),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quiet_machine(tmp_path, monkeypatch):
    """A machine that tells nothing: what it is set to must not decide these tests."""
    monkeypatch.setattr(kernel, "ROOT", tmp_path)
    monkeypatch.setattr(instructions, "_flags", lambda: {"avx512_vnni"})
    monkeypatch.setattr(instructions, "limit", lambda: None)
    return tmp_path


def checks(chosen=SMALL, measured=None, kernels=Kernels(27, 27, ["jit_int8"]), changed=(), gates=()):  # noqa: B008
    measured = measured or measured_of(chosen)
    return {c.check: c for c in validity.checks(chosen, measured, {"M": kernels}, list(changed), list(gates))}


def failed(**kwargs) -> dict:
    return {name: c.detail for name, c in checks(**kwargs).items() if not c.ok}


def watched(**seen) -> dict:
    """Runs during which this happened on the machine."""
    measured = measured_of(SMALL)
    (cell,) = SMALL.cells()
    quiet, disturbed = Conditions(**QUIET), Conditions(**QUIET | seen)
    runs = measured[cell, "int8"]
    measured[cell, "int8"] = [r.model_copy(update={"conditions": quiet}) for r in runs[:-1]]
    measured[cell, "int8"].append(runs[-1].model_copy(update={"conditions": disturbed}))
    return measured


def test_when_all_is_well_every_check_holds():
    found = checks(make_plan())
    assert {name for name, c in found.items() if not c.ok} == set()
    assert found.keys() == {
        "int8 kernels", "affinity", "threads", "accuracy", "outputs", "inputs", "amount", "repetitions", "other load",
        "steal", "CPU quota", "heat", "swapping", "frequency", "load elsewhere", "turbo", "governor", "hyper-threading",
        "VNNI", "again",
    }  # fmt: skip
    assert failed(measured=watched()) == {}


def test_a_counter_that_the_machine_does_not_have_says_so():
    assert checks()["steal"].detail == "this machine does not tell"


@pytest.mark.parametrize(
    ("seen", "name", "words"),
    [
        ({"other_load": 0.2}, "other load", "20.0% of the measured CPUs' time went to other processes"),
        ({"steal": 0.05}, "steal", "5.0% of the time went to other guests"),
        ({"throttled_periods": 3}, "CPU quota", "stopped the process in 3 periods"),
        ({"thermal_events": 1}, "heat", "slowed for heat 1 times"),
        ({"swapped_pages": 7}, "swapping", "the machine swapped 7 pages"),
        ({"frequency_mhz": (2000.0, 2500.0)}, "frequency", "the clock moved by 20%"),
    ],
)
def test_a_disturbance_during_one_repetition_invalidates_the_run_and_names_where(seen, name, words):
    found = checks(measured=watched(**seen))
    assert [c.check for c in found.values() if c.word == "INVALID"] == [name]
    assert found[name].detail.startswith("not so: M, cpp, 1 thread, batch 1: ") and words in found[name].detail


@pytest.mark.parametrize("seen", [
    {"other_load": 0.05}, {"steal": 0.02}, {"frequency_mhz": (2400.0, 2500.0)}, {"major_faults": 9},
])  # fmt: skip
def test_what_lies_within_the_limit_passes(seen):
    assert failed(measured=watched(**seen)) == {}


def test_load_on_the_other_cpus_is_a_warning():
    found = checks(measured=watched(elsewhere_load=0.5))["load elsewhere"]
    assert (found.ok, found.word) == (False, "warning") and "50% busy" in found.detail


def test_turbo_a_saving_governor_and_shared_cores_are_warnings(quiet_machine):
    base = quiet_machine / kernel.CPUS
    for path, text in {"intel_pstate/no_turbo": "0", "cpu0/cpufreq/scaling_governor": "powersave",
                       "cpu0/topology/thread_siblings_list": "0,20"}.items():  # fmt: skip
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text)
    found = checks()
    assert {n: c.word for n, c in found.items() if not c.ok} == dict.fromkeys(
        ("turbo", "governor", "hyper-threading"), "warning"
    )
    assert found["governor"].detail == "powersave" and "tutorial turns it off" in found["turbo"].detail


def test_a_changed_input_invalidates_the_run_by_name():
    found = checks(changed=["val.bin"])["inputs"]
    assert found.word == "INVALID" and found.detail == "changed during the run: val.bin"


def test_too_few_repetitions_seconds_or_batches_invalidate_the_run():
    two = ([1.0, 1.0], {})
    for few in (
        measured_of(SMALL, int8=two, fp32=two),
        measured_of(SMALL, int8=([100.0] * 3, {"latencies_ms": [999.0]})),
        measured_of(SMALL, int8=([100.0] * 3, {"measured_batches": 1})),
    ):
        assert failed(measured=few).keys() == {"amount"}


def test_a_timed_run_with_other_outputs_is_found_though_its_accuracy_is_the_same():
    """One image lost, another won: top-1 does not move, and yet it is another function."""
    measured = measured_of(SMALL)
    (cell,) = SMALL.cells()
    measured[cell, "int8"][1] = one_run(predictions=[1, 2, 4, 3])
    found = failed(measured=measured)
    assert found.keys() == {"outputs"} and "int8 names another class on 50.0%" in found["outputs"]


def test_another_batch_size_may_round_otherwise_on_few_images_and_no_more():
    both = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1, 50])
    a, b = both.cells()
    for turned, ok in ((1, True), (5, False)):
        measured = measured_of(both)
        for cell, classes in ((a, [0] * 100), (b, [0] * (100 - turned) + [1] * turned)):
            for precision in ("fp32", "int8"):
                measured[cell, precision] = [
                    r.model_copy(update={"predictions": classes}) for r in measured[cell, precision]
                ]
        assert ("outputs" not in failed(chosen=both, measured=measured)) is ok


@pytest.mark.parametrize(("outcome", "word"), [("passed", "ok"), ("failed", "INVALID"), ("undecided", "warning")])
def test_a_failed_gate_invalidates_and_an_undecided_one_warns(outcome, word):
    gate = AccuracyGate(model="M", max_top1_drop=0.005, subset="s", images=20, top1_diff=0.0, interval=(-0.1, 0.1),
                        outcome=outcome, detail="d")  # fmt: skip
    assert checks(gates=[gate])["accuracy gate"].word == word


@pytest.mark.parametrize("kernels", [(0, 27, []), (26, 27, ["jit"]), (0, 0, [])])
def test_a_convolution_that_did_not_run_in_int8_fails_the_check_of_kernels(kernels):
    found = failed(kernels=Kernels(*kernels))
    assert found.keys() == {"int8 kernels"}
    assert f"{kernels[0]} of {kernels[1]} convolutions" in found["int8 kernels"]


def test_a_convolution_that_did_not_run_in_bf16_fails_its_own_check_of_kernels():
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], precisions=("fp32", "bf16", "int8"))
    for ran, ok in ((27, True), (26, False), (0, False)):
        kernels = {"M": Kernels(27, 27, ["jit_int8"])}, [], [], {"M": Kernels(ran, 27, ["jit_bf16"])}
        found = {c.check: c for c in validity.checks(chosen, measured_of(chosen), *kernels)}
        assert found["int8 kernels"].ok and found["bf16 kernels"].ok is ok
        assert f"{ran} of 27 convolutions in BF16 (jit_bf16)" in found["bf16 kernels"].detail
    assert "bf16 kernels" not in checks()


def test_a_ratio_of_bf16_that_scatters_is_named_as_such():
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], precisions=("fp32", "bf16", "int8"))
    found = failed(chosen=chosen, measured=measured_of(chosen, bf16=([100, 200, 100], {})))
    assert found.keys() == {"repetitions"} and "BF16 1.00 to 2.00" in found["repetitions"]


@pytest.mark.parametrize(("precision", "vnni", "wrong"), [
    ("bf16", True, set()), ("fp32", False, {"accuracy", "outputs"}), ("int8", True, {"accuracy", "outputs"}),
    ("int8", False, set()),
])  # fmt: skip
def test_our_engine_may_name_other_classes_than_paddle_in_bf16_and_without_vnni(monkeypatch, precision, vnni, wrong):
    monkeypatch.setattr(instructions, "saturates", lambda: not vnni)
    chosen = make_plan(testers=["cpp", "engine"], threads=[1], batch_sizes=[1], precisions=("fp32", "bf16", "int8"),
                       models={"M": {"fp32": Path("m/fp32"), "int8": Path("m/int8")}})  # fmt: skip
    measured = measured_of(chosen)
    cell = chosen.cells()[1]
    other = {"predictions": [4, 3, 2, 1], "top1": 0.25}
    measured[cell, precision] = [r.model_copy(update=other) for r in measured[cell, precision]]
    assert failed(chosen=chosen, measured=measured).keys() & {"accuracy", "outputs"} == wrong
    measured[cell, "bf16"][0] = measured[cell, "bf16"][0].model_copy(update={"predictions": [9, 9, 9, 9], "top1": 0.5})
    assert "outputs" in failed(chosen=chosen, measured=measured)


def test_a_failed_gate_of_bf16_says_that_it_is_bf16s():
    gate = AccuracyGate(model="M", precision="bf16", max_top1_drop=0.005, subset="s", images=20, top1_diff=0.0,
                        interval=(-0.1, 0.1), outcome="failed", detail="d")  # fmt: skip
    assert checks(gates=[gate])["accuracy gate"].detail == "M in BF16: d"


def test_a_process_on_other_cpus_than_it_was_pinned_to_fails_the_check_of_affinity():
    found = failed(measured=measured_of(SMALL, int8=([100.0] * 3, {"affinity": [0, 1]})))
    assert found.keys() == {"affinity"} and "[0, 1] (and 2 more)" in found["affinity"]


def test_other_threads_than_asked_for_fail_the_check_of_threads():
    found = failed(measured=measured_of(SMALL, fp32=([100.0] * 3, {"threads_busy": 4})))
    assert found.keys() == {"threads"} and "4 busy" in found["threads"]


def test_a_repetition_or_tester_with_another_accuracy_fails_the_check_of_accuracy():
    both = make_plan(testers=["cpp", "python"], threads=[1], batch_sizes=[1])
    for name in ("top1", "top5"):
        measured = measured_of(both)
        measured[both.cells()[1], "int8"][0] = one_run(**{name: 0.9})
        found = failed(chosen=both, measured=measured)
        assert found.keys() == {"accuracy"} and "M, python" in found["accuracy"]


def test_fp32_and_int8_may_differ_in_accuracy():
    assert failed(measured=measured_of(SMALL, int8=([100.0] * 3, {"top1": 0.25}), fp32=([100.0] * 3, {}))) == {}


def test_ratios_that_scatter_fail_the_check_of_repetitions():
    close, far = ([100, 100, 100], {}), ([300, 330, 295], {})
    assert failed(measured=measured_of(SMALL, fp32=close, int8=far)) == {}
    found = failed(measured=measured_of(SMALL, fp32=close, int8=([300, 390, 300], {})))
    assert found.keys() == {"repetitions"} and "3.00 to 3.90" in found["repetitions"]


@pytest.mark.parametrize(("config", "ok"), [({}, False), ({"reduced_range": True}, True)])
def test_without_vnni_a_model_of_the_full_range_is_warned_of_and_one_made_for_it_is_not(monkeypatch, config, ok):
    monkeypatch.setattr(instructions, "_flags", set)
    monkeypatch.setattr(manifests, "read", lambda path: {"config": config})
    found = checks()
    assert found["16-bit sums"].ok is ok and found["16-bit sums"].level == "warning"
    assert ("--reduce-range=true" in found["16-bit sums"].detail) is not ok
    assert found["VNNI"].word == "warning" and "about 1.5x" in found["VNNI"].detail
