"""The process whose inferences are profiled: it runs the Python tester's predictor and marks each run on stdout.

What it prints between the marks is oneDNN's and, with --trace, the executor's. Without --trace every other run is
logged: whatever slows the machine for a while slows both kinds.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, datafile, trial
from qat8.engine import paddle
from qat8.errors import MachineError

MARK = "qat8_profile"


def environment(trace: bool) -> dict[str, str]:
    """What oneDNN and glog read once, when they are loaded."""
    found = {"ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
    if trace:  # operator=0: a second file's lines at the same verbosity would only cost time
        found |= {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0", "GLOG_vmodule": "naive_executor=4,operator=0"}
    return found


def batch(data: str, count: int) -> np.ndarray:
    """float32 [count, 3, H, W]: the data file's first images, from the start again when it holds fewer."""
    with datafile.Reader(data) as reader:
        images, _ = reader.batch(0, min(count, len(reader)))
    return np.ascontiguousarray(np.resize(images, (count, *images.shape[1:])))


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="profiling worker", description=__doc__.splitlines()[0])
    parser.flag("model", required=True, help="directory of the model")
    parser.flag("data-file", required=True, help="preprocessed images")
    for name, value in (("batch-size", 50), ("num-threads", 1), ("iterations", 10), ("warmup", 2)):
        parser.flag(name, type=cli.positive_int, default=value, help="as in the testers")
    parser.flag("trace", default=False, help="log every run, and print the executor's log too")
    parser.flag("bf16", default=False, help="let Paddle run the FP32 model in bfloat16")
    args = parser.parse_args(argv)
    images = batch(args.data_file, args.batch_size)
    sys.path.insert(0, str(artifacts.REPOSITORY / "tester"))
    from paddle_predictor import Predictor, model_files

    if args.trace:  # the tester switches that log off; here it is what the process is for
        paddle.inference.Config.disable_glog_info = lambda _: None
    height, width = images.shape[2:]

    def load() -> Predictor:
        return Predictor(args.model, height, width, args.num_threads, accuracy=False, online=False, bf16=args.bf16)

    files = tuple(file for file in model_files(Path(args.model)) if file)
    trial.require_sound(Path(args.model), files, lambda: load().run(images[:1], np.zeros(1, np.int64)))
    predictor = load()
    _run(predictor, images, args)


def _run(predictor, images: np.ndarray, args) -> None:
    labels = np.zeros(len(images), np.int64)
    for _ in range(args.warmup):
        predictor.run(images, labels)
    kept = os.dup(2)
    if args.trace:
        os.dup2(1, 2)  # one stream, so that operators and their primitives come in their order
    for logged in [True] * args.iterations if args.trace else [False, True] * args.iterations:
        _log_primitives(logged)
        _mark(f"run,{_time_of_day()}")
        start = time.perf_counter()
        predictor.run(images, labels)
        ms = (time.perf_counter() - start) * 1000
        _mark(f"end,{_time_of_day()},{ms}")
    os.dup2(kept, 2)


def _log_primitives(on: bool) -> None:
    (library,) = (Path(paddle.__file__).parent / "libs").glob("libdnnl.so*")
    if ctypes.CDLL(str(library)).dnnl_set_verbose(int(on)):
        raise MachineError(f"{library}: oneDNN's log cannot be switched", "the library of Paddle's wheel")


def _time_of_day() -> float:
    """Seconds since midnight, on the clock of the executor's log."""
    now = time.time()
    local = time.localtime(now)
    return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + now % 1


def _mark(text: str) -> None:
    ctypes.CDLL(None).fflush(None)  # oneDNN writes through C's stdout, which has a buffer of its own
    os.write(1, f"{MARK},{text}\n".encode())


if __name__ == "__main__":
    cli.run(main)
