"""OpenVINO with NNCF's post-training quantization.

By "Performance Hints and Thread Scheduling" and "Basic Quantization Flow" of the OpenVINO 2026 documentation: LATENCY
hint with one stream for synchronous calls, static shapes, tensors shared instead of copied; NNCF's PERFORMANCE preset
(symmetric weights and activations). The FP32 model runs with the inference precision f32: left to itself the plugin
would run it in bfloat16 on CPUs that have it. With the INT8 model it is left to itself, so that it may run in bfloat16
what NNCF leaves unquantized.
"""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino as ov

VERSION = f"OpenVINO {ov.__version__.partition('-')[0]}, NNCF {nncf.__version__}"
FILE = "model.xml"


def make_fp32(onnx_model: Path, directory: Path) -> None:
    ov.save_model(ov.convert_model(onnx_model), directory / FILE, compress_to_fp16=False)


def make_int8(onnx_model: Path, images: np.ndarray, directory: Path) -> None:
    """Quantize with the calibration images float32 [n, 3, H, W]."""
    dataset = nncf.Dataset([image[None] for image in images])
    model = nncf.quantize(
        ov.convert_model(onnx_model), dataset, preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(images)
    )
    ov.save_model(model, directory / FILE, compress_to_fp16=False)


class Predictor:
    """`run`: float32 [n, 3, H, W] -> float32 [n, classes]. `precision`: fp32, int8, or bf16 of an FP32 model."""

    def __init__(self, directory: Path, precision: str, batch_size: int, threads: int) -> None:
        self._core, self._batch, self._directory = ov.Core(), batch_size, directory
        self._settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
        if hint := {"fp32": "f32", "bf16": "bf16"}.get(precision):
            self._settings["INFERENCE_PRECISION_HINT"] = hint
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}

    def prepare(self, shape: tuple[int, ...]) -> ov.InferRequest:
        """A request of a model compiled for this input shape; the partial batch gets one of its own."""
        if shape not in self._requests:
            model = self._core.read_model(self._directory / FILE)
            model.reshape(list(shape))
            self._requests[shape] = self._core.compile_model(model, "CPU", self._settings).create_infer_request()
        return self._requests[shape]

    def run(self, images: np.ndarray) -> np.ndarray:
        return self.prepare(images.shape).infer([images], share_inputs=True, share_outputs=True)[0]

    def int8_convolutions(self) -> tuple[int, int]:
        """Of the compiled graph's convolutions: those that run in INT8, and all."""
        return self._convolutions("i8", "u8")

    def bf16_convolutions(self) -> tuple[int, int]:
        return self._convolutions("bf16")

    def _convolutions(self, *types: str) -> tuple[int, int]:
        request = next(iter(self._requests.values()))
        nodes = [node.get_rt_info() for node in request.get_compiled_model().get_runtime_model().get_ops()]
        precisions = [n["runtimePrecision"].value.lower() for n in nodes if n["layerType"].value == "Convolution"]
        return sum(precision in types for precision in precisions), len(precisions)
