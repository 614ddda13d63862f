"""What must be right before the first update: activation ranges, and the means that quantized weights shift.

Quantizing weights moves each channel's mean by sum(error x mean of its input); behind ReLU the inputs' means are not
zero, and BatchNorm divides by a standard deviation that may be tiny. On MobileNet-V1 this shift, not the noise, is most
of what INT8 loses. Moving BatchNorm's running mean by the measured shift, layer after layer, takes it out exactly:
the empirical bias correction of Nagel et al. (2019), Data-Free Quantization Through Weight Equalization and Bias
Correction, section 4.2.1, applied to the mean instead of the bias.
"""

from __future__ import annotations

import contextlib
import itertools

import numpy as np

from qat8.console import Bar
from qat8.older_python import zip_strict
from qat8.training import activations
from qat8.training.images import Images
from qat8.training.loader import Loader
from qat8.training.programs import IMAGE, Session

_EPOCH = 10**6  # of calibration: no epoch of training shows the same crops


def ranges(session: Session, loader: Loader, steps: int) -> None:
    """Run `steps` forward steps of QAT, which move the activation ranges and nothing else."""
    with Bar("activation ranges", steps) as bar, contextlib.closing(loader.endless(_EPOCH)) as batches:
        for batch in itertools.islice(batches, steps):
            session.run(session.ranges, {IMAGE: batch.images}, [session.logits])
            session.synchronise()
            bar.advance()


def correct_means(session: Session, images: Images, count: int, batch_size: int) -> int:
    """Set every BatchNorm's mean to the FP32 model's plus what quantization shifted its input, over `count` images.

    Returns how many BatchNorms there are. Doing it twice is the same as doing it once.
    """
    norms = [
        (op.input("X")[0], op.input("Mean")[0]) for op in session.fp32.program.global_block().ops
        if op.type == "batch_norm"
    ]  # fmt: skip
    if not norms or not count:
        return 0
    batches, inputs = _part(session, images, count, batch_size), [x for x, _ in norms]
    reference = activations.of_whole_runs(session, session.fp32.program, inputs, batches, session.reference)
    with Bar("BatchNorm means", len(norms)) as bar:
        for (_, mean), now, target in zip_strict(norms, activations.means(session, inputs, batches), reference):
            # From the FP32 model's mean, not the present one: what BatchNorm is fed does not depend on its own mean, so
            # the shift is still there after a correction, and adding it again would double it.
            session.set(mean, session.get(mean, session.reference) + (now - target))
            bar.advance()
    return len(norms)


def _part(session: Session, images: Images, count: int, batch_size: int) -> list[np.ndarray]:
    """This process's part of the images, in batches; the first image is taken where there are fewer than processes."""
    group, entries = session.group, images.train[:count]
    mine = entries[group.rank :: group.size] or entries[:1]
    return [x for x, _ in images.plain(mine, batch_size)]
