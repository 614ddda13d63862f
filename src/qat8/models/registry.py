"""A model is one row: its builder, its input, and the weights that can be had for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qat8.errors import UsageError
from qat8.imaging import IMAGENET, SYMMETRIC, Preprocessing


@dataclass(frozen=True)
class Model:
    """`build(classes)` gives a paddle.nn.Layer: float32 [N, 3, H, W] -> logits float32 [N, classes]."""

    name: str
    build: Callable[[int], object]
    preprocessing: Preprocessing
    classes: int = 1000
    embedded_weights: bool = False  # `inv weights` can import them; the others need --pretrained-model


def _mobilenet_v1(classes: int):
    from qat8.models.mobilenet_v1 import MobileNetV1

    return MobileNetV1(classes)


def _from_paddle(name: str) -> Callable[[int], object]:
    def build(classes: int):
        from qat8.engine import paddle

        return getattr(paddle.vision.models, name)(num_classes=classes)

    return build


MODELS = {
    row.name: row
    for row in (
        Model("MobileNetV1", _mobilenet_v1, SYMMETRIC, embedded_weights=True),
        Model("MobileNetV2", _from_paddle("mobilenet_v2"), IMAGENET),
        Model("ResNet50", _from_paddle("resnet50"), IMAGENET),
        Model("ResNet101", _from_paddle("resnet101"), IMAGENET),
        Model("VGG16", _from_paddle("vgg16"), IMAGENET),
        Model("VGG19", _from_paddle("vgg19"), IMAGENET),
    )
}
DEFAULT = "MobileNetV1"


def get(name: str) -> Model:
    """The row of `name`, in any spelling of case, `-` and `_`.

    Raises:
        UsageError: unknown; the known ones are named.
    """
    for known, row in MODELS.items():
        if known.lower() == name.lower().replace("-", "").replace("_", ""):
            return row
    raise UsageError(f"unknown model {name!r}", f"one of {', '.join(MODELS)}")
