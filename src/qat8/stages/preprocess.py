"""Photographs -> the binary data file that the testers read (`datafile` documents its bytes).

Command line of the tutorial's full_ILSVRC2012_val_preprocess.py, section 4.1. One worker per CPU decodes; one process
writes, in the list's order, so that the bytes do not depend on the number of workers.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, datafile, imaging, labels
from qat8.console import Bar, say
from qat8.errors import DataError, MachineError, UsageError
from qat8.models import registry

EMBEDDED = artifacts.DATA / "dataset" / "embedded"
CHUNKS_AHEAD = 4  # per worker: what is decoded and not yet written stays small whatever the number of images
CHUNK = 8


@dataclass(frozen=True)
class Request:
    data_dir: Path
    label_list: Path
    output: Path
    preprocessing: imaging.Preprocessing
    format: str = "qat8"
    dtype: str = "float32"
    on_missing: str = "stop"
    classes: int = 1000
    workers: int = 1


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="turn photographs into the binary data file that the testers read")
    p.flag("local", default=False, help="the data are yours, in --data-dir")
    p.flag("data-dir", default=None, help="directory that the label list's paths are relative to")
    p.flag("label-list", default=None, help="lines of PATH CLASS (None: val_list.txt in the data directory)")
    p.flag("output-file", default=None, help="the data file to write")
    p.flag("data-dim", type=cli.positive_int, default=224, help="side of the preprocessed image in pixels")
    p.flag("model", default=registry.DEFAULT, help="the model whose normalisation and resize filter to use")
    p.flag("normalisation", choices=list(imaging.NAMED), default=None, help="use this one instead of the model's")
    p.flag("format", choices=["qat8", "raw"], default="qat8", help="raw: the tutorial's layout, without a header")
    p.flag("dtype", choices=["float32", "uint8"], default="float32", help="uint8: a quarter of the disk, same values")
    p.flag("on-missing", choices=["stop", "skip"], default="stop", help="what to do about an image that is not there")
    p.flag("classes", type=cli.positive_int, default=1000, help="labels are 0 to this less 1")
    p.flag("workers", type=cli.positive_int, default=len(os.sched_getaffinity(0)), help="processes that decode")
    return p


def main(argv: list[str], prog: str = "preprocess", needs_local: bool = False) -> None:
    args = parser(prog).parse_args(argv)
    if not args.local and (args.data_dir or needs_local):
        fact = "--data-dir without --local" if args.data_dir else "without parameters this script downloads ILSVRC2012"
        hint = "--local --data-dir=DIR --output-file=data.bin with images of yours"
        raise UsageError(fact if args.data_dir else f"{fact}, which this version does not do", hint)
    if args.local and not args.data_dir:
        raise UsageError("--local without --data-dir", "the directory of your images")
    if args.format == "raw" and args.dtype != "float32":
        raise UsageError("--format=raw with --dtype=uint8", "float32: the tutorial's layout knows nothing else")
    if args.data_dim > datafile.MAX_SIDE:
        raise UsageError(f"--data-dim={args.data_dim}", f"at most {datafile.MAX_SIDE} pixels")
    spec = imaging.NAMED[args.normalisation] if args.normalisation else registry.get(args.model).preprocessing
    build(_request(args, replace(spec, crop=args.data_dim)))


def _request(args, spec: imaging.Preprocessing) -> Request:
    embedded = not args.local
    data_dir = EMBEDDED if embedded else Path(args.data_dir)
    label_list = Path(args.label_list or ("all_list.txt" if embedded else "val_list.txt"))
    if not label_list.is_absolute() and not (args.label_list and label_list.is_file()):
        label_list = data_dir / label_list
    output = Path(args.output_file or (data_dir / "val.bin" if embedded else "data.bin"))
    return Request(
        data_dir, label_list, output, spec, args.format, args.dtype, args.on_missing, args.classes, args.workers
    )


def build(request: Request) -> None:
    """Write the data file and its manifest, unless both are there and still fit.

    Raises:
        DataError: a missing image (named), an unreadable one, a bad line of the list.
    """
    entries = labels.read(request.data_dir, request.label_list, request.classes)
    present = [(path, label) for path, label in entries if path.is_file()]
    missing = [path for path, _ in entries if not path.is_file()]
    if missing and (request.on_missing == "stop" or not present):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{missing[0]}{more}: no such image", "every image that the label list names",
                        "put it there, or --on-missing=skip")  # fmt: skip
    config = {
        "preprocessing": request.preprocessing.fingerprint(), "format": request.format, "dtype": request.dtype,
        "on_missing": request.on_missing, "classes": request.classes,
    }  # fmt: skip
    inputs = {"label_list": artifacts.sha256(request.label_list), "images": _images_digest(present)}
    with artifacts.exclusive(request.output):
        if artifacts.up_to_date(request.output, "preprocess", config, inputs):
            say(f"data file is up to date: {artifacts.shown(request.output)}")
            return
        with artifacts.atomic_file(request.output) as temporary:
            _write(request, present, temporary)
        artifacts.write_manifest(
            artifacts.manifest_path(request.output), "preprocess", config, inputs,
            {request.output.name: artifacts.sha256(request.output)},
            images=len(present), missing=[str(p) for p in missing], subsets=_subsets(request, entries, missing),
        )  # fmt: skip
    skipped = f", {len(missing)} missing ones left out" if missing else ""
    size = request.output.stat().st_size
    say(f"data file: {len(present)} images{skipped}, {size:,} bytes: {artifacts.shown(request.output)}")


def _images_digest(present: list[tuple[Path, int]]) -> str:
    # Sizes and times, not contents: hashing 50,000 photographs would cost as much as reading them for real.
    return artifacts.fingerprint([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p, _ in present])


def _write(request: Request, present: list[tuple[Path, int]], temporary: Path) -> None:
    spec = request.preprocessing
    dtype = datafile.DTYPES[2 if request.dtype == "uint8" else 1]
    header = datafile.Header(
        len(present), spec.crop, spec.crop, dtype, request.classes, spec.mean, spec.std, spec.fingerprint(),
        raw=request.format == "raw",
    )  # fmt: skip
    writer = datafile.Writer(temporary, header)
    try:
        with Bar("preprocessing", len(present)) as bar:
            for image, (_, label) in zip(_decoded(request, [p for p, _ in present]), present, strict=True):
                whole = image if request.dtype == "uint8" else datafile.normalise(image, spec.mean, spec.std)
                writer.append(whole, label)
                bar.advance()
        writer.close()
    finally:
        writer.abort()


def _decoded(request: Request, paths: list[Path]) -> Iterator[np.ndarray]:
    work = partial(_decode_chunk, spec=request.preprocessing)
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    if request.workers == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from work(chunk)
        return
    with ProcessPoolExecutor(request.workers, initializer=_ignore_interrupt) as pool:
        try:
            for images in _in_order(pool, work, chunks, request.workers * CHUNKS_AHEAD):
                yield from images
        except BrokenProcessPool:
            hint = "give it memory, or fewer --workers"
            raise MachineError("a decoding process was killed", next_step=hint) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_order(pool: ProcessPoolExecutor, work, chunks: Iterable, ahead: int) -> Iterator[list[np.ndarray]]:
    waiting = iter(chunks)
    running = [pool.submit(work, c) for c in itertools.islice(waiting, ahead)]
    while running:
        yield running.pop(0).result()
        running += [pool.submit(work, c) for c in itertools.islice(waiting, 1)]


def _decode_chunk(paths: list[Path], spec: imaging.Preprocessing) -> list[np.ndarray]:
    return [imaging.preprocess(path, spec) for path in paths]


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the writer ends the workers


def _subsets(request: Request, entries: list, missing: list) -> list[dict]:
    """Which rows of the file belong together, as the data set's manifest says; a list of the user's is one subset."""
    try:
        source = artifacts.read_manifest(request.data_dir)
    except DataError:  # a manifest.json of the user's own, not one of ours
        source = None
    known = (source or {}).get("subsets", {}).get(request.label_list.name)
    if known and not missing and sum(s["count"] for s in known) == len(entries):
        return known
    count = len(entries) - len(missing)
    return [{"name": "all", "start": 0, "count": count, "labels": str(request.label_list), "used_in_training": False}]


if __name__ == "__main__":
    cli.run(main)
