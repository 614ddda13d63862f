"""What a step of training costs: `python -m qat8.training.step_time --model=ResNet50 --batch-size=16`.

An FP32 update and a QAT update of the same model, with the same loss and optimizer, in turn, on made-up images (the
arithmetic does not depend on what is in them), and what else a step needs: the teacher and the reading of images.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qat8 import cli
from qat8 import config as configuration
from qat8.console import say, step
from qat8.engine import paddle
from qat8.models import registry
from qat8.training import programs
from qat8.training.programs import IMAGE, LABEL, TEACHER

_WARM_UP = 1


def main(argv: list[str]) -> None:
    p = cli.Parser(prog="python -m qat8.training.step_time", description="measure FP32 and QAT training steps in turn")
    p.flag("model", default=registry.DEFAULT, help=f"one of {', '.join(registry.MODELS)}")
    p.flag("batch-size", type=cli.positive_int, default=16, help="images in a step")
    p.flag("repetitions", type=cli.positive_int, default=5, help="of each; the medians are told")
    args = p.parse_args(argv)
    model, batch = registry.get(args.model), args.batch_size
    with step("building the programs"):
        kinds = _kinds(model, configuration.load(overrides={"batch_size": str(batch)}), batch)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for repetition in range(_WARM_UP + args.repetitions):
        for name, run in kinds.items():
            start = time.perf_counter()
            run()
            if repetition >= _WARM_UP:
                times[name].append(time.perf_counter() - start)
    say(f"{model.name}, batch {batch}, {len(os.sched_getaffinity(0))} CPUs, median of {args.repetitions}")
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.3f} to {max(seconds):.3f} s"
        say(f"  {name:18s} {middle:8.3f} s a step ({spread})  {middle / batch * 1000:8.1f} ms an image")
    ratios = [q / f for q, f in zip(times["QAT update"], times["FP32 update"], strict=True)]
    say(f"  QAT / FP32: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def _kinds(model: registry.Model, config: configuration.TrainConfig, batch: int) -> dict[str, Callable[[], object]]:
    from qat8.prediction import predictor
    from qat8.saving import save_model

    session = programs.open_session(model, config, 100)
    random = np.random.default_rng(0)
    side = model.preprocessing.crop
    x = random.normal(0, 0.5, (batch, 3, side, side)).astype(np.float32)
    feed = {IMAGE: x, LABEL: np.zeros((batch, 1), np.int64), TEACHER: np.zeros((batch, model.classes), np.float32)}
    plain, scope, loss = _fp32_update(model, config, session.executor)
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(None):
        fp32 = session.fp32
        save_model(fp32.program, [IMAGE], [fp32.logits], session.executor, session.reference, Path(directory))
        teacher = predictor(Path(directory), len(os.sched_getaffinity(0)))
    return {
        "FP32 update": lambda: session.run(plain, feed, [loss], scope),
        "QAT update": lambda: session.run(session.update, feed, [session.loss]),
        "teacher": lambda: teacher(x),
        "QAT forward": lambda: session.run(session.test, {IMAGE: x}, [session.logits]),
    }


def _fp32_update(model: registry.Model, config: configuration.TrainConfig, executor):
    scope = paddle.static.Scope()
    built = programs.build_model(model)
    loss, _, _ = programs.add_learning(built, config, 100)
    executor.run(built.startup, scope=scope)
    return programs.compiled(built.program), scope, loss


if __name__ == "__main__":
    cli.run(main)
