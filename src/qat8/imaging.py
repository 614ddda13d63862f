"""From a photograph to the network's input: the one definition that training, preprocessing and the report share.

MLCommons' notes put the difference between two resize implementations at 0.3 to 0.45 points of top-1: more than INT8
costs. So the decoder (Pillow), the filter and the rounding are fixed here and written into every data file.
"""

from __future__ import annotations

import dataclasses
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from qat8.errors import DataError
from qat8.older_python import zip_strict

# Registered by being imported; Pillow's own way to two formats more is to read the modules of all forty.
assert TiffImagePlugin and WebPImagePlugin
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}
# Pillow knows forty more: it would start Ghostscript for PostScript, and what nobody photographs in nobody looks after.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
RESIZE_TO_CROP = 256 / 224  # the tutorial's shorter side of 256 for a crop of 224


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `round(crop * 256 / 224)`, centre crop of `crop` pixels, RGB, (value / 255 - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    filter: str = "lanczos"
    crop: int = 224
    fast: bool = False  # JPEG draft mode: libjpeg decodes a large photograph at 1/2, 1/4 or 1/8, other pixels come out

    @property
    def resize(self) -> int:
        return round(self.crop * RESIZE_TO_CROP)

    def fingerprint(self) -> dict:
        """What must be equal for two data files to hold the same pixels."""
        values = dataclasses.asdict(self)
        # Said only where it holds, so that files and models from before there was --fast still fit.
        mode = {"decoding": "JPEG draft mode"} if values.pop("fast") else {}
        return {
            **values,
            **mode,
            "mean": list(self.mean),
            "std": list(self.std),
            "resize": self.resize,
            "layout": "CHW",
            "channels": "RGB",
            "exif_rotation": "ignored, as in the tutorial",
            "decoder": f"Pillow {PIL.__version__}",
        }


# The tutorial's, used by Paddle's own ImageNet models, and TensorFlow's for MobileNet-V1 (values in [-1, 1]).
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), filter="bilinear")
NAMED = {"imagenet": IMAGENET, "symmetric": SYMMETRIC}


def same_pixels(a: dict, b: dict) -> bool:
    """Whether two fingerprints mean the same input; the decoder's version may differ."""
    return {k: v for k, v in a.items() if k != "decoder"} == {k: v for k, v in b.items() if k != "decoder"}


def read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: not there, or a link to what is not there.
    """
    try:
        with open(path, "rb", buffering=0) as f:
            return f.read()
    except FileNotFoundError:
        raise missing(path) from None
    except IsADirectoryError as e:
        raise DataError(f"{path}: not a readable image ({e.strerror})", "a complete JPEG or PNG file") from e


def missing(path: Path, more: int = 0) -> DataError:
    """The error for an image that is not there; `more` others are not there either."""
    also = f" and {more} more" if more else ""
    if os.path.islink(path):
        fact = f"{path}{also}: a link to {os.readlink(path)}, which is not there"
        hint = "mend the link (a container sees only what is below --data-dir), or --on-missing=skip"
        return DataError(fact, "every image that the label list names", hint)
    fact = "not a regular file" if os.path.exists(path) else "no such image"
    hint = "put it there, or --on-missing=skip"
    return DataError(f"{path}{also}: {fact}", "every image that the label list names", hint)


def decode(path: Path, spec: Preprocessing) -> Image.Image:
    """Open an image and resize its shorter side, RGB.

    Raises:
        DataError: missing, truncated, not an image, or more pixels than Pillow's limit; the file is named.
    """
    return decode_bytes(read(path), path, spec)


def decode_bytes(content: bytes, path: Path, spec: Preprocessing) -> Image.Image:
    """`decode` of a file that was read already; `path` is what messages call it."""
    image, size = _rgb(content, path, spec)
    _require_no_sliver(image, size, path)
    return image.resize(size, FILTERS[spec.filter])


def decode_whole(path: Path, spec: Preprocessing) -> Image.Image:
    """Open an image in its own size, RGB; in draft mode (`spec.fast`) in one not below that of `decode`.

    Raises:
        DataError: as `decode`.
    """
    return _rgb(read(path), path, spec)[0]


def _rgb(content: bytes, path: Path, spec: Preprocessing) -> tuple[Image.Image, tuple[int, int]]:
    """The image, and the size to which `spec` resizes it."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _require_photograph(image.size)
            size = _resized(image.size, spec)
            if spec.fast:
                image.draft("RGB", size)  # never below `size`; other formats than JPEG take no notice
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB"), size
    except MemoryError:
        raise
    except Exception as e:  # damage in these formats can raise anything
        reason = "none of the formats that are read" if isinstance(e, UnidentifiedImageError) else e
        raise DataError(f"{path}: not a readable image ({reason})", "a complete JPEG or PNG file") from e


