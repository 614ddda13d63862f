"""Parts of the Python tester that need no Paddle: ranking, threads, oneDNN's log, Paddle's error texts, writing."""

import argparse
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tester"))

from measurement import Run, rank_labels
from onednn_profile import Profiler
from paddle_predictor import Output, model_files
from peer_tester import precision_to_run
from process_info import allowed_cpus, busy_threads, peak_rss_bytes, thread_times
from sample_tester import check_bf16, write_atomically

from qat8 import instructions, paddle_error
from qat8.datafile import Header, Reader, Writer
from qat8.errors import MachineError, ModelError, UsageError, VerificationError
from qat8.older_python import zip_strict


def test_ranks_agree_with_a_stable_sort_also_where_scores_are_equal():
    random = np.random.default_rng(0)
    scores = random.integers(0, 4, (200, 7)).astype(np.float32)  # few values: many ties
    labels = random.integers(0, 7, 200)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = [list(row).index(label) for row, label in zip_strict(order, labels)]
    assert rank_labels(scores, labels).tolist() == expected


def test_a_busy_thread_is_told_from_a_sleeping_one():
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=stop.wait), threading.Thread(target=spin)]
    for thread in threads:
        thread.start()
    # Over CPU time of the process, not of the clock: on a machine that others use the two are far apart.
    before, start = thread_times(), time.process_time()
    while (seconds := time.process_time() - start) < 0.3:
        time.sleep(0.02)
    after = thread_times()
    stop.set()
    for thread in threads:
        thread.join()
    assert all(thread.native_id in after for thread in threads)
    assert busy_threads(before, after, seconds) == 1


def test_a_thread_that_began_meanwhile_counts_with_all_its_time():
    assert busy_threads({1: 5.0}, {1: 5.05, 2: 0.3, 3: 0.05}, 1.0) == 1


def test_peak_memory_grows_by_what_is_allocated():
    before = peak_rss_bytes()
    block = np.ones(before + 50_000_000, np.uint8)  # more than ever before, whatever other tests have used
    assert peak_rss_bytes() >= before + 50_000_000
    del block


def test_the_allowed_cpus_are_in_order():
    cpus = allowed_cpus()
    assert cpus and cpus == sorted(set(cpus))


LOG = """onednn_verbose,info,oneDNN v3.2.1 (commit 01204edb)
onednn_verbose,exec,cpu,convolution,brgconv:avx512_core_vnni,forward_inference,src_u8,attr,alg,mb1ic3,2.5
onednn_verbose,exec,cpu,convolution,brgconv:avx512_core_vnni,forward_inference,src_u8,attr,alg,mb1ic3,1.5
onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32,,,1x3,1
onednn_verbose,create:cache_miss,cpu,reorder,jit:uni,undef,src_f32,,,1x3,9"""


def test_the_log_is_added_up_by_primitive_and_implementation():
    profiler = Profiler(True)
    for line in LOG.splitlines():
        profiler._add(line, True)
    assert [line.split() for line in profiler.table(10.0)[2:]] == [
        ["convolution", "brgconv:avx512_core_vnni", "2", "4.000", "40.00%"],
        ["reorder", "jit:uni", "1", "1.000", "10.00%"],
        ["(outside", "oneDNN)", "5.000", "50.00%"],
    ]


def test_lines_that_are_not_onednns_are_passed_on_and_warm_up_is_not_counted(capsys):
    profiler = Profiler(True)
    profiler._add("a line of Paddle", True)
    profiler._add(LOG.splitlines()[1], False)
    assert capsys.readouterr().err == "a line of Paddle\n"
    assert not profiler.rows


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        (
            "\n----\nC++ Traceback\n----\n0 a()\n\n----\nError Message Summary:\n----\nNotFoundError: No kernel.\n"
            "  [Hint: Expected a, but got b.] (at /paddle/file.cc:3)\n  [operator < conv2d > error]",
            "NotFoundError: No kernel. [Hint: Expected a, but got b.]",
        ),
        ("UnavailableError: It is gone. (at /paddle/x.cc:1)\nmore", "UnavailableError: It is gone."),
        ("plain sentence\nsecond line", "plain sentence"),
        ("", "Paddle gave no reason"),
        ("x" * 1000, "x" * 400 + "..."),
    ],
)
def test_paddles_error_texts_are_shortened_to_summary_and_hint(text, brief):
    assert paddle_error.brief(text) == brief


def test_model_files_prefers_pdmodel_and_knows_upstreams_names(tmp_path):
    (tmp_path / "__model__").touch()
    assert model_files(tmp_path) == (tmp_path / "__model__", None)
    (tmp_path / "__params__").touch()
    assert model_files(tmp_path) == (tmp_path / "__model__", tmp_path / "__params__")
    (tmp_path / "a.b.pdmodel").touch()
    with pytest.raises(ModelError, match=r"a\.b\.pdiparams: no such file"):
        model_files(tmp_path)
    (tmp_path / "a.b.pdiparams").touch()
    assert model_files(tmp_path) == (tmp_path / "a.b.pdmodel", tmp_path / "a.b.pdiparams")


def test_bf16_is_of_an_fp32_model_of_a_peer_that_runs_it():
    assert [precision_to_run("openvino", kind, False) for kind in ("fp32", "int8")] == ["fp32", "int8"]
    assert precision_to_run("openvino", "fp32", True) == "bf16"
    with pytest.raises(ModelError, match="--bf16 of an INT8 model"):
        precision_to_run("openvino", "int8", True)
    with pytest.raises(UsageError, match="--bf16 with torch; expected of openvino"):
        precision_to_run("torch", "fp32", True)


def test_bf16_without_the_instructions_is_refused_with_code_5(monkeypatch):
    monkeypatch.setattr(instructions, "has_bf16", lambda: False)
    check_bf16(False)
    with pytest.raises(
        MachineError, match="--bf16: this CPU has no bfloat16 that oneDNN may use; expected avx512_bf16 or amx_bf16"
    ):
        check_bf16(True)


def test_a_result_that_cannot_be_written_leaves_the_old_one_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text("old")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(str(path), "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


class Forgetful:
    """Names class 1 for every image, and class 2 from the given run on."""

    def __init__(self, runs: int) -> None:
        self._left = runs

    def run(self, images, labels) -> Output:
        self._left -= 1
        return Output(np.eye(3, dtype=np.float32)[[1 if self._left >= 0 else 2] * len(images)])


@pytest.fixture
def five_images(tmp_path):
    header = Header(5, 2, 2, np.dtype(np.float32), 3, (0.5,) * 3, (0.5,) * 3, {})
    writer = Writer(tmp_path / "five.bin", header)
    for _ in range(5):
        writer.append(np.zeros((3, 2, 2), np.float32), 1)
    writer.close()
    with Reader(tmp_path / "five.bin", 2, classes=3) as reader:
        yield reader


@pytest.mark.parametrize("iterations", [0, 1])
def test_the_timed_pass_must_name_the_classes_that_were_counted(five_images, iterations):
    flags = argparse.Namespace(batch_size=2, warmup_size=0, iterations=iterations, min_seconds=0.01)
    done = Run(flags, five_images, Forgetful(10**6), Profiler(False)).measure()
    assert done.top1 == 1 and len(done.latencies_ms) > 3
    with pytest.raises(VerificationError, match="two classes for image 0: 1 and 2"):
        Run(flags, five_images, Forgetful(1 if iterations else 3), Profiler(False)).measure()
