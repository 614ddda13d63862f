"""The measurement: what is predicted, what is timed, what is counted; as measure.cc does."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import numpy as np
from onednn_profile import Profiler
from paddle_predictor import Output, Predictor
from process_info import busy_threads, peak_rss_bytes, thread_times

from qat8.datafile import Reader
from qat8.errors import DataError, VerificationError
from qat8.records import Latency
from qat8.tester_run import PartialBatch


def rank_labels(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes rank before the label; of equal scores the lower class index ranks first."""
    wanted = np.take_along_axis(scores, labels[:, None], 1)
    lower = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > wanted) | ((scores == wanted) & lower)).sum(1)


@dataclass
class Measurement:
    images: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    measured_images: int = 0
    measured_ms: float = 0.0
    read_ms: float = 0.0  # reading and normalising the measured batches: beside their latencies, not in them
    partial: PartialBatch | None = None
    top1: float = 0.0
    top5: float = 0.0
    predictions: list[int] = field(default_factory=list)
    threads_alive: int = 0
    threads_busy: int = 0
    peak_rss_bytes: int = 0

    @property
    def images_per_second(self) -> float:
        return self.measured_images / self.measured_ms * 1000

    def latency(self) -> Latency:
        """Percentiles by nearest rank: the smallest value that at least p per cent of the values do not exceed."""
        values = sorted(self.latencies_ms)
        p50, p90, p99 = (values[max(-(-len(values) * p // 100), 1) - 1] for p in (50, 90, 99))
        mean = sum(self.latencies_ms) / len(values)
        return Latency(mean=mean, p50=p50, p90=p90, p99=p99, min=values[0], max=values[-1])


class Run:
    """One measurement, see `TesterRun` for its two passes."""

    def __init__(self, flags: argparse.Namespace, data: Reader, predictor: Predictor, profiler: Profiler) -> None:
        self._flags, self._data, self._predictor, self._profiler = flags, data, predictor, profiler
        self._full = len(data) // flags.batch_size
        self._batches = -(-len(data) // flags.batch_size)
        # A file smaller than the batch size has no full batch; then its partial batch is what is measured.
        self._timed = max(self._full, 1)
        self._progress = sys.stderr.isatty()
        self._result = Measurement()
        h = data.header
        self._pixels = np.empty((min(flags.batch_size, len(data)), 3, h.height, h.width), np.float32)
        self._last_read_ms = 0.0

    def measure(self) -> Measurement:
        for i in range(self._flags.warmup_size):
            self._predict(i % self._timed)
            self._profiler.collect(False)
            self._show("warm-up", i + 1, self._flags.warmup_size)
        before, start = thread_times(), time.perf_counter()
        self._first_pass()
        self._second_pass()
        seconds, after = time.perf_counter() - start, thread_times()
        result = self._result
        result.threads_alive, result.threads_busy = len(after), busy_threads(before, after, seconds)
        result.peak_rss_bytes = peak_rss_bytes()
        if self._progress:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        return result

    def _predict(self, batch: int) -> tuple[float, Output, np.ndarray]:
        """Latency in ms, output, labels; reading and normalising the images is not part of the latency.

        What the disk has to do for the next batch goes on beside it. A thread that reads ahead would take time from the
        very CPUs that are measured.
        """
        size, reading = self._flags.batch_size, time.perf_counter()
        images, labels = self._data.batch(batch * size, size, out=self._pixels)
        self._data.will_read((batch + 1) * size, size)
        self._last_read_ms = (time.perf_counter() - reading) * 1000
        start = time.perf_counter()
        output = self._predictor.run(images, labels)
        return (time.perf_counter() - start) * 1000, output, labels

    def _first_pass(self) -> None:
        result, iterations = self._result, self._flags.iterations
        todo = min(self._batches, iterations) if iterations > 0 else self._batches
        for batch in range(todo):
            ms, output, labels = self._predict(batch)
            self._profiler.collect(batch < self._timed)
            if batch < self._timed:
                self._add_latency(ms, len(labels))
            if batch >= self._full:
                result.partial = PartialBatch(images=len(labels), latency_ms=ms)
            self._count_accuracy(output, labels)
            self._show("batch", batch + 1, todo)
        result.top1 /= result.images
        result.top5 /= result.images

    def _second_pass(self) -> None:
        batch = 0
        while self._result.measured_ms < self._flags.min_seconds * 1000:
            ms, output, labels = self._predict(batch)
            self._profiler.collect(True)
            self._add_latency(ms, len(labels))
            self._check_same_classes(batch, output)
            self._show("second of speed", int(self._result.measured_ms / 1000), int(self._flags.min_seconds))
            batch = (batch + 1) % self._timed

    def _add_latency(self, ms: float, images: int) -> None:
        self._result.latencies_ms.append(ms)
        self._result.measured_images += images
        self._result.measured_ms += ms
        self._result.read_ms += self._last_read_ms

    def _count_accuracy(self, output: Output, labels: np.ndarray) -> None:
        result, n = self._result, len(labels)
        if output.scores is None:
            result.top1 += output.top1 * n
            result.top5 += output.top5 * n
        else:
            self._check(output.scores, result.images)
            ranks = rank_labels(output.scores, labels)
            result.predictions += output.scores.argmax(1).tolist()
            result.top1 += int((ranks < 1).sum())
            result.top5 += int((ranks < 5).sum())
        result.images += n

    def _check_same_classes(self, batch: int, output: Output) -> None:
        """What is timed must be what accuracy was counted of (MLPerf's TEST01), see measure.cc."""
        if output.scores is None:
            return
        first = batch * self._flags.batch_size
        known = np.array(self._result.predictions[first : first + len(output.scores)], int)
        again = output.scores[: len(known)].argmax(1)  # `--iterations` may have ended pass 1 before these images
        bad = np.flatnonzero((again != known) | ~np.isfinite(output.scores[: len(known)]).all(1))
        if len(bad):
            raise VerificationError(
                f"the model named two classes for image {first + bad[0]}: {known[bad[0]]} and {again[bad[0]]}",
                "one and the same", "check the model and the machine",
            )  # fmt: skip

    def _check(self, scores: np.ndarray, first_image: int) -> None:
        classes, most = scores.shape[1], int(self._data.labels.max())
        if most >= classes:
            raise DataError(
                f"{self._flags.infer_data}: has label {most}", f"0 to {classes - 1}, the model's classes",
                "a data file that fits the model",
            )  # fmt: skip
        bad = np.flatnonzero(~np.isfinite(scores).all(1))
        if len(bad):
            image = first_image + int(bad[0])
            raise VerificationError(
                f"the model's output for image {image} is not finite", "finite scores", "check the model"
            )

    def _show(self, what: str, done: int, of: int) -> None:
        if self._progress:
            print(f"\r\033[K{what} {done} of {of}", end="", file=sys.stderr, flush=True)
