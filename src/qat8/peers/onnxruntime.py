"""ONNX Runtime, CPU execution provider, with static QDQ quantization.

By "Quantize ONNX models" and "Thread management" of its documentation: the model is pre-processed (shapes inferred,
BatchNorm folded), then quantized as QDQ with a scale per channel; no reduced range, which only CPUs without VNNI need;
all graph optimizations at load. Activations are uint8 (U8S8): with that page's first choice, S8S8, the session turns
some tensors to uint8 by itself, but none that two operators read, and then leaves the convolutions between the two
kinds in FP32, those of residual networks. Where S8S8 runs in INT8 throughout it is as fast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from qat8 import artifacts

VERSION = f"ONNX Runtime {ort.__version__}"
FILE = "model.onnx"


class _Images(quantization.CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray) -> None:
        self._feeds = iter({name: image[None]} for image in images)

    def get_next(self) -> dict | None:
        return next(self._feeds, None)


def make_fp32(onnx_model: Path, directory: Path) -> None:
    quant_pre_process(str(onnx_model), str(directory / FILE))


def make_int8(onnx_model: Path, images: np.ndarray, directory: Path) -> None:
    """Quantize with the calibration images float32 [n, 3, H, W]."""
    with artifacts.scratch() as scratch:
        plain = scratch / FILE
        quant_pre_process(str(onnx_model), str(plain))
        name = onnx.load(str(plain)).graph.input[0].name
        quantization.quantize_static(
            str(plain), str(directory / FILE), _Images(name, images), quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8, per_channel=True,
        )  # fmt: skip


class Predictor:
    """`run`: float32 [n, 3, H, W] -> float32 [n, classes]."""

    def __init__(self, directory: Path, precision: str, batch_size: int, threads: int) -> None:
        self._path = str(directory / FILE)
        self._options = ort.SessionOptions()
        self._options.intra_op_num_threads, self._options.inter_op_num_threads = threads, 1
        self._options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = ort.InferenceSession(self._path, self._options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Nothing to do: a session takes any batch."""

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: images})[0]

    def int8_convolutions(self) -> tuple[int, int]:
        """Of the optimized graph's convolutions: those that run in INT8, and all."""
        with artifacts.scratch() as scratch:
            self._options.log_severity_level = 3  # that the saved graph fits this machine alone is what we want
            self._options.optimized_model_filepath = str(scratch / FILE)
            ort.InferenceSession(self._path, self._options, providers=["CPUExecutionProvider"])
            nodes = onnx.load(self._options.optimized_model_filepath, load_external_data=False).graph.node
        quantized = sum(node.op_type == "QLinearConv" for node in nodes)
        return quantized, quantized + sum(node.op_type in ("Conv", "FusedConv", "NhwcFusedConv") for node in nodes)
