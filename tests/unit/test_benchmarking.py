"""Plan, measurement and summary; the testers are pretended, so every check can be provoked."""

import re
from pathlib import Path

import numpy as np
import pytest

from qat8 import instructions, kernel, statistics, tester_run
from qat8.benchmarking import measure, plan, summary
from qat8.benchmarking.plan import Cell, Plan, thread_counts
from qat8.benchmarking.summary import Subset
from qat8.errors import MachineError, UsageError
from qat8.older_python import zip_strict
from qat8.results import Latency
from qat8.tester_run import PartialBatch

MODELS = {"M": {"fp32": Path("m/fp32"), "int8": Path("m/int8")}}


def make_plan(**changes) -> Plan:
    given = {
        "models": MODELS, "data": Path("val.bin"), "testers": ["cpp", "python"], "threads": [1, 2],
        "batch_sizes": [1, 50], "cpus": [0, 1], "repetitions": 3, "min_seconds": 0.5, "warmup": 2,
    }  # fmt: skip
    return Plan(**given | changes)


def one_run(speed: float = 100.0, **changes) -> tester_run.TesterRun:
    given = {
        "tester": "cpp", "paddle_version": "2.6.2", "infer_model": "m", "infer_data": "d", "batch_size": 1,
        "num_threads": 1, "warmup_size": 2, "images": 4, "measured_images": 4, "measured_batches": 4,
        "images_per_second": speed, "latency_ms": Latency(mean=1, p50=1, p90=1, p99=1, min=1, max=1),
        "latencies_ms": [250.0, 250.0, 300.0, 250.0], "top1": 0.5, "top5": 0.75,
        "predictions": [1, 2, 3, 4], "init_ms": 9.0, "peak_rss_bytes": 100,
        "threads_alive": 3, "threads_busy": 1, "affinity": [0],
    }  # fmt: skip
    return tester_run.TesterRun(**given | changes)


# The plan.


def test_each_model_tester_thread_count_and_batch_size_is_a_cell():
    cells = make_plan().cells()
    assert len(cells) == len(set(cells)) == 8
    assert str(cells[0]) == "M, cpp, 1 thread, batch 1" and str(cells[-1]) == "M, python, 2 threads, batch 50"


def test_both_precisions_of_a_cell_get_the_same_command_but_for_the_model():
    cell = Cell("M", "python", 2, 50)
    fp32, int8 = (make_plan().command(cell, precision) for precision in ("fp32", "int8"))
    assert [a for a, b in zip_strict(fp32, int8) if a != b] == ["--infer_model=m/fp32"]
    assert {"--batch_size=50", "--num_threads=2", "--warmup_size=2", "--min_seconds=0.5"} <= set(fp32)
    assert fp32[1].endswith("sample_tester.py")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1,all", [1, 4]), ("all", [4]), ("4,all", [4]), ("2, 1", [2, 1]), ("1,1", [1])],
)
def test_thread_counts_are_read_and_not_repeated(text, expected):
    assert thread_counts(text, [0, 1, 2, 3]) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1,", "1.5", "ALL"])
def test_what_is_no_list_of_thread_counts_is_refused(text):
    with pytest.raises(UsageError, match="--threads"):
        thread_counts(text, [0, 1])


def test_more_threads_than_cpus_would_measure_waiting_and_are_refused():
    with pytest.raises(UsageError, match="--threads 3 on 2 CPUs; expected at most 2"):
        thread_counts("1,3", [4, 5])


def test_an_unknown_tester_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown tester 'java'; expected of cpp, engine, python"):
        plan.require_testers(["python", "java"])


def test_a_cpp_tester_that_is_not_built_is_refused_only_when_it_is_needed(monkeypatch, tmp_path):
    monkeypatch.setitem(plan.TESTERS, "cpp", [str(tmp_path / "sample_tester")])
    plan.require_testers(["python"])
    with pytest.raises(MachineError, match=r"sample_tester is not built; next: inv build\.tester"):
        plan.require_testers(["cpp"])


def test_settings_tell_two_measurements_apart():
    base = make_plan().settings()
    for name, value in {"testers": ["cpp"], "threads": [1], "batch_sizes": [1], "cpus": [0], "repetitions": 4,
                        "min_seconds": 1.0, "warmup": 0}.items():  # fmt: skip
        assert make_plan(**{name: value}).settings() != base, name


# BF16.

ALL = ("fp32", "bf16", "int8")


def test_bf16_is_the_fp32_model_with_a_flag_and_otherwise_the_same_command():
    chosen, cell = make_plan(precisions=ALL), Cell("M", "cpp", 1, 50)
    fp32, bf16 = (chosen.command(cell, precision) for precision in ("fp32", "bf16"))
    assert [word for word in bf16 if word != "--bf16"] == fp32 and len(bf16) == len(fp32) + 1


