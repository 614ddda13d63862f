"""The learning rate: warm-up, then piecewise or cosine decay; a function of the number of updates, without a state."""

from __future__ import annotations

from qat8.config import LearningRate
from qat8.engine import paddle


def scheduler(settings: LearningRate, updates: int):
    """Paddle's scheduler for `updates` updates in all; `step(n)` sets it to the rate after n of them."""
    lr, warmup = paddle.optimizer.lr, min(settings.warmup_updates, updates - 1)
    if warmup < 2:  # it starts at base_lr / warmup: one update of it is none
        warmup = 0
    if settings.schedule == "cosine":
        decay = lr.CosineAnnealingDecay(settings.base_lr, max(1, updates - warmup))
    else:
        decay = _piecewise(settings, updates, warmup)
    if not warmup:
        return decay
    # Paddle hands the number of updates since the end of the warm-up to what comes after it.
    return lr.LinearWarmup(decay, warmup, settings.base_lr / warmup, settings.base_lr)


def _piecewise(settings: LearningRate, updates: int, warmup: int):
    decay = settings.schedulers.PiecewiseDecay
    milestones = decay.milestones or sorted({max(1, round(updates * 0.6)), max(2, round(updates * 0.9))})
    rates = [settings.base_lr * decay.gamma**i for i in range(len(milestones) + 1)]
    after = [max(0, m - warmup) for m in milestones]
    return paddle.optimizer.lr.PiecewiseDecay(after, rates)
