"""How fast preprocessing is on one core, against a plain Pillow loop and torchvision, in one run on the same images.

The ways take turns, a few images each, on one pinned CPU: what slows the machine for a while slows all of them, and the
ratio of a turn means something. Ours includes what the bare loop does not do: normalising, checksums, writing the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from qat8 import artifacts, cli, datafile, imaging, labels
from qat8.console import Bar, say
from qat8.errors import DataError
from qat8.models import registry
from qat8.older_python import zip_strict
from qat8.preprocessing.listing import CHUNK, Chunk
from qat8.preprocessing.partial import allocate
from qat8.preprocessing.torchvision_peer import Torchvision
from qat8.preprocessing.work import Target, preprocess

EMBEDDED = artifacts.EMBEDDED
Way = Callable[[list[Path]], object]  # seconds by a clock of its own, or nothing


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="preprocess_speed", description="preprocessing against a plain loop, on one core")
    parser.flag("data-dir", default=str(EMBEDDED), help="directory that the label list's paths are relative to")
    parser.flag("label-list", default="all_list.txt", help="lines of PATH CLASS")
    parser.flag("model", default=registry.DEFAULT, help="the model whose normalisation and resize filter to use")
    parser.flag("rounds", type=cli.positive_int, default=5, help="times that every image is preprocessed in every way")
    parser.flag("torchvision", default=False, help="fetch torchvision (8 MB); needs the peers' environment with torch")
    parser.flag("output", default="", help="write the figures to this JSON file")
    args = parser.parse_args(argv)
    directory = Path(args.data_dir)
    paths = [path for path, _ in labels.stream(directory, directory / args.label_list)]
    spec = registry.get(args.model).preprocessing
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    with contextlib.ExitStack() as stack:
        scratch, unpacked = (Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qat8-"))) for _ in range(2))
        ways = _ways(spec, scratch)
        if args.torchvision:
            ways["torchvision"] = stack.enter_context(Torchvision(spec, unpacked))
        times = _measure(ways, paths, args.rounds, scratch)
    figures = _figures(times, len(paths), cpu, spec)
    _say(figures)
    if args.output:
        with artifacts.atomic_file(Path(args.output)) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n")


def _measure(ways: dict[str, Way], paths: list[Path], rounds: int, scratch: Path) -> dict[str, list[tuple[float, int]]]:
    """(seconds, images) of every turn."""
    turns = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    if not turns:
        raise DataError("no images", "some")
    times: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
    for way in ways.values():  # page cache, imports, allocators
        way(paths[:CHUNK])
    with Bar("measuring", rounds * len(turns) * len(ways)) as bar:
        for _ in range(rounds):
            for turn in turns:
                for name, way in ways.items():
                    start = time.perf_counter()
                    own = way(turn)
                    times[name].append((own or time.perf_counter() - start, len(turn)))
                    for file in scratch.iterdir():  # the next turn writes to new pages, as a file that grows does
                        file.unlink()
                    bar.advance()
    return times


def _ways(spec: imaging.Preprocessing, scratch: Path) -> dict[str, Way]:
    def bare(paths: list[Path]) -> None:
        for path in paths:
            _bare(path, spec)

    ways: dict[str, Way] = {"bare": bare}
    ways["bare, written"] = lambda paths: _bare_written(paths, spec, scratch / "bare.bin")
    for dtype in ("uint8", "float32"):
        ways[f"qat8 {dtype}"] = _ours(spec, dtype, scratch / f"{dtype}.bin")
    return ways


def _bare(path: Path, spec: imaging.Preprocessing) -> Image.Image:
    """As short as it gets: decode, resize, crop."""
    image = Image.open(path)
    if image.mode != "RGB":
        image = image.convert("RGB")
    scale = spec.resize / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), imaging.FILTERS[spec.filter])
    left, top = (image.width - spec.crop) // 2, (image.height - spec.crop) // 2
    return image.crop((left, top, left + spec.crop, top + spec.crop))


def _bare_written(paths: list[Path], spec: imaging.Preprocessing, file: Path) -> None:
    """The tutorial's whole job in a plain loop: normalised, planes first, appended to a file."""
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (spec.mean, spec.std))
    with open(file, "wb") as out:
        for path in paths:
            pixels = np.asarray(_bare(path, spec), np.float32).transpose(2, 0, 1) / np.float32(255)
            out.write(((pixels - mean) / std).tobytes())


def _ours(spec: imaging.Preprocessing, dtype: str, file: Path) -> Way:
    kind = datafile.DTYPES[2 if dtype == "uint8" else 1]
    header = datafile.Header(CHUNK, spec.crop, spec.crop, kind, 1000, spec.mean, spec.std, spec.fingerprint())
    target = Target(file, header, spec)

    def run(paths: list[Path]) -> None:
        out = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
        allocate(out, header.images_offset + len(paths) * header.image_bytes)
        os.close(out)
        preprocess(Chunk(0, 0, paths, "0"), target)

    return run


def _figures(times: dict[str, list[tuple[float, int]]], images: int, cpu: int, spec: imaging.Preprocessing) -> dict:
    bare = times["bare"]
    ways = {
        name: {
            "images_per_second": statistics.median(n / seconds for seconds, n in turns),
            "of_bare": statistics.median(b / seconds for (seconds, _), (b, _) in zip_strict(turns, bare)),
        }
        for name, turns in times.items()
    }
    return {"images": images, "cpu": cpu, "preprocessing": spec.fingerprint(), "turns": len(bare), "ways": ways}


def _say(figures: dict) -> None:
    spec = figures["preprocessing"]
    say(f"{figures['images']} images, {spec['filter']} to {spec['resize']}, {spec['decoder']}, CPU {figures['cpu']}; "
        f"medians of {figures['turns']} turns")  # fmt: skip
    for name, way in figures["ways"].items():
        say(f"  {name:14} {way['images_per_second']:8.1f} images/s   {way['of_bare']:.3f} of the bare loop")


if __name__ == "__main__":
    cli.run(main)
