"""Measures another engine as sample_tester.py measures Paddle: same flags, lines, JSON and exit codes, same images.

`.venv-peers/bin/python tester/peer_tester.py PEER --infer_model=data/models/M/peers/PEER/int8 --infer_data=FILE`
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from measurement import Run
from onednn_profile import Profiler
from paddle_predictor import Output
from process_info import allowed_cpus
from sample_tester import check_bf16, check_writable, parse_flags, print_report, tester_run, write_atomically

from qat8 import cli, peers
from qat8.datafile import Reader
from qat8.errors import ModelError, UsageError


class Adapter:
    """A peer's predictor, as `Run` takes it."""

    def __init__(self, engine, model: str) -> None:
        self._engine, self._model = engine, model

    def run(self, images, labels) -> Output:
        scores = self._engine.run(images)
        if scores.ndim != 2 or len(scores) != len(images):
            raise ModelError(f"{self._model}: output has shape {list(scores.shape)}", f"[{len(images)}, classes]")
        return Output(scores)


def precision_of(peer: str, model: Path) -> str:
    """What the model's manifest says that it is: `fp32` or `int8`.

    Raises:
        ModelError: not a model of this peer.
    """
    try:
        manifest = json.loads((model / "manifest.json").read_text())
        if manifest["config"]["peer"] == peer:
            return manifest["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise ModelError(f"{model}: not a model of {peer}", "a directory that `inv peers` wrote", "inv peers")


def precision_to_run(peer: str, kind: str, bf16: bool) -> str:
    """
    Raises:
        UsageError, ModelError: bfloat16 of a peer or of a model that does not run in it.
    """
    if bf16 and peer not in peers.IN_BF16:
        raise UsageError(f"--bf16 with {peer}", f"of {', '.join(peers.IN_BF16)}")
    if bf16 and kind != "fp32":
        raise ModelError(f"--bf16 of an {kind.upper()} model", "an FP32 model")
    return "bf16" if bf16 else kind


def main(argv: list[str]) -> None:
    (peer,) = peers.parse(argv[0] if argv else "") or [""]
    if not peer:
        raise UsageError("no peer is named", f"the first argument to be one of {', '.join(peers.NAMES)}")
    flags, cpus = parse_flags(argv[1:]), allowed_cpus()
    if flags.with_accuracy_layer or flags.int8_online or flags.use_profile:
        raise UsageError("--with_accuracy_layer, --int8_online and --use_profile are Paddle's")
    if flags.json:
        check_writable(flags.json)
    check_bf16(flags.bf16)
    model = Path(flags.infer_model)
    precision = precision_to_run(peer, precision_of(peer, model), flags.bf16)
    with Reader(flags.infer_data, flags.data_dim, classes=2**63 - 1) as data:
        module = importlib.import_module(f"qat8.peers.{peer}")  # not for a mere --help: it takes seconds
        start, h = time.perf_counter(), data.header
        batch = min(flags.batch_size, len(data))
        engine = module.Predictor(model, precision, batch, flags.num_threads)
        for images in {batch, len(data) % batch or batch}:  # compiled before anything is measured
            engine.prepare((images, 3, h.height, h.width))
        init_ms = (time.perf_counter() - start) * 1000
        measurement = Run(flags, data, Adapter(engine, flags.infer_model), Profiler(False)).measure()
        print_report(flags, measurement)
        print(f"engine: {module.VERSION}")
        sys.stdout.flush()
        if flags.json:
            run = tester_run(flags, measurement, data, "", init_ms, cpus)
            found = engine.bf16_convolutions() if flags.bf16 else None
            run = run.model_copy(update={"tester": peer, "engine": module.VERSION, "bf16_convolutions": found})
            write_atomically(flags.json, run.model_dump_json(by_alias=True) + "\n")


if __name__ == "__main__":
    cli.run(main)
