"""MobileNet-V1 as TensorFlow defined it: ReLU6, and SAME padding on the stride-2 convolutions.

Howard et al. (2017), MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications.
`paddle.vision.models.mobilenet_v1` has ReLU and symmetric padding 1, with which weights trained in TensorFlow lose
most of their accuracy; the layers and their order are the same otherwise.
"""

from qat8.engine import paddle

nn = paddle.nn

# (output channels, stride) of the 13 depthwise separable blocks.
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int, paddle_style: bool) -> nn.Sequential:
    # SAME on an even side with kernel 3 and stride 2 pads one row below and one column to the right, none before.
    padding = 0 if kernel == 1 else [0, 1, 0, 1] if stride == 2 and not paddle_style else 1
    conv = nn.Conv2D(inputs, outputs, kernel, stride, padding, groups=groups, bias_attr=False)
    activation = nn.ReLU() if paddle_style else nn.ReLU6()
    return nn.Sequential(conv, nn.BatchNorm2D(outputs, epsilon=1e-3), activation)


class MobileNetV1(nn.Layer):
    """float32 [N, 3, 224, 224] -> logits float32 [N, classes]. `paddle_style`: ReLU and padding 1, for Paddle's
    weights."""

    def __init__(self, classes: int = 1000, paddle_style: bool = False) -> None:
        super().__init__()
        layers, channels = [_conv(3, 32, 3, 2, 1, paddle_style)], 32
        for outputs, stride in BLOCKS:
            layers.append(_conv(channels, channels, 3, stride, channels, paddle_style))
            layers.append(_conv(channels, outputs, 1, 1, 1, paddle_style))
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(paddle.flatten(self.pool(self.features(x)), 1))
