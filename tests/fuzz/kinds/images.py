"""Photographs, label lists, and what a killed preprocessing leaves."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import zlib
from pathlib import Path

import numpy as np
from attempts import Ending, Kind, command_line
from mutations import damaged

from kinds.common import one_of


def image_seeds() -> dict[str, bytes]:
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    rgb = Image.fromarray(coarse).resize((48, 40))
    modes = {m: rgb.convert(m) for m in ("L", "CMYK", "1", "P", "RGBA", "LA")} | {"RGB": rgb}
    wanted = [("RGB", "JPEG", {}), ("L", "JPEG", {}), ("CMYK", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}),
              ("RGB", "PNG", {}), ("P", "PNG", {}), ("RGBA", "PNG", {}), ("1", "PNG", {}), ("LA", "PNG", {}),
              ("P", "GIF", {}), ("RGB", "BMP", {}), ("RGB", "WEBP", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}),
              ("RGB", "TIFF", {}), ("RGB", "PPM", {}), ("RGB", "EPS", {}), ("RGB", "ICO", {}), ("RGB", "TGA", {}),
              ("RGB", "PCX", {}), ("RGB", "SGI", {}), ("RGB", "JPEG2000", {})]  # fmt: skip
    seeds = {}
    for i, (mode, form, options) in enumerate(wanted):
        out = io.BytesIO()
        with contextlib.suppress(KeyError, OSError):  # a format that this Pillow was built without
            modes[mode].save(out, form, **options)
            seeds[f"{i:02}.{form.lower()}"] = out.getvalue()
    return seeds


def _preprocess(path: Path) -> Ending:

    listed = path.parent / "list.txt"
    listed.write_text(f"{path.name} 3\n")
    return _preprocess_list(listed)


def _preprocess_list(listed: Path) -> Ending:
    from qat8.stages import preprocess

    fast = "--fast" if zlib.crc32(listed.parent.name.encode()) % 2 else "--fast=false"
    return command_line(preprocess.main, "--local", f"--data-dir={listed.parent}", f"--label-list={listed}",
                        f"--output-file={listed.parent / 'out.bin'}", "--data-dim=32", "--workers=1", fast,
                        "--dtype=uint8")  # fmt: skip


def _label_list(r: random.Random, directory: Path) -> Path:
    seeds = _images()
    for i, name in enumerate(("a.jpg", "b c.jpg")):
        (directory / name).write_bytes(seeds[f"{i:02}.jpeg"])
    lines = b"a.jpg 3\nb c.jpg 999\na.jpg 0\n"
    odd = [b"a.jpg -1\n", b"a.jpg 1000\n", b"a.jpg " + b"9" * 5000 + b"\n", b"a\x00.jpg 1\n", b"x" * 5000 + b" 1\n",
           b"x" * 300 + b" / y.jpg 1\n", b"a / \x00 1\n", b"../a.jpg 1\n", b"/etc/passwd 1\n", b"a.jpg \xd9\xa3\n",
           b"\xff\xfe.jpg 1\n", b". 1\n", b"\n\n \n", b"\xef\xbb\xbfa.jpg 1\n", b"a.jpg\t1\n", b"\x1b[31m 1\n",
           b"a.jpg 1\r\n", b"a.jpg 0x1\n", b"~ 1\n", b"\xf0\x9f\x98\x80.jpg 1\n",
           "a.jpg \u0663\n".encode()]  # fmt: skip
    content = lines + b"".join(r.sample(odd, 1)) if r.random() < 0.6 else damaged(lines, r)
    path = directory / "list.txt"
    path.write_bytes(content)
    return path


@functools.cache
def _images() -> dict[str, bytes]:
    return image_seeds()


def images() -> list[Kind]:
    return [
        Kind("image", one_of(_images()), _preprocess, (3,), 1000, 60, group="images"),
        Kind("label list", _label_list, _preprocess_list, (3,), 1000, 60, group="label lists"),
        Kind("journal", _journal, _resume_preprocessing, (), 300, 20, group="journals of preprocessing"),
    ]


def _journal(r: random.Random, directory: Path) -> Path:
    """What a killed preprocessing leaves, its journal changed."""
    seeds = _images()
    (directory / "images").mkdir()
    names = [f"images/{i}.png" for i in range(20)]
    for name in names:
        (directory / name).write_bytes(seeds["04.png"])
    listed = directory / "list.txt"
    listed.write_text("".join(f"{name} 1\n" for name in names))
    _preprocess_list(listed)
    partial = directory / ".out.bin.partial"
    os.replace(directory / "out.bin", partial)
    (directory / "out.bin.manifest.json").unlink()
    journal = directory / ".out.bin.journal"
    identity = _identity(listed)
    chunk = b"0 0123456789abcdef " + b",".join([b"1"] * 16) + b"\n"
    odd = [b"synced x\n", b"synced\n", b"synced \n", b"synced 99999999999999999999\n", b"synced -5\n",
           b"-1 0123456789abcdef " + b",".join([b"1"] * 16) + b"\n", b"99 0123456789abcdef 1\n",
           b"0 0123456789abcdef " + b",".join([b"-1"] * 16) + b"\nsynced 1\n", b"0 f " + b"9" * 5000 + b"\n",
           b"0 0123456789abcdef " + b",".join([b"9" * 30] * 16) + b"\nsynced 1\n", b"\xff\xff\n", b"\x00" * 100,
           b"0 " + b"f" * 40 + b" " + b",".join([b"1"] * 16) + b"\nsynced 1\n", b"synced 1\n" + chunk,
           b"1_0 _f 1\n", b"0 -1 " + b",".join([b"1"] * 16) + b"\nsynced 1\n"]  # fmt: skip
    content = identity + (r.choice(odd) if r.random() < 0.7 else damaged(chunk + b"synced 1\n", r))
    journal.write_bytes(content if r.random() < 0.9 else damaged(content, r))
    return listed


def _identity(listed: Path) -> bytes:
    """The journal's first line, as the same command writes it."""
    from qat8.preprocessing import partial

    found = []

    class Stop(Exception):
        pass

    class Spy(partial.Partial):
        def __enter__(self):
            found.append(self._first)
            raise Stop

    from qat8.stages import preprocess

    before, preprocess.Partial = preprocess.Partial, Spy
    manifest = listed.parent / "out.bin.manifest.json"
    try:
        _preprocess_list(listed)
    finally:
        preprocess.Partial = before
        manifest.unlink(missing_ok=True)
    return found[0].encode()


def _resume_preprocessing(listed: Path) -> Ending:
    """Goes on, or starts anew; what comes out is the file that an undisturbed run writes."""
    ending = _preprocess_list(listed)
    if ending.code == 0:
        written = (listed.parent / "out.bin").read_bytes()
        (listed.parent / "out.bin").unlink()
        (listed.parent / "out.bin.manifest.json").unlink()
        _preprocess_list(listed)
        if (listed.parent / "out.bin").read_bytes() != written:
            return Ending(0, "", "another data file than an undisturbed run writes")
    return ending
