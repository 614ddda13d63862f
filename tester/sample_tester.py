"""Measures the speed and the accuracy of an image classification model on oneDNN: the tutorial's tester, section 4.2.

The Python twin of sample_tester.cc: the same flags and defaults, lines, JSON (`qat8.tester_run`) and exit codes, and
the same accuracy to the last image.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
import time
from pathlib import Path

try:
    from qat8 import signals

    if __name__ == "__main__":
        signals.leave_at_once()  # if asked to, while the rest is imported
    import numpy as np
    from measurement import Measurement, Run
    from onednn_profile import Profiler
    from paddle_predictor import Predictor, model_files
    from process_info import allowed_cpus

    from qat8 import cli, instructions, trial
    from qat8.datafile import Reader
    from qat8.errors import MachineError, UsageError
    from qat8.tester_run import TesterRun
except ModuleNotFoundError as e:
    print(f"error: {sys.executable} has no module {e.name}; next: run this with .venv/bin/python", file=sys.stderr)
    sys.exit(5)


def _whole(text: str, least: int, most: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _iterations(text: str) -> int:
    return _whole(text, -1, sys.maxsize, "a whole number from -1")


def _side(text: str) -> int:
    return _whole(text, 1, 4096, "a whole number from 1 to 4096")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return value


def parse_flags(argv: list[str]) -> argparse.Namespace:
    parser = cli.Parser(prog="sample_tester.py", description=__doc__.splitlines()[0])
    parser.flag("infer-model", default="", help="directory of the model (required)")
    parser.flag("infer-data", default="", help="binary data file (required)")
    parser.flag("warmup-size", type=cli.count, default=0, help="batches to predict before the measurement")
    parser.flag("batch-size", type=cli.positive_int, default=50, help="images of a batch")
    parser.flag("iterations", type=_iterations, default=0, help="batches to predict; 0 or -1: the whole file")
    parser.flag("num-threads", type=cli.positive_int, default=1, help="CPU threads")
    layer = "the model takes image and label and computes top-1 and top-5 as outputs 1 and 2"
    parser.flag("with-accuracy-layer", default=False, help=layer)
    parser.flag("use-profile", default=False, help="print a table of operators; in Python no build option is needed")
    parser.flag("json", default="", help="write the result to this file")
    longer = "after the file go on over its full batches, for speed alone, until this much time was measured"
    parser.flag("min-seconds", type=_seconds, default=0.0, help=longer)
    parser.flag("data-dim", type=_side, default=224, help="side of the images in a file of the raw layout")
    online = "INT8 from the QAT float model: let the predictor quantize it"
    parser.flag("int8-online", default=False, help=online)
    parser.flag("bf16", default=False, help="run the FP32 model in bfloat16, on a CPU that has it")
    flags = parser.parse_args(argv)
    if not flags.infer_model:
        parser.error("--infer_model is missing: the directory of the model")
    if not flags.infer_data:
        parser.error("--infer_data is missing: the binary data file")
    if flags.bf16 and flags.int8_online:
        parser.error("--bf16 with --int8_online: a model runs in one precision")
    return flags


def check_bf16(wanted: bool) -> None:
    """Without the instructions Paddle would run FP32, or imitate bfloat16."""
    if wanted and not instructions.has_bf16():
        raise MachineError(
            "--bf16: this CPU has no bfloat16 that oneDNN may use", "avx512_bf16 or amx_bf16", "run without --bf16"
        )


def check_writable(path: str) -> None:
    """A result that cannot be written is an error before the measurement, not after it."""
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise UsageError(f"--json: {path} is a directory", "a file's name")
    if not os.path.isdir(directory):
        raise UsageError(f"--json: there is no directory {directory}", "a file in an existing directory")
    if not os.access(directory, os.W_OK):
        raise MachineError(f"{directory}: not writable", next_step="name another place, then run again")


def write_atomically(path: str, text: str) -> None:
    """`path` holds the old text or the new one, never half of it."""
    temporary = f"{path}.tmp.{os.getpid()}"
    try:
        with open(temporary, "w") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def print_report(flags: argparse.Namespace, m: Measurement) -> None:
    """The first seven lines are worded as those of the tutorial's tester; what follows is ours."""
    s = m.latency()
    print(f"Model: {flags.infer_model}")
    print(f"====== num of threads: {flags.num_threads} ======")
    print(f"====== batch size: {flags.batch_size}, iterations: {len(m.latencies_ms)}")
    print(f"====== batch latency: {s.mean:.3f}ms, number of samples: {m.measured_images}")
    print(f", sample latency: {m.measured_ms / m.measured_images:.4f}ms, fps: {m.images_per_second:.2f} ======")
    print(f"Top1 acc {m.top1:.4f}")
    print(f"Top5 acc {m.top5:.4f}")
    print(f"images: {m.images}")
    print(f"batch latency percentiles: p50 {s.p50:.3f}ms, p90 {s.p90:.3f}ms, p99 {s.p99:.3f}ms, ", end="")
    print(f"min {s.min:.3f}ms, max {s.max:.3f}ms")
    if m.partial:
        only = m.images == m.partial.images
        use = "the only one: counts for accuracy and speed" if only else "counts for accuracy, not for speed"
        print(f"partial batch: {m.partial.images} images, {m.partial.latency_ms:.3f}ms ({use})")
    per_batch, share = m.read_ms / len(m.latencies_ms), m.read_ms / m.measured_ms
    print(f"reading: {per_batch:.3f}ms per batch beside the latency ({share:.2%} of it)")
    print(f"threads alive: {m.threads_alive}, busy: {m.threads_busy}")
    print(f"peak memory: {m.peak_rss_bytes / 2**20:.1f} MiB")


