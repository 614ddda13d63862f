"""MobileNet-V2 as TensorFlow defined it: SAME padding on the stride-2 convolutions.

Sandler et al. (2018), MobileNetV2: Inverted Residuals and Linear Bottlenecks. Layers, their order and the state's names
are those of `paddle.vision.models.mobilenet_v2`, which pads both sides by 1: TensorFlow's weights need the other.
"""

from qat8.engine import paddle
from qat8.models.weights.architecture import INVERTED_RESIDUALS

nn = paddle.nn


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Layer]:
    # SAME on an even side with kernel 3 and stride 2 pads one row below and one column to the right, none before.
    padding = 0 if kernel == 1 else [0, 1, 0, 1] if stride == 2 else 1
    conv = nn.Conv2D(inputs, outputs, kernel, stride, padding, groups=groups, bias_attr=False)
    return [conv, nn.BatchNorm2D(outputs)]


def _activated(*arguments, **options) -> nn.Sequential:
    return nn.Sequential(*_conv(*arguments, **options), nn.ReLU6())


class InvertedResidual(nn.Layer):
    """Expand, filter each channel, project; the input is added where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = [_activated(inputs, wide, 1)] if expansion != 1 else []
        depthwise = _activated(wide, wide, 3, stride, groups=wide)
        self.conv = nn.Sequential(*expand, depthwise, *_conv(wide, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Layer):
    """float32 [N, 3, 224, 224] in [-1, 1] -> logits float32 [N, classes]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers, channels = [_activated(3, 32, 3, stride=2)], 32
        for expansion, outputs, repeats, stride in INVERTED_RESIDUALS:
            for repeat in range(repeats):
                layers.append(InvertedResidual(channels, outputs, 1 if repeat else stride, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, _activated(channels, 1280, 1))
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(paddle.flatten(self.pool(self.features(x)), 1))
