"""Each reason for which a run is INVALID, provoked for real: tiny models, the C++ tester, this machine's own kernel.

What a virtual machine cannot be made to do (steal, heat, a clock that moves) is in tests/unit/test_validity.py and
test_conditions.py with a kernel of our own; the tests for them here say why they are skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from qat8 import instructions, kernel, results, tester_run
from qat8.benchmarking import measure, validity
from qat8.benchmarking import plan as planning
from qat8.datafile import DTYPES, Header, Reader, Writer
from qat8.older_python import zip_strict
from qat8.stages import benchmark

pytestmark = pytest.mark.integration

REPO = Path(__file__).resolve().parents[2]
TESTER = REPO / "tester/build/sample_tester"
CPUS = sorted(os.sched_getaffinity(0))
CPU = CPUS[-1]
SIDE, CLASSES, IMAGES = 32, 10, 40
CGROUP_2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
SPIN = "while True: pass"
needs_bf16 = pytest.mark.skipif(not instructions.has_bf16(), reason="a CPU without avx512_bf16 and amx_bf16")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """fp32 and int8 models (of random weights), and data whose labels are what FP32 says: its accuracy is 100 %."""
    home = tmp_path_factory.mktemp("tiny")
    build = subprocess.run([sys.executable, "-m", "qat8.stages.build_tester"], capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    make = subprocess.run([sys.executable, REPO / "tests/cpp/make_models.py", home], capture_output=True, text=True)
    assert make.returncode == 0, make.stderr
    convert = [sys.executable, "-m", "qat8.stages.convert", f"--qat-model-path={home / 'qat'}",
               f"--int8-model-save-path={home / 'int8'}"]  # fmt: skip
    done = subprocess.run(convert, capture_output=True, text=True, env={**os.environ, "QAT8_DATA": str(home)})
    assert done.returncode == 0, done.stderr
    images = np.random.default_rng(1).normal(0, 1, (IMAGES, 3, SIDE, SIDE)).astype(np.float32)
    write_data(home / "unlabelled.bin", images, [0] * IMAGES)
    write_data(home / "val.bin", images, predictions(home / "plain", home / "unlabelled.bin", home))
    return home


def write_data(path: Path, images: np.ndarray, labels: list[int]) -> None:
    header = Header(len(images), SIDE, SIDE, DTYPES[1], CLASSES, (0.0,) * 3, (1.0,) * 3, {"made": "noise"})
    writer = Writer(path, header)
    for image, label in zip_strict(images, labels):
        writer.append(image, label)
    writer.close()


def predictions(model: Path, data: Path, home: Path) -> list[int]:
    target = home / "run.json"
    command = [TESTER, f"--infer_model={model}", f"--infer_data={data}", f"--json={target}"]
    subprocess.run(command, check=True, capture_output=True)
    return tester_run.load(target).predictions


@pytest.fixture
def measured(home, monkeypatch, tmp_path):
    """`measured(flags, tester)`: checks by name of a short benchmark, and its exit code."""
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    # Short is enough to provoke a fault; what is short by the real limit is a test of its own.
    monkeypatch.setattr(validity, "MIN_SECONDS", 0.2)

    def run(*flags: str, tester: Path = TESTER, int8: Path = home / "int8", data: Path = home / "val.bin"):
        monkeypatch.setitem(planning.TESTERS, "cpp", [str(tester)])
        output = tmp_path / "run.json"
        given = {
            "fp32-model": home / "plain", "int8-model": int8, "data-file": data, "testers": "cpp", "threads": 1,
            "batch-sizes": 10, "cpus": CPU, "repetitions": 3, "min-seconds": 0.3, "output": output,
        }  # fmt: skip
        given |= dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        code = 0
        try:
            benchmark.main([f"--{name}={value}" for name, value in given.items()])
        except Exception as e:
            code = getattr(e, "exit_code", 1)
        record = results.load(output)
        return {check.check: check for check in record.environment.validity}, record, code

    return run


@contextlib.contextmanager
def busy(cpu: int):
    """A load generator: a process that does nothing but need this CPU."""
    process = subprocess.Popen(["taskset", "--cpu-list", str(cpu), sys.executable, "-S", "-c", SPIN])
    try:
        time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def wrapper(tmp_path):
    """`wrapper(lines)`: a tester that does these lines of bash and then runs the real one with "${args[@]}"."""

    def make(lines: str, start: str = f'exec {TESTER} "${{args[@]}}"') -> Path:
        path = tmp_path / "tester.sh"
        path.write_text(f'#!/bin/bash\nargs=("$@")\n{lines}\n{start}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


def test_an_undisturbed_run_passes_all_checks_but_those_of_a_machine_that_is_busy_with_others(measured):
    """The control: what the tests below provoke is not there without the provocation."""
    checks, record, code = measured()
    ours = {"int8 kernels", "affinity", "threads", "accuracy", "outputs", "inputs", "amount", "CPU quota", "swapping"}
    assert {name: checks[name].detail for name in ours if not checks[name].ok} == {}
    assert code == 0 and record.verdict == ("INVALID" if record.reasons else "VALID")
    assert record.environment.onednn["isa"] and record.environment.onednn["kernels"]["MobileNetV1"]
    seen = record.runs[0].conditions
    assert len(seen) == 3 and all(c.cpu_seconds > 0.2 and c.other_load is not None for c in seen)


@needs_bf16
def test_bf16_is_measured_in_turn_with_fp32_and_int8_and_its_kernels_and_accuracy_are_checked(measured):
    checks, record, code = measured("--precisions=fp32,bf16,int8")
    assert code == 0 and checks["bf16 kernels"].ok and "convolutions in BF16 (" in checks["bf16 kernels"].detail
    assert [run.precision for run in record.runs] == ["fp32", "bf16", "int8"]
    assert all(len(run.repetitions) == 3 for run in record.runs)
    assert "--bf16" in record.runs[1].command and record.runs[1].top1 > 0.9
    (bf16,), (int8,) = record.bf16_comparisons, record.comparisons
    assert bf16.speedup > 0 and bf16.speedup != int8.speedup
    assert [gate.precision for gate in record.gates] == ["int8", "bf16"]
    assert record.environment.onednn["bf16_kernels"]["MobileNetV1"]


@needs_bf16
def test_fp32_that_is_passed_off_as_bf16(measured, wrapper):
    drop = 'args=(); for word in "$@"; do [ "$word" = --bf16 ] || args+=("$word"); done'
    checks, record, _ = measured("--precisions=fp32,bf16,int8", tester=wrapper(drop))
    assert checks["bf16 kernels"].word == "INVALID" and record.verdict == "INVALID"
    assert "oneDNN ran 0 of " in checks["bf16 kernels"].detail and checks["int8 kernels"].ok


def test_a_load_generator_on_the_same_cpu(measured):
    with busy(CPU):
        checks, record, _ = measured()
    assert checks["other load"].word == "INVALID" and record.verdict == "INVALID"
    assert "went to other processes" in checks["other load"].detail
    assert any(reason.startswith("other load: ") for reason in record.reasons)


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU: there is no other one to load")
def test_a_load_generator_on_another_cpu_is_a_warning(measured):
    with busy(CPUS[0]):
        checks, _, _ = measured()
    assert checks["load elsewhere"].word == "warning"


@pytest.fixture
def never_again(monkeypatch):
    """No repetition is measured again, so that the tester's processes can be counted on a loaded machine, too."""
    monkeypatch.setattr(measure, "MIN_SPARE", 0)