def _text(path: str) -> str:
    """A path may hold bytes that are not UTF-8; JSON may not."""
    return os.fsencode(path).decode(errors="replace")


def tester_run(flags, m: Measurement, data: Reader, version: str, init_ms: float, cpus: list[int]) -> TesterRun:
    return TesterRun(
        tester="python",
        paddle_version=version,
        infer_model=_text(flags.infer_model),
        infer_data=_text(flags.infer_data),
        fingerprint=data.header.fingerprint,
        batch_size=flags.batch_size,
        num_threads=flags.num_threads,
        warmup_size=flags.warmup_size,
        images=m.images,
        measured_images=m.measured_images,
        measured_batches=len(m.latencies_ms),
        images_per_second=m.images_per_second,
        latency_ms=m.latency(),
        latencies_ms=m.latencies_ms,
        partial_batch=m.partial,
        read_ms=m.read_ms,
        top1=m.top1,
        top5=m.top5,
        predictions=m.predictions,
        init_ms=init_ms,
        peak_rss_bytes=m.peak_rss_bytes,
        threads_alive=m.threads_alive,
        threads_busy=m.threads_busy,
        affinity=cpus,
    )


def require_sound(flags: argparse.Namespace, sides: tuple[int, int]) -> None:
    """What Paddle would crash over is an error here; the C++ tester has handlers of the signals for that."""

    def use() -> None:
        predictor = Predictor(
            flags.infer_model, *sides, flags.num_threads, flags.with_accuracy_layer, flags.int8_online, flags.bf16
        )
        predictor.run(np.zeros((1, 3, *sides), np.float32), np.zeros(1, np.int64))

    model = Path(flags.infer_model)
    trial.require_sound(model, tuple(file for file in model_files(model) if file), use)


def main(argv: list[str]) -> None:
    flags, cpus = parse_flags(argv), allowed_cpus()
    check_bf16(flags.bf16)
    if flags.json:
        check_writable(flags.json)
    profiler = Profiler(flags.use_profile)
    # A raw file does not know the number of classes; the model does, see Run._check.
    with Reader(flags.infer_data, flags.data_dim, classes=2**63 - 1) as data:
        profiler.start()
        try:
            from qat8.engine import paddle  # after the profiler's start, and not for a mere --help: it takes seconds

            h = data.header
            sides = (h.height, h.width)
            require_sound(flags, sides)
            start = time.perf_counter()
            predictor = Predictor(
                flags.infer_model, *sides, flags.num_threads, flags.with_accuracy_layer, flags.int8_online, flags.bf16
            )
            init_ms = (time.perf_counter() - start) * 1000
            profiler.collect(False)
            measurement = Run(flags, data, predictor, profiler).measure()
        finally:
            profiler.stop()
        print_report(flags, measurement)
        print(*profiler.table(measurement.measured_ms), sep="\n", end="\n" * flags.use_profile)
        sys.stdout.flush()
        if flags.json:
            run = tester_run(flags, measurement, data, paddle.__version__, init_ms, cpus)
            write_atomically(flags.json, run.model_dump_json(by_alias=True) + "\n")


if __name__ == "__main__":
    cli.run(main)