def test_what_cannot_run_bf16_is_measured_in_fp32_and_int8():
    chosen = make_plan(precisions=ALL, peers=("openvino", "onnxruntime"))
    assert [chosen.precisions_of(name) for name in ("python", "openvino", "onnxruntime")] == [
        ALL,
        ALL,
        ("fp32", "int8"),
    ]
    assert len(chosen.turns()) == 4 * (3 + 3 + 3 + 2)


def test_a_run_without_bf16_has_the_settings_that_it_had_before_there_was_bf16():
    assert "precisions" not in make_plan().settings()
    assert make_plan(precisions=ALL).settings() != make_plan().settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("fp32,int8", ("fp32", "int8")), ("int8, bf16,fp32", ALL), ("fp32,int8,int8", ("fp32", "int8"))],
)
def test_precisions_are_measured_in_one_order_whatever_the_order_asked_for(monkeypatch, text, expected):
    monkeypatch.setattr(plan.instructions, "has_bf16", lambda: True)
    assert plan.precisions(text, beyond=False) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fp32,fp16,int8", r"unknown precision 'fp16'; expected of fp32, bf16, int8"),
        ("", "unknown precision ''"),
        ("fp32,bf16", "without int8; expected fp32 and int8, which are compared; bf16 may be added"),
        ("bf16,int8", "without fp32"),
    ],
)
def test_precisions_that_cannot_be_compared_are_refused(monkeypatch, text, words):
    monkeypatch.setattr(plan.instructions, "has_bf16", lambda: True)
    with pytest.raises(UsageError, match=words):
        plan.precisions(text, beyond=False)


def test_bf16_of_scenarios_is_refused_and_not_left_out_silently(monkeypatch):
    monkeypatch.setattr(plan.instructions, "has_bf16", lambda: True)
    with pytest.raises(UsageError, match="bf16 and --scenario, --instances or --sweep"):
        plan.precisions("fp32,bf16,int8", beyond=True)
    assert plan.precisions("fp32,int8", beyond=True) == ("fp32", "int8")


@pytest.mark.parametrize(
    ("flags", "found"), [("avx512f avx512_vnni", False), ("avx512_bf16", True), ("amx_bf16", True)]
)
def test_whether_a_cpu_has_bfloat16_is_read_from_its_flags_and_without_it_is_code_5(
    tmp_path, monkeypatch, flags, found
):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(kernel, "ROOT", tmp_path)
    assert instructions.has_bf16() is found
    if found:
        assert plan.precisions("fp32,bf16,int8", beyond=False) == ALL
    else:
        with pytest.raises(
            MachineError,
            match=r"no bfloat16 \(avx512_bf16 or amx_bf16\) that oneDNN may use; next: --precisions=fp32,int8",
        ):
            plan.precisions("fp32,bf16,int8", beyond=False)


def test_the_ratio_of_bf16_is_of_its_own_pairs_with_fp32():
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], precisions=ALL)
    measured = measured_of(chosen, fp32=([100, 75, 100], {}), bf16=([200, 75, 150], {"top1": 0.75}))
    (found,) = summary.comparisons(chosen, measured, "bf16")
    assert (found.speedup, found.speedup_min, found.speedup_max, found.top1_diff) == (1.5, 1, 2, 0.25)
    assert summary.comparisons(SMALL, measured_of(SMALL), "bf16") == []


def test_agreement_of_bf16_is_counted_beside_that_of_int8():
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], precisions=ALL)
    measured = measured_of(chosen, bf16=([1.0], {"predictions": [1, 2, 9, 9]}))
    (found,) = summary.accuracy(chosen, measured, LABELS, [Subset("a", 0, 4, "theirs", False)])
    assert (found.agreement, found.bf16_agreement) == (1, 0.5)
    assert found.top1 == {"fp32": 0.75, "bf16": 0.75, "int8": 0.75}
    (plain,) = summary.accuracy(SMALL, measured_of(SMALL), LABELS, [Subset("a", 0, 4, "theirs", False)])
    assert (plain.bf16_agreement, plain.bf16_agreement_interval) == (None, None)


def test_bf16_has_a_gate_of_its_own_behind_int8s():
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], precisions=ALL)
    measured = measured_of(chosen, bf16=([1.0], {"predictions": [1, 9, 9, 4]}))
    found = summary.gates(chosen, measured, LABELS, [Subset("a", 0, 4, "theirs", False)], 0.005)
    assert [(gate.precision, gate.subject, gate.top1_diff) for gate in found] == [
        ("int8", "M", 0), ("bf16", "M in BF16", -0.5)
    ]  # fmt: skip


