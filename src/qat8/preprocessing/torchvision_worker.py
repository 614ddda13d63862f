"""torchvision's transforms, for `inv speed.preprocess --torchvision`; runs in the peers' environment, without qat8.

`torchvision_worker.py SPEC`, with SPEC a JSON object of filter, resize, crop, mean, std. Each line of standard input is
a JSON list of images; each answer [seconds that they took, shape of the last one, sum of its values].
"""

import json
import sys
import time

import torch
from PIL import Image

# The package index's torchvision has operators for CUDA in its library, which the CPU build of torch cannot load. The
# transforms use none of them; but torchvision describes two at its import, which therefore must have a name.
operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision import transforms  # noqa: E402  (after what it needs)


def main(spec: dict) -> None:
    torch.set_num_threads(1)
    mode = getattr(transforms.InterpolationMode, spec["filter"].upper())
    steps = transforms.Compose([
        transforms.Resize(spec["resize"], interpolation=mode), transforms.CenterCrop(spec["crop"]),
        transforms.ToTensor(), transforms.Normalize(spec["mean"], spec["std"]),
    ])  # fmt: skip
    for line in sys.stdin:
        start = time.perf_counter()
        for path in json.loads(line):
            with Image.open(path) as image:
                pixels = steps(image.convert("RGB"))
        print(json.dumps([time.perf_counter() - start, list(pixels.shape), float(pixels.double().sum())]), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
