"""Calibrate, correct, update, choose: the order that keeps accuracy, resumable at any point.

Every state that is worth keeping is judged on the validation part, and the best one is what training returns; so an
update that harms can cost time, never accuracy. With several processes all of them run this, and decide the same.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from qat8.config import TrainConfig
from qat8.console import Bar, say
from qat8.older_python import zip_strict
from qat8.training import calibration
from qat8.training.checkpoint import Checkpoints, Position
from qat8.training.images import Images
from qat8.training.loader import Batch, Loader
from qat8.training.metrics import Metrics, NoMetrics
from qat8.training.programs import IMAGE, LABEL, SHARE, TEACHER, Session


@dataclass
class Trainer:
    """`teacher` gives the FP32 model's logits float32 [n, classes] for images float32 [n, 3, H, W]."""

    session: Session
    loader: Loader
    config: TrainConfig
    teacher: object
    checkpoints: Checkpoints
    position: Position
    metrics: Metrics | NoMetrics = field(default_factory=NoMetrics)

    @property
    def images(self) -> Images:
        return self.loader.images

    def run(self) -> Position:
        """Go on from `position` to the end; the session then holds the best state, whose position is returned."""
        try:
            with self.session.group.together():
                self._phases()
        except KeyboardInterrupt:
            # Within an update the state is not a whole one; the file on disk is.
            at = f"{self.position.phase}, {self.position.updates} updates done"
            raise KeyboardInterrupt(f"interrupted ({at}); run the same command again to go on") from None
        return self.checkpoints.load_best(self.position.fingerprint)

    def _phases(self) -> None:
        if self.position.phase == "start":
            calibration.ranges(self.session, self.loader, self.config.calibration.steps)
            self._judge("ranges calibrated")
            self._reached("ranges")
        if self.position.phase == "ranges":
            if corrected := self._correct_means():
                self._judge(f"{corrected} BatchNorm means corrected")
            else:
                off = self.config.calibration.mean_correction_images == 0
                say(f"means are not corrected: {'switched off' if off else 'the model has no BatchNorm'}")
            self._reached("means")
        if self.position.phase in ("means", "updates"):
            self.position.phase = "updates"
            self._updates()
            self._reached("done")

    def _correct_means(self) -> int:
        count = self.config.calibration.mean_correction_images
        return calibration.correct_means(self.session, self.images, count, self.config.batch_size)

    def _reached(self, phase: str) -> None:
        self.position.phase = phase
        self.checkpoints.save(self.position)

    def total_updates(self) -> int:
        return updates(self.images, self.config)

    def _updates(self) -> None:
        total, per_epoch = self.total_updates(), self.images.steps_per_epoch(self.config.batch_size)
        self._set_rate()
        with Bar("training", total, self.position.updates) as bar:
            while self.position.updates < total and not self._exhausted():
                epoch, first = divmod(self.position.updates, per_epoch)
                with contextlib.closing(self.loader.epoch(epoch, first)) as batches:
                    self._epoch(batches, epoch, min(total, (epoch + 1) * per_epoch), bar)

    def _epoch(self, batches: Iterator[Batch], epoch: int, end: int, bar: Bar) -> None:
        """Updates up to number `end`, the last of which is judged."""
        saved = before = time.monotonic()
        for batch in itertools.islice(batches, end - self.position.updates):
            rate = self.session.scheduler()
            loss, top1 = self._update(batch)
            now = time.monotonic()
            self.metrics.updated(self.position.updates, epoch + 1, loss, top1, float(rate), now - before)
            before = now
            bar.advance(note=f"epoch {epoch + 1} loss {loss:.4f} top-1 {top1:.0%}")
            if self.position.updates == end:
                self._judge(f"epoch {epoch + 1}, {self.position.updates} updates")
            elif now - saved < self.config.checkpoint_seconds:
                continue
            self.checkpoints.save(self.position)
            saved = time.monotonic()

    def _exhausted(self) -> bool:
        """Whether the last `validation.patience` epochs were none of them the best."""
        patience, history = self.config.validation.patience, self.position.history
        if not patience or not history:
            return False
        best = [entry["at"] for entry in history].index(self.position.best_at)
        worse = sum(entry["at"].startswith("epoch") for entry in history[best + 1 :])
        if worse >= patience:
            say(f"  ended early: {worse} epochs in a row were not better than: {self.position.best_at}")
        return worse >= patience

    def _update(self, batch: Batch) -> tuple[float, float]:
        """Loss and top-1 of the whole batch, of all processes."""
        s, x = self.session, batch.images
        feed = {IMAGE: x, LABEL: batch.labels, TEACHER: self.teacher(x)}
        if s.group.size > 1:
            feed[SHARE] = np.array([batch.share], np.float32)
        running = s.running()
        loss, logits = s.run(s.update, feed, [s.loss, s.logits])
        s.synchronise(running, batch.share)
        self.position.updates += 1
        self._set_rate()
        mine = [float(np.asarray(loss).ravel()[0]), float((logits.argmax(1) == batch.labels[:, 0]).mean())]
        loss, top1 = s.group.reduce(np.array(mine) * batch.share)
        return float(loss), float(top1)

    def _set_rate(self) -> None:
        # PiecewiseDecay is a function of the number of updates, so resuming needs no state of its own. quant_aware
        # drops the program's link to the scheduler, so the variable is set here and not by the executor.
        self.session.scheduler.step(self.position.updates)
        self.session.set(self.session.rate, self.session.scheduler())

    def _judge(self, what: str) -> None:
        """Measure the session's state on the validation part; keep it when it is the best so far.

        By default the best is the one with the lowest mean divergence. On few images top-1 is too coarse to choose by:
        one image of 20 is 5 points, while the divergence uses every output of every image.
        """
        score = self._validate()
        best = next((e for e in self.position.history if e["at"] == self.position.best_at), None)
        better = best is None or self._merit(score) > self._merit(best)
        self.position.history.append({"at": what, **score})
        if better:
            self.position.best_divergence, self.position.best_at = score["divergence"], what
            self.checkpoints.keep_best(self.position)
        self.metrics.judged(self.position.updates, what, score, better)
        figures = f"divergence from FP32 {score['divergence']:.4f}, agreement {score['agreement']:.1%}"
        say(f"  {what}: {figures}, top-1 {score['top1']:.1%}{' (best so far)' if better else ''}")

    def _merit(self, score: dict) -> tuple[float, ...]:
        """Equal top-1 is decided by the divergence."""
        by_top1 = self.config.validation.best_by == "top1"
        return (score["top1"], -score["divergence"]) if by_top1 else (-score["divergence"],)

    def _validate(self) -> dict[str, float]:
        """Over the held-out images: mean KL(FP32 || QAT) in nats, share of equal top-1, top-1 against the labels."""
        s = self.session
        divergence, agree, right = [], [], []
        mine = self.images.validation[s.group.rank :: s.group.size]
        for x, label in self.images.plain(mine, self.config.batch_size):
            wanted, (got,) = self.teacher(x), s.run(s.test, {IMAGE: x}, [s.logits])
            log_p, log_q = log_softmax(wanted), log_softmax(got)
            divergence += list((np.exp(log_p) * (log_p - log_q)).sum(1))
            agree += list(wanted.argmax(1) == got.argmax(1))
            right += list(got.argmax(1) == label[:, 0])
        sums = s.group.reduce(np.array([np.sum(v, dtype=np.float64) for v in (divergence, agree, right)]))
        means = sums / len(self.images.validation)
        return {
            **dict(zip_strict(("divergence", "agreement", "top1"), means.tolist())),
            "images": len(self.images.validation),
        }


def updates(images: Images, config: TrainConfig) -> int:
    """How many updates the whole training makes."""
    total = config.num_epochs * images.steps_per_epoch(config.batch_size)
    return min(total, config.max_iters) if config.max_iters else total


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
