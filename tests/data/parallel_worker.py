"""One rank of a training of the tiny network: `parallel_worker.py DATA WEIGHTS OUT [SETTING=VALUE ...]`.

Who it is comes from the environment, as for `inv train`; OUT gets checkpoints, metrics, and each rank's last state.
DIE_AT=N makes rank 1 kill itself after N updates. With `-` for DATA it makes three updates on the same four images,
which have other labels in the second half of the batch; with `+` one update, on other images in each process: three of
four in rank 0.
"""

import os
import signal
from pathlib import Path

import numpy as np
import tiny_model
from tiny_network import CLASSES, MODEL, SIDE

from qat8 import cli
from qat8.training import checkpoint, loop, parallel, programs
from qat8.training.images import Images
from qat8.training.loader import Loader
from qat8.training.metrics import Metrics, NoMetrics


def main(argv: list[str]) -> None:
    data, weights, out, *given = argv
    settings = dict(item.split("=", 1) for item in given)
    die_at = int(settings.pop("DIE_AT", -1))
    group = parallel.join()
    session, config = tiny_model.opened(dict(np.load(weights)), group, **settings)
    if data in ("-", "+"):
        same_images_other_labels(session) if data == "-" else other_images(session)
        return save(session, out)
    images = Images.read(Path(data), MODEL.preprocessing, config, CLASSES)
    first = group.rank == 0
    kept = checkpoint.Checkpoints(Path(out), session) if first else checkpoint.NoCheckpoints()
    start = kept.resume("me") if first else checkpoint.Position("me")
    position = checkpoint.agreed(start, session)
    metrics = Metrics(Path(out), position) if first else NoMetrics()

    def teacher(x):
        fp32 = session.fp32
        return session.run(fp32.program, {programs.IMAGE: x}, [fp32.logits], session.reference)[0]

    with Loader(images, config.batch_size, 0, group.rank, group.size) as loader:
        trainer = loop.Trainer(session, loader, config, teacher, kept, position, metrics)
        update = trainer._update

        def dying(batch):
            if trainer.position.updates == die_at and not first:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(batch)

        trainer._update = dying
        trainer.run()
    save(session, out)


def same_images_other_labels(session) -> None:
    """Both halves have the same activation ranges, so all that the processes can differ in is their gradients."""
    random, group = np.random.default_rng(0), session.group
    x = random.normal(0, 0.5, (4, 3, SIDE, SIDE)).astype(np.float32)
    halves = [(x, np.array(labels, np.int64)[:, None]) for labels in ([0, 1, 2, 3], [3, 3, 0, 1])]
    mine = [halves[group.rank]] if group.size > 1 else halves
    feed = {
        programs.IMAGE: np.concatenate([x for x, _ in mine]),
        programs.LABEL: np.concatenate([label for _, label in mine]),
    }
    feed[programs.TEACHER] = np.zeros((len(feed[programs.LABEL]), CLASSES), np.float32)
    if group.size > 1:
        feed[programs.SHARE] = np.array([0.5], np.float32)
    for done in range(3):
        session.scheduler.step(done)
        session.set(session.rate, session.scheduler())
        running = session.running()
        session.run(session.update, feed, [session.loss])
        session.synchronise(running, feed.get(programs.SHARE, [1])[0])


def other_images(session) -> None:
    """The parts differ in everything but the greatest value: the range that the first layer is quantized by."""
    random, group = np.random.default_rng(0), session.group
    x = random.normal(0, 0.5, (4, 3, SIDE, SIDE)).astype(np.float32)
    x = np.clip(
        x * np.float32([1, 2, 3, 1])[:, None, None, None] + np.float32([0, 1, -1, 3])[:, None, None, None], -4, 4
    )
    x[:, 0, 0, 0] = 4
    mine = [slice(0, 3), slice(3, 4)][group.rank] if group.size > 1 else slice(0, 4)
    feed = {programs.IMAGE: x[mine], programs.LABEL: np.zeros((len(x[mine]), 1), np.int64)}
    feed[programs.TEACHER] = np.zeros((len(x[mine]), CLASSES), np.float32)
    share = len(x[mine]) / 4
    if group.size > 1:
        feed[programs.SHARE] = np.array([share], np.float32)
    running = session.running()
    session.run(session.update, feed, [session.loss])
    session.synchronise(running, share)


def save(session, out: str) -> None:
    np.savez(f"{out}/rank{session.group.rank}.npz", **{name: session.get(name) for name in session.persistables})


if __name__ == "__main__":
    cli.run(main)
