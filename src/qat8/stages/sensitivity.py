"""QAT model -> what quantizing each layer alone costs: data/sensitivity/MODEL/sensitivity.{json,csv,txt,png,svg}."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from qat8 import artifacts, cli, fitting, instructions, manifests
from qat8.console import say, step
from qat8.models import registry

SENSITIVITY = artifacts.DATA / "sensitivity"
TEXT_WIDTH = 100


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="measure what quantizing each layer alone costs")
    p.flag("model", default=registry.DEFAULT, help="gives the default paths data/models/MODEL/{fp32,qat}")
    p.flag("data-file", default=str(artifacts.EMBEDDED / "val.bin"), help="preprocessed images")
    p.flag("qat-model-path", default=None, help="directory of the QAT model")
    p.flag("fp32-model", default=None, help="directory of the FP32 model, which is the reference")
    p.flag("quantized-ops", default="conv2d,pool2d,fc", help="operator types to quantize, by comma")
    p.flag("output-dir", default=None, help="where it goes (None: data/sensitivity/MODEL)")
    return p


def main(argv: list[str]) -> None:
    args = parser("sensitivity").parse_args(argv)
    name = registry.get(args.model).name
    home = artifacts.DATA / "models" / name
    qat, fp32 = Path(args.qat_model_path or home / "qat"), Path(args.fp32_model or home / "fp32")
    target = Path(args.output_dir or SENSITIVITY / name)
    build(name, qat, fp32, Path(args.data_file), args.quantized_ops, target)


def build(name: str, qat: Path, fp32: Path, data: Path, ops: str, target: Path) -> None:
    """Measure, write, show; nothing when the same was measured before.

    Raises:
        ModelError, DataError: a model or the images are missing, or do not belong together.
    """
    artifacts.model_files(qat), artifacts.model_files(fp32)
    fitting.require(fp32, data, name)
    inputs = {"qat": artifacts.sha256(qat), "fp32": artifacts.sha256(fp32), "data": artifacts.sha256(data)}
    config = {"model": name, "quantized_ops": ops}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "sensitivity", config, inputs):
            say((target / "sensitivity.txt").read_text().rstrip())
            say(f"sensitivity is up to date: {artifacts.shown(target)}")
            return
        found = _measure(qat, fp32, data, ops)
        with artifacts.atomic_directory(target) as directory:
            _write(name, found, directory)
            outputs = manifests.outputs_of(directory)
            manifests.write(directory / "manifest.json", "sensitivity", config, inputs, outputs)
        say((target / "sensitivity.txt").read_text().rstrip())
    say(f"sensitivity: {artifacts.shown(target)}")


def _measure(qat: Path, fp32: Path, data: Path, ops: str):
    from qat8.int8 import passes, sensitivity

    asked = passes.op_set(ops)
    program, _ = artifacts.model_files(qat)
    passes.require_qat(passes.load(str(program.with_suffix(""))), str(qat))
    with step("FP32 reference"):
        judge = sensitivity.Judge(fp32, data, len(os.sched_getaffinity(0)))
    with step("quantizing each layer alone"):
        reference, _ = artifacts.model_files(fp32)
        candidates = sensitivity.Candidates(program.with_suffix(""), reference.with_suffix(""), asked, judge,
                                            instructions.saturates())  # fmt: skip
        return sensitivity.analyse(candidates, judge)


def _write(name: str, found, directory: Path) -> None:
    from qat8.int8 import sensitivity_tables as tables

    (directory / "sensitivity.json").write_text(
        json.dumps({"schema": 1, "model": name, **asdict(found)}, indent=1) + "\n"
    )
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(tables.rows(found))
    (directory / "sensitivity.csv").write_text(out.getvalue())
    with open(directory / "sensitivity.txt", "w") as file:
        console = Console(file=file, width=TEXT_WIDTH, highlight=False)
        console.print(tables.table(name, found))
        console.print(tables.summary(found))
    for file_name, content in tables.pictures(name, found).items():
        (directory / file_name).write_bytes(content)


if __name__ == "__main__":
    cli.run(main)
