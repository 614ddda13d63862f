"""Calibrate, correct, update, choose: the order that keeps accuracy, resumable at any point.

Every state that is worth keeping is judged on the validation part, and the best one is what training returns; so an
update that harms can cost time, never accuracy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from qat8.config import TrainConfig
from qat8.console import Bar, say
from qat8.training import calibration
from qat8.training.checkpoint import Checkpoints, Position
from qat8.training.images import Images
from qat8.training.programs import IMAGE, LABEL, TEACHER, Session


@dataclass
class Trainer:
    """`teacher` gives the FP32 model's logits float32 [n, classes] for images float32 [n, 3, H, W]."""

    session: Session
    images: Images
    config: TrainConfig
    teacher: object
    checkpoints: Checkpoints
    position: Position

    def run(self) -> Position:
        """Go on from `position` to the end; the session then holds the best state, whose position is returned."""
        try:
            self._phases()
        except KeyboardInterrupt:
            # Within an update the state is not a whole one; the file on disk is.
            at = f"{self.position.phase}, {self.position.updates} updates done"
            raise KeyboardInterrupt(f"interrupted ({at}); run the same command again to go on") from None
        return self.checkpoints.load_best(self.position.fingerprint)

    def _phases(self) -> None:
        config, batch = self.config, self.config.batch_size
        if self.position.phase == "start":
            calibration.ranges(self.session, self.images, config.calibration.steps, batch)
            self._judge("ranges calibrated")
            self._reached("ranges")
        if self.position.phase == "ranges":
            if corrected := self._correct_means():
                self._judge(f"{corrected} BatchNorm means corrected")
            else:
                off = config.calibration.mean_correction_images == 0
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
        saved = time.monotonic()
        with Bar("training", total, self.position.updates) as bar:
            while self.position.updates < total:
                epoch, first = divmod(self.position.updates, per_epoch)
                for x, label in self.images.augmented(epoch, self.config.batch_size, first):
                    loss, top1 = self._update(x, label)
                    bar.advance(note=f"epoch {epoch + 1} loss {loss:.4f} top-1 {top1:.0%}")
                    if self.position.updates in (total, (epoch + 1) * per_epoch):
                        self._judge(f"epoch {epoch + 1}, {self.position.updates} updates")
                    elif time.monotonic() - saved < self.config.checkpoint_seconds:
                        continue
                    self.checkpoints.save(self.position)
                    saved = time.monotonic()
                    if self.position.updates == total:
                        break

    def _update(self, x: np.ndarray, label: np.ndarray) -> tuple[float, float]:
        s = self.session
        feed = {IMAGE: x, LABEL: label, TEACHER: self.teacher(x)}
        loss, logits = s.run(s.update, feed, [s.loss, s.logits])
        self.position.updates += 1
        self._set_rate()
        return float(np.asarray(loss).ravel()[0]), float((logits.argmax(1) == label[:, 0]).mean())

    def _set_rate(self) -> None:
        # PiecewiseDecay is a function of the number of updates, so resuming needs no state of its own. quant_aware
        # drops the program's link to the scheduler, so the variable is set here and not by the executor.
        self.session.scheduler.step(self.position.updates)
        self.session.set(self.session.rate, self.session.scheduler())

    def _judge(self, what: str) -> None:
        """Measure the session's state on the validation part; keep it when it is the best so far.

        The best is the one with the lowest mean divergence. Top-1 is too coarse to choose by: one image of 20 is 5
        points, while the divergence uses every output of every image.
        """
        score = self._validate()
        better = not self.position.history or score["divergence"] < self.position.best_divergence
        self.position.history.append({"at": what, **score})
        if better:
            self.position.best_divergence, self.position.best_at = score["divergence"], what
            self.checkpoints.keep_best(self.position)
        figures = f"divergence from FP32 {score['divergence']:.4f}, agreement {score['agreement']:.1%}"
        say(f"  {what}: {figures}, top-1 {score['top1']:.1%}{' (best so far)' if better else ''}")

    def _validate(self) -> dict[str, float]:
        """Over the held-out images: mean KL(FP32 || QAT) in nats, share of equal top-1, top-1 against the labels."""
        s = self.session
        divergence, agree, right = [], [], []
        for x, label in self.images.plain(self.images.validation, self.config.batch_size):
            wanted, (got,) = self.teacher(x), s.run(s.test, {IMAGE: x}, [s.logits])
            log_p, log_q = log_softmax(wanted), log_softmax(got)
            divergence += list((np.exp(log_p) * (log_p - log_q)).sum(1))
            agree += list(wanted.argmax(1) == got.argmax(1))
            right += list(got.argmax(1) == label[:, 0])
        means = {"divergence": divergence, "agreement": agree, "top1": right}
        return {**{k: float(np.mean(v)) for k, v in means.items()}, "images": len(agree)}


def updates(images: Images, config: TrainConfig) -> int:
    """How many updates the whole training makes."""
    total = config.num_epochs * images.steps_per_epoch(config.batch_size)
    return min(total, config.max_iters) if config.max_iters else total


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