# Measuring.


@pytest.fixture
def tester(monkeypatch):
    """Puts a pretender in the testers' place; gives the list of what was started."""
    started = []

    def capture(command, environment):
        started.append((command, environment))
        target = next(a for a in command if a.startswith("--json=")).partition("=")[2]
        Path(target).write_text(one_run(float(len(started))).model_dump_json(by_alias=True))
        return ""

    monkeypatch.setattr(measure.processes, "capture", capture)
    monkeypatch.setattr(measure.disturbance, "of", lambda _: [])  # whatever this machine does meanwhile
    return started


def test_fp32_and_int8_take_turns_and_their_order_alternates(tester):
    chosen = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], repetitions=4)
    measured = measure.measure(chosen)
    order = [re.search(r"m/(\w+)", " ".join(command))[1] for command, _ in tester]
    assert order == ["fp32", "int8", "int8", "fp32", "fp32", "int8", "int8", "fp32"]
    speeds = {precision: [r.images_per_second for r in runs] for (_, precision), runs in measured.items()}
    assert speeds == {"fp32": [1, 4, 5, 8], "int8": [2, 3, 6, 7]}


def test_each_process_is_pinned_to_as_many_cpus_as_it_has_threads(tester):
    measure.measure(make_plan(testers=["cpp"], threads=[1, 2], batch_sizes=[1], cpus=[5, 7], repetitions=1))
    pins = [(command[:3], environment["OMP_NUM_THREADS"]) for command, environment in tester]
    one, two = (["taskset", "--cpu-list", "5"], "1"), (["taskset", "--cpu-list", "5,7"], "2")
    assert pins == [one, one, two, two]


VERBOSE = """onednn_verbose,info,oneDNN v3.2.1 (commit 01204ed)
onednn_verbose,info,cpu,runtime:OpenMP,nthr:1
onednn_verbose,info,cpu,isa:Intel AVX-512 with Intel DL Boost
onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd
onednn_verbose,exec,cpu,convolution,jit_int8:avx512_core_vnni,forward_inference,src_u8::blocked wei_s8 dst_u8,attr
onednn_verbose,exec,cpu,convolution,brg_conv_fwd:avx512_core_vnni,forward_inference,src_s8::blocked wei_s8 dst_s8,attr
onednn_verbose,exec,cpu,convolution,jit:avx512_core,forward_inference,src_f32::blocked wei_f32 dst_f32,attr
onednn_verbose,exec,cpu,convolution,jit:avx512_core,forward_inference,src_f32::blocked wei_f32 dst_u8,attr
onednn_verbose,exec,cpu,inner_product,gemm:jit,forward_inference,src_u8::blocked,attr
"""


@pytest.mark.parametrize("prefix", ["onednn_verbose", "dnnl_verbose"])
def test_int8_kernels_are_counted_in_onednns_own_log(monkeypatch, prefix):
    seen = []
    log = VERBOSE.replace("onednn_verbose", prefix)
    monkeypatch.setattr(measure.processes, "capture", lambda command, env: seen.append((command, env)) or log)
    found = measure.kernels(make_plan(), "M")
    kernels, library, operations = found
    assert operations == 0  # of problems that this log leaves out
    assert kernels == (2, 4, ["brg_conv_fwd:avx512_core_vnni", "jit_int8:avx512_core_vnni"])
    assert library == {"version": "3.2.1", "commit": "01204ed", "isa": "Intel AVX-512 with Intel DL Boost",
                       "runtime": "OpenMP"}  # fmt: skip
    command, env = seen[0]
    assert env["ONEDNN_VERBOSE"] == "1" and any(a.endswith("m/int8") for a in command)
    assert not any(a.startswith("--min_seconds") for a in command) and "--iterations=1" in command


def test_bf16_kernels_are_those_that_read_bfloat16_of_the_fp32_model(monkeypatch):
    log, seen = VERBOSE.replace("src_u8::blocked wei_s8", "src_bf16::blocked wei_bf16"), []
    monkeypatch.setattr(measure.processes, "capture", lambda command, env: seen.append(command) or log)
    found = measure.kernels(make_plan(precisions=ALL), "M", "bf16")
    assert found.kernels == (1, 4, ["jit_int8:avx512_core_vnni"])
    assert "--bf16" in seen[0] and any(a.endswith("m/fp32") for a in seen[0]) and "--iterations=1" in seen[0]


# The summary.


def measured_of(chosen: Plan, **by_precision) -> dict:
    """{(cell, precision): runs} with each cell's speeds, threads and CPUs as asked for."""
    result = {}
    for cell in chosen.cells():
        for precision in chosen.precisions_of(cell.tester):
            speeds, changes = by_precision.get(precision, ([100.0, 100.0, 100.0], {}))
            affinity = chosen.cpus[: cell.threads]
            base = {"threads_busy": cell.threads, "affinity": affinity}
            result[cell, precision] = [one_run(s, **base | changes) for s in speeds]
    return result


