"""Make the embedded data set: 20 photographs with ImageNet labels, 100 with labels of ours, in the tutorial's layout.

data/dataset/embedded/
    val/*.jpg      the 20, from foolbox; val_list.txt names them with their 0-based ImageNet class
    train/*.jpg    the 100, from ai-benchmark; train_list.txt, labels of ours made by eye from a model's proposals
    all_list.txt   the 20 and then the 100: what `inv preprocess` turns into val.bin
    ORIGIN.md      where each part comes from, and its licence
"""

from __future__ import annotations

import csv
import re
from importlib import resources
from pathlib import Path

from qat8 import artifacts, cli
from qat8.console import say
from qat8.errors import DataError
from qat8.packages import AI_BENCHMARK, FOOLBOX, Package, members

TARGET = artifacts.DATA / "dataset" / "embedded"
SUBSETS = [
    {"name": "foolbox-20", "start": 0, "count": 20, "labels": "ImageNet, in the package", "used_in_training": False},
    {"name": "ai-benchmark-100", "start": 20, "count": 100, "used_in_training": True,
     "labels": "ours, by eye from a model's proposals"},
]  # fmt: skip


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="dataset", description="make the embedded data set")
    parser.flag("output-dir", default=str(TARGET), help="where it goes")
    parser.flag("ilsvrc2012", default=False, help="ImageNet's validation set instead")
    args = parser.parse_args(argv)
    if args.ilsvrc2012:
        raise DataError(
            "this version does not fetch ILSVRC2012 by itself", "its images and val_list.txt in a directory of yours",
            "inv preprocess --local --data-dir=DIR --label-list=val_list.txt --output-file=val.bin",
        )  # fmt: skip
    build(Path(args.output_dir))


def build(target: Path) -> None:
    inputs = {p.file: p.sha256 for p in (FOOLBOX, AI_BENCHMARK)} | {"labels": artifacts.fingerprint(_our_labels())}
    with artifacts.exclusive(target):
        if artifacts.up_to_date(target, "dataset", {}, inputs):
            say(f"data set is up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            val = _write_foolbox(directory)
            train = _write_ai_benchmark(directory)
            for name, lines in (("val", val), ("train", train), ("all", val + train)):
                (directory / f"{name}_list.txt").write_text("".join(f"{path} {label}\n" for path, label in lines))
            (directory / "ORIGIN.md").write_text(_origin())
            outputs = artifacts.outputs_of(directory)
            subsets = {
                "all_list.txt": SUBSETS,
                "val_list.txt": SUBSETS[:1],
                "train_list.txt": [{**SUBSETS[1], "start": 0}],
            }
            artifacts.write_manifest(directory / "manifest.json", "dataset", {}, inputs, outputs, subsets=subsets)
    say(f"data set: {len(val)} + {len(train)} photographs in {artifacts.shown(target)}")


def _write_foolbox(directory: Path) -> list[tuple[str, int]]:
    (directory / "val").mkdir()
    lines = []
    for name, content in sorted(members(FOOLBOX).items()):
        if found := re.fullmatch(r"foolbox/data/imagenet_(\d\d)_(\d+)\.jpg", name):
            path = f"val/foolbox_{found[1]}.jpg"
            (directory / path).write_bytes(content)
            lines.append((path, int(found[2])))
    return _exactly(20, lines, FOOLBOX)


def _write_ai_benchmark(directory: Path) -> list[tuple[str, int]]:
    (directory / "train").mkdir()
    files = members(AI_BENCHMARK)
    lines = []
    for row in _our_labels():
        path = f"train/ai_benchmark_{int(Path(row['file']).stem):02d}.jpg"
        (directory / path).write_bytes(files[f"ai_benchmark/data/{row['file']}"])
        lines.append((path, int(row["imagenet_id"])))
    return _exactly(100, lines, AI_BENCHMARK)


def _exactly(n: int, lines: list, package: Package) -> list:
    if len(lines) != n:
        raise DataError(f"{package.file} holds {len(lines)} photographs", f"{n}")
    return lines


def _our_labels() -> list[dict[str, str]]:
    text = resources.files("qat8").joinpath("assets/ai_benchmark_labels.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def _origin() -> str:
    return f"""# Where these photographs come from

- `val/`: the ImageNet samples of {FOOLBOX.origin}, licence of the package: {FOOLBOX.licence}. Labels: its own.
- `train/`: the classification photographs of {AI_BENCHMARK.origin}, licence of the package: {AI_BENCHMARK.licence}.
  Labels: qat8's own, made by eye from a model's proposals; good to train and calibrate on, not an independent accuracy.

A package's licence is its authors' statement about the package; the photographers are not named there.
"""


if __name__ == "__main__":
    cli.run(main)
