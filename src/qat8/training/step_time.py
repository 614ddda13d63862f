"""What a step of training costs: `python -m qat8.training.step_time --model=ResNet50 --batch-size=4`.

An FP32 update and a QAT update of the same model, with the same loss and optimizer, on made-up images (the arithmetic
does not depend on what is in them), and what else a step needs: the teacher and a forward pass.

The two updates are measured in pairs, every other pair in reverse order: what slows the machine for a while slows both,
and a drift falls out. Beside the clock's ratios stand those of the CPU time, which waiting for a busy CPU does not
lengthen. A statement is made only when the whole interval of the median lies on one side of the limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qat8 import artifacts, cli, statistics
from qat8 import config as configuration
from qat8.console import Bar, say, step
from qat8.engine import paddle
from qat8.models import registry
from qat8.older_python import zip_strict
from qat8.training import process, programs
from qat8.training.programs import IMAGE, LABEL, TEACHER

_WARM_UP = 2  # pairs: the first allocates, the second finds what the first left
_OTHERS = 3  # times that what is not compared is measured
_LEAST = 6  # pairs below which a median's interval is not one of 95 %: 1 - 2^(1-6) = 97 % for smallest to largest
_OURS = 0.95  # of the time the CPU must have been ours for the clock to mean anything
FP32, QAT = "FP32 update", "QAT update"
Run = Callable[[], object]


class Took(NamedTuple):
    """Seconds of one run: by the clock, and of CPU time of all threads."""

    clock: float
    cpu: float


def main(argv: list[str]) -> None:
    p = cli.Parser(prog="python -m qat8.training.step_time", description="measure FP32 and QAT training steps in pairs")
    p.flag("model", default=registry.DEFAULT, help=f"one of {', '.join(registry.MODELS)}")
    p.flag("batch-size", type=cli.positive_int, default=16, help="images in a step")
    p.flag("repetitions", type=cli.positive_int, default=12, help=f"pairs; below {_LEAST} nothing can be decided")
    p.flag("limit", type=float, default=1.5, help="QAT / FP32 that is asked about")
    p.flag("output", default="", help="write the figures to this JSON file")
    args = p.parse_args(argv)
    model, batch = registry.get(args.model), args.batch_size
    process.prepare()
    with step("building the programs"):
        kinds = _kinds(model, configuration.load(overrides={"batch_size": str(batch)}), batch)
    times = _measure(kinds, args.repetitions)
    figures = summary(times, args.limit)
    cpus = sorted(os.sched_getaffinity(0))
    say(f"{model.name}, batch {batch}, CPU {', '.join(map(str, cpus))}; {args.repetitions} pairs")
    _say(figures, batch)
    if args.output:
        with artifacts.atomic_file(Path(args.output)) as temporary:
            known = {"model": model.name, "batch_size": batch, "cpus": cpus, **figures}
            temporary.write_text(json.dumps(known, indent=1) + "\n")


def _measure(kinds: dict[str, Run], pairs: int) -> dict[str, list[Took]]:
    times: dict[str, list[Took]] = {name: [] for name in kinds}
    others = [name for name in kinds if name not in (FP32, QAT)]
    with Bar("measuring", 2 * (_WARM_UP + pairs) + (1 + _OTHERS) * len(others)) as bar:

        def measure(names, keep: bool) -> None:
            for name in names:
                took = _timed(kinds[name])
                if keep:
                    times[name].append(took)
                bar.advance()

        for pair in range(_WARM_UP + pairs):
            measure((FP32, QAT) if pair % 2 else (QAT, FP32), pair >= _WARM_UP)
        for repetition in range(1 + _OTHERS):
            measure(others, repetition > 0)
    return times


def _timed(run: Run) -> Took:
    clock, cpu = time.perf_counter(), time.process_time()
    run()
    return Took(time.perf_counter() - clock, time.process_time() - cpu)


def summary(times: dict[str, list[Took]], limit: float) -> dict:
    """Medians of the steps in seconds, the pairs' ratios with the 95 % interval of their median, and the verdict."""
    steps = {name: statistics.spread([t.clock for t in took])._asdict() for name, took in times.items()}
    clock, cpu = ([q[i] / f[i] for q, f in zip_strict(times[QAT], times[FP32])] for i in (0, 1))
    both = times[FP32] + times[QAT]
    figures = {
        "steps": steps,
        "ratio": _ratio(clock),
        "cpu_ratio": _ratio(cpu),
        "cpu_share": statistics.median([t.cpu / t.clock for t in both]),
        "limit": limit,
    }
    return {**figures, "verdict": verdict(clock, limit)}


def _ratio(ratios: list[float]) -> dict:
    return {**statistics.spread(ratios)._asdict(), "interval": statistics.bootstrap_interval(ratios), "pairs": ratios}


def verdict(ratios: list[float], limit: float) -> str:
    """`below`, `above`, or `undecided`: too few pairs, or an interval that holds the limit."""
    interval = statistics.bootstrap_interval(ratios) if len(ratios) >= _LEAST else None
    if interval is None or interval[0] <= limit <= interval[1]:
        return "undecided"
    return "below" if interval[1] < limit else "above"


def _say(figures: dict, batch: int) -> None:
    for name, s in figures["steps"].items():
        spread = f"{s['min']:.3f} to {s['max']:.3f} s"
        say(f"  {name:12s} {s['median']:8.3f} s a step ({spread})  {s['median'] / batch * 1000:8.1f} ms an image")
    for key, name in (("ratio", "by the clock"), ("cpu_ratio", "by CPU time")):
        ratio = figures[key]
        low, high = ratio["interval"] or (ratio["min"], ratio["max"])
        what = "95 % interval" if ratio["interval"] else "smallest to largest"
        say(f"  QAT / FP32 {name}: {ratio['median']:.3f} ({what} {low:.3f} to {high:.3f})")
    limit, pairs = figures["limit"], len(figures["ratio"]["pairs"])
    if figures["verdict"] != "undecided":
        say(f"  the ratio is {figures['verdict']} {limit:g}")
    elif pairs < _LEAST:
        say(f"  not decidable with {pairs} pairs: --repetitions={_LEAST} or more")
    else:
        say(f"  not decidable: the interval holds {limit:g}; more --repetitions, or a quieter machine")
    cpus = len(os.sched_getaffinity(0))
    if cpus == 1 and figures["cpu_share"] < _OURS:
        say(f"  the CPU was this program's for {figures['cpu_share']:.0%} of the time only: go by the CPU time")


def _kinds(model: registry.Model, config: configuration.TrainConfig, batch: int) -> dict[str, Run]:
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
        FP32: lambda: session.run(plain, feed, [loss], scope),
        QAT: lambda: session.run(session.update, feed, [session.loss]),
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
