"""What the fuzzers start from: small whole files of each kind that the C++ programs read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qat8.export.file import Operator, Plan, Tensor, encode

TARGETS = ("data_file", "flags", "network", "plan_file", "program", "text")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def plans() -> dict[str, bytes]:
    """Small networks, which hold every kind of operator."""
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> np.ndarray:
        return random.normal(0, 0.2, shape).astype(np.float32)

    def levels(*shape: int) -> np.ndarray:
        return random.integers(-127, 128, shape).astype(np.int8)

    def t(kind: str, *shape: int) -> Tensor:
        return Tensor(kind, shape)

    f, u = "float32", "uint8"
    fp32 = Plan("fp32", [t(f, 3, 8, 8), t(f, 8, 8, 8), t(f, 8, 8, 8), t(f, 8, 8, 8), t(f, 8, 4, 4), t(f, 8, 2, 2),
                         t(f, 8, 1, 1), t(f, 5, 1, 1), t(f, 5, 1, 1)], [
        Operator("convolution", 0, 1, kernel=(3, 3), padding=(1, 1, 1, 1), activation="relu",
                 weights=numbers(8, 3, 3, 3), bias=numbers(8)),
        Operator("convolution", 1, 2, second=1, kernel=(1, 1), activation="clip", beta=6.0,
                 weights=numbers(8, 8, 1, 1), bias=numbers(8)),
        Operator("addition", 1, 3, 2, activation="relu"),
        Operator("max_pooling", 3, 4, kernel=(2, 2), strides=(2, 2)),
        Operator("average_pooling", 4, 5, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 0, 0)),
        Operator("average_pooling_with_padding", 5, 6, kernel=(2, 2)),
        Operator("linear", 6, 7, weights=numbers(5, 8, 1, 1), bias=numbers(5)),
        Operator("softmax", 7, 8),
    ])  # fmt: skip
    scale = (0.02, 1.0, 0.03)
    int8 = Plan("int8", [t(f, 3, 9, 9), t(u, 3, 9, 9), t(u, 16, 9, 9), t(u, 16, 9, 9), t(u, 16, 5, 5), t(u, 16, 5, 5),
                         t(f, 16, 5, 5), t(f, 16, 1, 1), t(f, 5, 1, 1)], [
        Operator("quantize", 0, 1, alpha=50.0, scales=(1.0, 1.0, 0.02)),
        Operator("convolution", 1, 2, kernel=(1, 1), activation="relu", scales=scale, weights=levels(16, 3, 1, 1),
                 bias=numbers(16), weight_scales=np.abs(numbers(16))),
        Operator("convolution", 2, 3, kernel=(3, 3), padding=(1, 1, 1, 1), groups=16, activation="clip", beta=6.0,
                 scales=scale, weights=levels(16, 1, 3, 3), bias=numbers(16), weight_scales=np.abs(numbers(16))),
        Operator("convolution", 3, 4, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1), groups=16,
                 activation="relu", scales=scale, weights=levels(16, 1, 3, 3), weight_scales=np.abs(numbers(1))),
        Operator("addition", 4, 5, 4, scales=(0.03, 0.03, 0.05)),
        Operator("dequantize", 5, 6, scales=(0.05, 1.0, 1.0)),
        Operator("average_pooling", 6, 7, kernel=(5, 5)),
        Operator("linear", 7, 8, weights=numbers(5, 16, 1, 1)),
    ])  # fmt: skip
    return {"fp32.qat8": encode(fp32), "int8.qat8": encode(int8)}


FLAGS = [
    "--infer_model=m\n--infer_data=d\n--batch_size=7\n--iterations=-1\n--json=x",
    "--infer-model\nm\n--infer-data\nd\n--scenario=server\n--target_latency_ms=1.5e1\n--seed=3\n--barrier",
    "--infer_model=m\n--infer_data=d\n--scenario=offline\n--duration=0.5\n--min_queries=3\n--latencies_file=l",
    "--with_accuracy_layer=True\n--use_profile\n--infer_model=\n--min_seconds=nan\n--num_threads=99999999999",
    "--help",
]
TEXTS = [
    '{"resize": 256, "mean": [0.485, -1e-3], "text": "\\u00e9\\n\\"", "x": {"y": [true, false, null]}}',
    "----\nError Message Summary:\n----\nInvalidArgumentError: No.\n  [Hint: Expected 3 == 4.] (at /paddle/a.cc:1)\n",
    "\u00e4\u20ac\U0001f600\x00\x1f\x7f",
]
# A ProgramDesc of one block with a variable and an operator (framework.proto), and its version.
PROGRAM = bytes.fromhex("0a1e080010ffffffffffffffffff011a060a0178120208072a060a0178120158220208009a0102080a")


def write(directory: Path) -> None:
    """`directory`/TARGET/FILE for each target."""
    golden = {file.name: file.read_bytes() for file in GOLDEN.glob("*.bin")}
    content = {
        "data_file": golden,
        "plan_file": plans(),
        "network": plans(),
        "flags": {str(i): text.encode() for i, text in enumerate(FLAGS)},
        "program": {"program": PROGRAM},
        "text": {str(i): text.encode() for i, text in enumerate(TEXTS)},
    }
    for target, files in content.items():
        (directory / target).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / target / name).write_bytes(text)