@pytest.fixture
def once_loaded(wrapper, tmp_path):
    """A tester whose fourth process, which is an FP32 one, gets half of the CPU."""
    lines = f"""n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) >{tmp_path}/n
if ((n == 4)); then {sys.executable} -S -c '{SPIN}' & spin=$!; trap 'kill $spin' EXIT; fi"""
    return wrapper(lines, f'{TESTER} "${{args[@]}}"')


def test_load_in_one_repetition_only_makes_the_ratios_scatter(measured, once_loaded, never_again):
    """The pair's ratio doubles, where no repetition may be measured again."""
    checks, _, _ = measured(tester=once_loaded)
    assert checks["repetitions"].word == "INVALID", checks["repetitions"].detail


def test_load_in_one_repetition_only_has_that_one_measured_again(measured, once_loaded):
    checks, record, _ = measured(tester=once_loaded)
    assert checks["again"].word == "warning", checks["again"].detail
    assert sum(c.discarded for run in record.runs for c in run.conditions) >= 1


def own_group(line: str) -> str | None:
    """The path in a line of /proc/self/cgroup that tells of the CPU controller."""
    _, controllers, path = line.split(":", 2)
    return path if "cpu" in controllers.split(",") or (not controllers and CGROUP_2) else None


@pytest.fixture
def quota():
    """A third of a CPU for this process and its children, in a cgroup of its own; skipped where none can be made.

    The period is shorter than a time slice, so that the quota is used up also where others leave less than a third.
    """
    base, v2 = Path("/sys/fs/cgroup"), CGROUP_2
    group = (base if v2 else base / "cpu") / f"qat8-test-{os.getpid()}"
    back = group.parent / "cgroup.procs"
    try:
        if v2 and "cpu" not in (base / "cgroup.subtree_control").read_text():
            raise OSError("the cpu controller is not given to groups below the root")
        group.mkdir()
    except OSError as e:
        pytest.skip(f"no cgroup with a CPU quota can be made here: {e}")
    try:
        for name, text in (("cpu.max", "1500 5000"),) if v2 else (
            ("cpu.cfs_period_us", "5000"), ("cpu.cfs_quota_us", "1500")
        ):  # fmt: skip
            (group / name).write_text(text)
        home = next(path for path in map(own_group, Path("/proc/self/cgroup").read_text().splitlines()) if path)
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield
        (group.parent / home.strip("/") / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        with contextlib.suppress(OSError):
            back.write_text(str(os.getpid()))
        group.rmdir()


def test_a_cgroup_whose_quota_is_used_up(measured, quota):
    checks, record, _ = measured()
    assert record.environment.limits["cpu_quota"] == 0.3
    assert checks["CPU quota"].word == "INVALID" and "quota stopped the process in" in checks["CPU quota"].detail


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU: two threads cannot be asked for")
def test_a_tester_that_does_not_pass_the_threads_on(measured, wrapper):
    """What upstream's tester did to its INT8 predictor."""
    lines = 'args=("${args[@]/--num_threads=2/--num_threads=1}"); export OMP_NUM_THREADS=1'
    checks, _, _ = measured(f"--cpus={CPUS[0]},{CPUS[1]}", "--threads=2", tester=wrapper(lines))
    assert checks["threads"].word == "INVALID" and "1 busy" in checks["threads"].detail


@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU: there is no other one to run on")
def test_a_process_that_leaves_its_cpus(measured, wrapper):
    start = f'exec taskset --cpu-list {",".join(map(str, CPUS))} {TESTER} "${{args[@]}}"'
    checks, _, _ = measured(tester=wrapper("", start))
    assert checks["affinity"].word == "INVALID" and str(CPUS) in checks["affinity"].detail


def test_an_fp32_model_passed_off_as_int8(measured, home):
    checks, _, _ = measured(int8=home / "plain")
    assert checks["int8 kernels"].word == "INVALID" and "0 of 2 convolutions" in checks["int8 kernels"].detail


def test_data_that_change_during_the_run(measured, home, tmp_path, wrapper, never_again):
    """Other labels, written when the second repetition starts: sums, accuracy, but not outputs change."""
    data = tmp_path / "val.bin"
    data.write_bytes((home / "val.bin").read_bytes())
    with Reader(data) as reader:
        images = np.concatenate([reader.batch(i, 1)[0] for i in range(IMAGES)])
    write_data(tmp_path / "other.bin", images, [0] * IMAGES)
    lines = f"""n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) >{tmp_path}/n
if ((n == 3)); then cp {tmp_path}/other.bin {data}; fi"""
    checks, _, _ = measured(data=data, tester=wrapper(lines))
    assert checks["inputs"].word == "INVALID" and checks["inputs"].detail.endswith(str(data))
    assert checks["accuracy"].word == "INVALID" and checks["outputs"].ok


def test_a_model_whose_outputs_change_during_the_run(measured, home, tmp_path, wrapper, never_again):
    """The accuracy run's model is swapped for another one when the clock matters: what MLPerf's TEST01 is for."""
    model = tmp_path / "int8"
    model.mkdir()
    for name in ("model.pdmodel", "model.pdiparams"):
        (model / name).write_bytes((home / "int8" / name).read_bytes())
    lines = f"""n=$(cat {tmp_path}/n 2>/dev/null || echo 0); echo $((n + 1)) >{tmp_path}/n
if ((n == 4)); then cp {home}/equal_scores/model.* {model}/; fi"""
    checks, _, _ = measured(int8=model, tester=wrapper(lines))
    assert checks["outputs"].word == checks["inputs"].word == "INVALID"
    assert "int8 names another class on" in checks["outputs"].detail


def test_an_int8_model_below_the_accuracy_gate_ends_with_7_and_its_results_are_kept(measured, home):
    """`equal_scores` always names class 0."""
    checks, record, code = measured(int8=home / "equal_scores")
    assert code == 7 and checks["accuracy gate"].word == "INVALID"
    (gate,) = record.gates
    assert gate.outcome == "failed" and gate.interval[1] < -0.005 and gate.images == IMAGES


def test_too_short_a_run(measured):
    checks, record, _ = measured("--quick=true")
    assert record.quick and checks["amount"].word == "INVALID" and "(--quick)" in checks["amount"].detail


def test_swapping(measured):
    """Pages are swapped while the run lasts: a process with more memory than its cgroup gives it."""
    if len(Path("/proc/swaps").read_text().splitlines()) < 2:
        pytest.skip("this machine has no swap space, and to add one would change its settings")
    before = kernel.swapped_pages()
    stop = threading.Event()

    def churn():
        hog = "import time; b = bytearray(2**30); [b.__setitem__(slice(None), bytes(2**30)) for _ in range(9)]"
        while not stop.is_set() and kernel.swapped_pages() == before:
            subprocess.run([sys.executable, "-c", hog], timeout=60)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        checks, _, _ = measured()
    finally:
        stop.set()
        thread.join()
    if kernel.swapped_pages() == before:
        pytest.skip("1 GB more was not enough to make this machine swap")
    assert checks["swapping"].word == "INVALID"


@pytest.mark.skip(reason="only the host can give this machine's time to other guests: tests/unit/test_validity.py")
def test_steal(): ...


@pytest.mark.skip(reason="this would need a CPU to overheat: tests/unit/test_conditions.py has a pretended kernel")
def test_heat(): ...


@pytest.mark.skipif(kernel.frequencies([CPU]) == [], reason="this machine does not tell its clock")
def test_a_clock_that_moves(measured):
    base = Path(f"/sys/devices/system/cpu/cpu{CPU}/cpufreq")
    if not os.access(base / "scaling_max_freq", os.W_OK):
        pytest.skip("the clock cannot be set without root")
    most = (base / "scaling_max_freq").read_text()
    timer = threading.Timer(1.0, (base / "scaling_max_freq").write_text, [(base / "cpuinfo_min_freq").read_text()])
    timer.start()
    try:
        checks, _, _ = measured("--repetitions=3", "--min-seconds=1")
    finally:
        timer.join()
        (base / "scaling_max_freq").write_text(most)
    assert checks["frequency"].word == "INVALID"


def test_every_reason_is_in_the_file_in_words(measured, home, tmp_path):
    measured(int8=home / "plain")
    content = json.loads((tmp_path / "run.json").read_text())
    failed = {c["check"] for c in content["environment"]["validity"] if not c["ok"] and c["level"] == "failure"}
    assert content["verdict"] == "INVALID" and {r.partition(": ")[0] for r in content["reasons"]} == failed
