"""Photographs -> the binary data file that the testers read (`datafile` documents its bytes).

Command line of the tutorial's full_ILSVRC2012_val_preprocess.py, section 4.1. The work is in `qat8.preprocessing`: one
worker per CPU decodes and writes its own rows, so that the bytes do not depend on their number, and a journal lets a
run that was ended in any way go on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from qat8 import artifacts, cli, datafile, imaging, manifests
from qat8.console import Bar, say, step
from qat8.errors import DataError, MachineError, UsageError
from qat8.models import registry
from qat8.preprocessing import cluster, listing, pools
from qat8.preprocessing import partial as partial_file
from qat8.preprocessing.partial import Partial
from qat8.preprocessing.work import Target

EMBEDDED = artifacts.EMBEDDED
IMAGENET_IMAGES = 50_000
HASHING_IS_LONG = 2 << 30  # bytes whose checksum takes so long that it is a step of its own


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
    scheduler: str | None = None


def parser(prog: str, fetches: bool = False) -> cli.Parser:
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
    p.flag("fast", default=False, help="JPEG draft mode: quicker on large photographs, other pixels; fingerprinted")
    if fetches:
        p.flag("archive", default=None, help="your ILSVRC2012_img_val.tar (None: it is fetched)")
        p.flag("url", default=None, help="fetch the archive from here; size and MD5 must be the same")
    p.flag("scheduler", default=None, help="HOST:PORT of a Dask scheduler: its workers decode (docs/scale.md)")
    p.flag("workers", type=cli.positive_int, default=len(os.sched_getaffinity(0)), help="processes that decode")
    return p


def main(argv: list[str], prog: str = "preprocess", fetch: Callable[..., Path] | None = None) -> None:
    """`fetch(archive=, url=, more=)` makes ImageNet's data set and is called when the data are not the user's own."""
    args = parser(prog, fetches=fetch is not None).parse_args(argv)
    if not args.local and args.data_dir:
        hint = "--local --data-dir=DIR --output-file=data.bin with images of yours"
        raise UsageError("--data-dir without --local", hint)
    if fetch and args.local and (args.archive or args.url):
        raise UsageError("--archive or --url with --local", "one or the other")
    if args.local and not args.data_dir:
        raise UsageError("--local without --data-dir", "the directory of your images")
    if args.format == "raw" and args.dtype != "float32":
        raise UsageError("--format=raw with --dtype=uint8", "float32: the tutorial's layout knows nothing else")
    if args.data_dim > datafile.MAX_SIDE:
        raise UsageError(f"--data-dim={args.data_dim}", f"at most {datafile.MAX_SIDE} pixels")
    spec = imaging.NAMED[args.normalisation] if args.normalisation else registry.get(args.model).preprocessing
    if fetch and not args.local:
        size = 3 * args.data_dim**2 * (1 if args.dtype == "uint8" else 4) + 12
        directory = fetch(archive=args.archive, url=args.url, more=IMAGENET_IMAGES * size)
        args.local, args.data_dir = True, str(directory)
        args.output_file = args.output_file or str(directory.with_name("ILSVRC2012_val.bin"))
    build(_request(args, replace(spec, crop=args.data_dim, fast=args.fast)))


def _request(args, spec: imaging.Preprocessing) -> Request:
    embedded = not args.local
    data_dir = EMBEDDED if embedded else Path(args.data_dir)
    label_list = Path(args.label_list or ("all_list.txt" if embedded else "val_list.txt"))
    if not label_list.is_absolute() and not (args.label_list and label_list.is_file()):
        label_list = data_dir / label_list
    output = Path(args.output_file or (data_dir / "val.bin" if embedded else "data.bin"))
    return Request(
        data_dir,
        label_list,
        output,
        spec,
        args.format,
        args.dtype,
        args.on_missing,
        args.classes,
        args.workers,
        args.scheduler,
    )


def build(request: Request) -> None:
    """Write the data file and its manifest, unless both are there and still fit.

    Raises:
        DataError: a missing image (named), an unreadable one, a bad line of the list.
        MachineError: no room for the file; nothing was started.
    """
    images = listing.Listing(request.data_dir, request.label_list, request.classes)
    found = listing.survey(images)
    if found.missing and (request.on_missing == "stop" or not found.count):
        raise imaging.missing(found.missing[0], len(found.missing) - 1)
    config = {
        "preprocessing": request.preprocessing.fingerprint(), "format": request.format, "dtype": request.dtype,
        "on_missing": request.on_missing, "classes": request.classes,
    }  # fmt: skip
    inputs = {"label_list": artifacts.sha256(request.label_list), "images": found.digest}
    with artifacts.exclusive(request.output):
        if manifests.up_to_date(request.output, "preprocess", config, inputs):
            partial_file.remove_journal(request.output)
            say(f"data file is up to date: {artifacts.shown(request.output)}")
            return
        header = _header(request, found.count)
        with Partial(request.output, header, artifacts.fingerprint([config, header.count])) as partial:
            _require_room(partial, header.file_bytes)
            partial.reserve()
            _fill(request, images, found.missing, partial)
            partial.finish(label for _, label in listing.present(images, found.missing))
            _publish(request, config, inputs, found, partial)
    skipped = f", {len(found.missing)} missing ones left out" if found.missing else ""
    say(f"data file: {found.count} images{skipped}, {header.file_bytes:,} bytes: {artifacts.shown(request.output)}")


def _header(request: Request, count: int) -> datafile.Header:
    spec = request.preprocessing
    return datafile.Header(
        count, spec.crop, spec.crop, datafile.DTYPES[2 if request.dtype == "uint8" else 1], request.classes, spec.mean,
        spec.std, spec.fingerprint(), raw=request.format == "raw",
    )  # fmt: skip


def _require_room(partial: Partial, size: int) -> None:
    have = os.stat(partial.path).st_blocks * 512
    free = shutil.disk_usage(partial.path.parent).free
    if free < size - have:
        raise MachineError(f"{free:,} bytes free in {partial.path.parent}", f"{size - have:,} for the data file",
                           "make room, name another --output-file, or --dtype=uint8 for a quarter")  # fmt: skip
    if size > HASHING_IS_LONG:
        say(f"data file: {size:,} bytes to write, {free + have:,} free")


def _fill(request: Request, images: listing.Listing, missing: list[Path], partial: Partial) -> None:
    """Work on the chunks that are not in the partial file yet."""
    target = Target(partial.path, partial.header, request.preprocessing)
    if partial.done:
        say(f"going on: {partial.done} of {partial.header.count} images were preprocessed before")

    def todo() -> Iterator[listing.Chunk]:
        for chunk in listing.chunks(images, missing):
            if not partial.has(chunk):
                bar.advance(-partial.forget(chunk))  # one that has changed since then is done again
                yield chunk

    with Bar("preprocessing", partial.header.count, partial.done, unit="images") as bar:
        try:
            for done in _work(request, todo(), target):
                partial.record(done)
                bar.advance(done.images)
        except BaseException:
            if partial.done:
                say(f"{partial.done} of {partial.header.count} images are done and kept; the same command goes on")
            raise


def _work(request: Request, todo: Iterator[listing.Chunk], target: Target):
    if request.scheduler:
        return cluster.cluster(todo, target, request.scheduler)
    if request.workers == 1 or target.header.count <= listing.CHUNK:
        return pools.serial(todo, target)
    return pools.processes(todo, target, request.workers)


def _publish(request: Request, config: dict, inputs: dict, found: listing.Survey, partial: Partial) -> None:
    """Give the file its name. The manifest comes first: between the two a kill costs nothing but this step."""
    if artifacts.sha256(request.label_list) != inputs["label_list"]:
        partial.remove()
        raise DataError(f"{request.label_list} was changed meanwhile", "a list that stays", "run again")
    if partial.header.file_bytes > HASHING_IS_LONG:
        with step("checksum of the data file"):
            digest = artifacts.sha256(partial.path)
    else:
        digest = artifacts.sha256(partial.path)
    manifests.write(
        manifests.path_of(request.output), "preprocess", config, inputs, {request.output.name: digest},
        images=found.count, missing=[str(p) for p in found.missing], subsets=_subsets(request, found),
    )  # fmt: skip
    partial.publish(request.output)


def _subsets(request: Request, found: listing.Survey) -> list[dict]:
    """Which rows of the file belong together, as the data set's manifest says; a list of the user's is one subset."""
    try:
        source = manifests.read(request.data_dir)
    except DataError:  # a manifest.json of the user's own, not one of ours
        source = None
    listed = (source or {}).get("subsets") or {}
    known = listed.get(request.label_list.name) if isinstance(listed, dict) else None
    with contextlib.suppress(TypeError, KeyError):  # a manifest of the user's own that looks like ours
        if known and not found.missing and sum(s["count"] for s in known) == found.count:
            return known
    labels = str(request.label_list)
    return [{"name": "all", "start": 0, "count": found.count, "labels": labels, "used_in_training": False}]


if __name__ == "__main__":
    cli.run(main)