def _require_photograph(size: tuple[int, int]) -> None:
    """Pillow refuses twice as many pixels and only warns up to there, in which a worker takes hundreds of megabytes."""
    if size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{size[0]} x {size[1]} pixels, over the limit of {Image.MAX_IMAGE_PIXELS}")


def _require_no_sliver(image: Image.Image, size: tuple[int, int], path: Path) -> None:
    """One that resizing would make larger than any photograph."""
    if size[0] * size[1] > 2 * Image.MAX_IMAGE_PIXELS:
        raise DataError(f"{path}: {image.width} x {image.height} pixels", "a photograph")


def _resized(size: tuple[int, int], spec: Preprocessing) -> tuple[int, int]:
    scale = spec.resize / min(size)
    width, height = (max(spec.crop, round(side * scale)) for side in size)
    return width, height


def centre_crop(image: Image.Image, side: int) -> np.ndarray:
    """The middle `side` x `side` pixels, uint8 [3, side, side]."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return crop(image, left, top, side)


def crop(image: Image.Image, left: int, top: int, side: int) -> np.ndarray:
    # Pillow takes the bands apart faster than NumPy transposes them.
    bands = image.crop((left, top, left + side, top + side)).split()
    return np.frombuffer(b"".join(band.tobytes() for band in bands), np.uint8).reshape(3, side, side)


def preprocess(path: Path, spec: Preprocessing) -> np.ndarray:
    """The image as uint8 [3, crop, crop], not yet normalised.

    Raises:
        DataError: as `decode`.
    """
    return preprocess_bytes(read(path), path, spec)


def preprocess_bytes(content: bytes, path: Path, spec: Preprocessing) -> np.ndarray:
    """`preprocess` of a file that was read already: the pixels of `centre_crop(decode(...))`, to the last bit."""
    image, size = _rgb(content, path, spec)
    _require_no_sliver(image, size, path)
    wanted, box = _needed(image.size, size, spec)
    return centre_crop(image.resize(wanted, FILTERS[spec.filter], box), spec.crop)


def _needed(size: tuple[int, int], resized: tuple[int, int], spec: Preprocessing):
    """What the crop needs of the image: the size to compute, and the box (left, top, right, bottom) that it is made of.

    Pillow's box is float32, from which it computes in float64 where each output pixel's kernel lies. Along the shorter
    side, and with 256 or another power of two to resize to, the box's ends and the scale have no more bits than a
    float32 holds; so the kernels are the very ones of the whole image, and an eighth of the work is saved. Along the
    longer side they would not be, and other pixels would come out.
    """
    wanted, low, high = list(resized), [0.0, 0.0], [float(side) for side in size]
    if spec.resize & (spec.resize - 1) or min(size) * spec.resize >= 2**24:
        return resized, (*low, *high)
    for axis in (0, 1):
        if resized[axis] == spec.resize != size[axis]:
            first, scale = (spec.resize - spec.crop) // 2, size[axis] / spec.resize
            wanted[axis], low[axis], high[axis] = spec.crop, first * scale, (first + spec.crop) * scale
    if _rows_first(size, resized) and _rows_first(size, wanted):
        return tuple(wanted), (*low, *high)
    return resized, (0.0, 0.0, *map(float, size))


def _rows_first(size, resized) -> bool:
    """Whether Pillow resizes along the rows first, rounds to uint8, and then goes on along the columns.

    It always did; version 13 does not where the height shrinks by more than twice what the width does.
    """
    fewer = [before - after for before, after in zip_strict(size, resized)]
    return not 2 * fewer[0] < fewer[1] > 0


assert ImageFile.LOAD_TRUNCATED_IMAGES is False  # a truncated photograph must not become half a grey one
warnings.filterwarnings("ignore", module=r"PIL\.")  # what it warns of it either reads all the same or raises
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # an error here, see _require_photograph
