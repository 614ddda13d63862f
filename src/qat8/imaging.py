"""From a photograph to the network's input: the one definition that training, preprocessing and the report share.

MLCommons' notes put the difference between two resize implementations at 0.3 to 0.45 points of top-1: more than INT8
costs. So the decoder (Pillow), the filter and the rounding are fixed here and written into every data file.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFile

from qat8.errors import DataError

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}
RESIZE_TO_CROP = 256 / 224  # the tutorial's shorter side of 256 for a crop of 224


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `round(crop * 256 / 224)`, centre crop of `crop` pixels, RGB, (value / 255 - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    filter: str = "lanczos"
    crop: int = 224

    @property
    def resize(self) -> int:
        return round(self.crop * RESIZE_TO_CROP)

    def fingerprint(self) -> dict:
        """What must be equal for two data files to hold the same pixels."""
        return {
            **dataclasses.asdict(self),
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


def decode(path: Path, spec: Preprocessing) -> Image.Image:
    """Open an image and resize its shorter side, RGB.

    Raises:
        DataError: missing, truncated, not an image, or more pixels than Pillow's limit; the file is named.
    """
    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
    except FileNotFoundError:
        hint = "put it there, or --on-missing=skip"
        raise DataError(f"{path}: no such image", "every image that the label list names", hint) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise DataError(f"{path}: not a readable image ({e})", "a complete JPEG or PNG file") from e
    scale = spec.resize / min(image.size)
    size = tuple(max(spec.crop, round(side * scale)) for side in image.size)
    if size[0] * size[1] > 2 * Image.MAX_IMAGE_PIXELS:  # a sliver, which resizing would make larger than any photograph
        raise DataError(f"{path}: {image.width} x {image.height} pixels", "a photograph")
    return image.resize(size, FILTERS[spec.filter])


def centre_crop(image: Image.Image, side: int) -> np.ndarray:
    """The middle `side` x `side` pixels, uint8 [3, side, side]."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return crop(image, left, top, side)


def crop(image: Image.Image, left: int, top: int, side: int) -> np.ndarray:
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def preprocess(path: Path, spec: Preprocessing) -> np.ndarray:
    """The image as uint8 [3, crop, crop], not yet normalised."""
    return centre_crop(decode(path, spec), spec.crop)


assert ImageFile.LOAD_TRUNCATED_IMAGES is False  # a truncated photograph must not become half a grey one
