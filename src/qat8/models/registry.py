"""A model is one row: its builder, its input, and the weights that can be had for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    # Whose weights -> what is different for them: padding and activation are not in a file of weights.
    variants: dict[str, dict] = field(default_factory=dict)

    def for_weights_of(self, origin: str) -> Model:
        """The row as the tool that trained the weights defines the model: `tensorflow` or `paddle` (and PyTorch)."""
        return replace(self, **self.variants.get(origin, {}))


def _mobilenet_v1(classes: int):
    from qat8.models.mobilenet_v1 import MobileNetV1

    return MobileNetV1(classes)


def _mobilenet_v1_of_paddle(classes: int):
    from qat8.models.mobilenet_v1 import MobileNetV1

    return MobileNetV1(classes, paddle_style=True)


def _mobilenet_v2_of_tensorflow(classes: int):
    from qat8.models.mobilenet_v2 import MobileNetV2

    return MobileNetV2(classes)


def _from_paddle(name: str) -> Callable[[int], object]:
    def build(classes: int):
        from qat8.engine import paddle

        return getattr(paddle.vision.models, name)(num_classes=classes)

    return build


MODELS = {
    row.name: row
    for row in (
        Model("MobileNetV1", _mobilenet_v1, SYMMETRIC, embedded_weights=True,
              variants={"paddle": {"build": _mobilenet_v1_of_paddle, "preprocessing": IMAGENET}}),
        Model("MobileNetV2", _from_paddle("mobilenet_v2"), IMAGENET,
              variants={"tensorflow": {"build": _mobilenet_v2_of_tensorflow, "preprocessing": SYMMETRIC}}),
        Model("ResNet50", _from_paddle("resnet50"), IMAGENET),
        Model("ResNet101", _from_paddle("resnet101"), IMAGENET),
        Model("VGG16", _from_paddle("vgg16"), IMAGENET),
        Model("VGG19", _from_paddle("vgg19"), IMAGENET),
    )
}  # fmt: skip
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


def state_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """The state's names and shapes, without the memory and the time that initialising the model would take."""
    from qat8.engine import paddle

    static = not paddle.in_dynamic_mode()
    paddle.disable_static()
    try:
        with paddle.LazyGuard(), paddle.utils.unique_name.guard():
            return {name: tuple(value.shape) for name, value in model.build(model.classes).state_dict().items()}
    finally:
        if static:
            paddle.enable_static()