SMALL = make_plan(testers=["cpp"], threads=[1], batch_sizes=[1], repetitions=3)


def test_the_speedup_is_the_median_of_the_paired_ratios_not_the_ratio_of_the_medians():
    # The machine slowed down during the second pair, and during half of the third.
    (found,) = summary.comparisons(SMALL, measured_of(SMALL, fp32=([100, 75, 100], {}), int8=([300, 150, 150], {})))
    assert (found.speedup, found.speedup_min, found.speedup_max) == (2, 1.5, 3)
    assert statistics.median([300, 150, 150]) / statistics.median([100, 50, 100]) == 1.5


def test_a_difference_is_int8_less_fp32_and_none_where_one_has_none():
    lower, none = ([100.0], {"top1": 0.25, "top5": 0.75}), ([100.0], {"top1": None, "top5": None})
    (found,) = summary.comparisons(SMALL, measured_of(SMALL, fp32=([100.0], {}), int8=lower))
    assert (found.top1_diff, found.top5_diff) == (-0.25, 0)
    (found,) = summary.comparisons(SMALL, measured_of(SMALL, fp32=([100.0], {}), int8=none))
    assert (found.top1_diff, found.top5_diff) == (None, None)


def test_a_run_is_the_medians_of_its_repetitions_and_keeps_each_speed():
    reps = [
        one_run(90, peak_rss_bytes=7, init_ms=1, latency_ms=Latency(mean=1, p50=1, p90=1, p99=1, min=1, max=1)),
        one_run(110, peak_rss_bytes=9, init_ms=3, latency_ms=Latency(mean=3, p50=3, p90=3, p99=3, min=3, max=3),
                   partial_batch=PartialBatch(images=1, latency_ms=1)),
        one_run(100, peak_rss_bytes=8, init_ms=2, latency_ms=Latency(mean=2, p50=2, p90=2, p99=2, min=2, max=2)),
    ]  # fmt: skip
    (cell,) = SMALL.cells()
    fp32, _ = summary.runs(SMALL, {(cell, "fp32"): reps, (cell, "int8"): reps})
    assert (fp32.images_per_second, fp32.repetitions, fp32.precision) == (100, [90, 110, 100], "fp32")
    assert (fp32.latency_ms.p99, fp32.init_ms, fp32.peak_rss_bytes) == (2, 2, 9)
    assert fp32.measured_batches == 12 and len(fp32.latency_percentiles_ms) == 101
    assert (fp32.latency_percentiles_ms[0], fp32.latency_percentiles_ms[100]) == (250, 300)
    assert fp32.command[:3] == ["taskset", "--cpu-list", "0"] and "--batch_size=1" in fp32.command


LABELS = np.array([1, 2, 3, 9])
HALVES = [Subset("a", 0, 2, "theirs", False), Subset("b", 2, 2, "ours", True)]


def accuracies(subsets, fp32=(1, 2, 3, 4), int8=(1, 2, 4, 4)):
    pair = {"fp32": ([1.0], {"predictions": list(fp32)}), "int8": ([1.0], {"predictions": list(int8)})}
    return {s.subset: s for s in summary.accuracy(SMALL, measured_of(SMALL, **pair), LABELS, subsets)}


def test_accuracy_and_agreement_are_counted_by_subset():
    found = accuracies(HALVES)
    a, b = found["a"], found["b"]
    assert (a.images, a.top1, a.agreement, a.used_in_training) == (2, {"fp32": 1, "int8": 1}, 1, False)
    assert (b.images, b.top1, b.agreement, b.used_in_training) == (2, {"fp32": 0.5, "int8": 0}, 0.5, True)
    assert (a.labels, b.labels) == ("theirs", "ours")


def test_intervals_are_wilsons_of_the_counts():
    b = accuracies(HALVES)["b"]
    assert b.top1_interval == {"fp32": statistics.wilson_interval(1, 2), "int8": statistics.wilson_interval(0, 2)}
    assert b.agreement_interval == statistics.wilson_interval(1, 2)


def test_several_subsets_are_followed_by_the_whole_file_and_one_is_not():
    found = accuracies(HALVES)
    whole = found["all"]
    assert list(found) == ["a", "b", "all"]
    assert (whole.images, whole.top1, whole.agreement) == (4, {"fp32": 0.75, "int8": 0.5}, 0.75)
    assert whole.used_in_training
    assert list(accuracies(HALVES[:1])) == ["a"]
