"""PyTorch: TorchInductor with frozen weights, and PT2E quantization by torchao's X86InductorQuantizer.

By "PyTorch 2 Export Quantization with X86 Backend through Inductor" (torchao) and the "Performance Tuning Guide"
(PyTorch): channels-last tensors, weights frozen so that oneDNN prepacks them, an allocator that keeps its memory. The
guide preloads jemalloc or TCMalloc for the last; here glibc's own is told to, which needs no other package and doubles
the speed at batch 50 just so.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np

from qat8 import allocation

os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")
allocation.keep()

import torch  # noqa: E402  (after what it reads at import)

# Of these packages for their own developers, and in the way of ours.
torch._logging.set_logs(all=logging.ERROR)
logging.getLogger("torchao").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module=r"(torch|torchao)(\.|$)")
import torch.ao.quantization.fx._decomposed  # noqa: E402  (registers operators that a saved model has)
import torchao  # noqa: E402
from torch._dynamo.utils import counters  # noqa: E402

VERSION = f"PyTorch {torch.__version__}, torchao {torchao.__version__}"
FILE = "model.pt2"
_CALIBRATION_BATCH = 10


def make_fp32(onnx_model: Path, directory: Path) -> None:
    torch.export.save(_export(*_network(onnx_model)), directory / FILE)


def make_int8(onnx_model: Path, images: np.ndarray, directory: Path) -> None:
    """Quantize with the calibration images float32 [n, 3, H, W]."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    network, shape = _network(onnx_model)
    with torch.no_grad():
        prepared = prepare_pt2e(_export(network, shape).module(), quantizer)
        for start in range(0, len(images), _CALIBRATION_BATCH):
            prepared(_tensor(images[start : start + _CALIBRATION_BATCH]))
        torch.export.save(_export(convert_pt2e(prepared), shape), directory / FILE)


def _network(onnx_model: Path) -> tuple[torch.nn.Module, tuple[int, ...]]:
    """The network, and its image's shape (3, H, W)."""
    from qat8.peers.torch_network import Network

    network = Network(onnx_model)
    return network.eval().to(memory_format=torch.channels_last), network.image_shape


def _export(module: torch.nn.Module, image_shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    example = (torch.zeros(2, *image_shape).to(memory_format=torch.channels_last),)
    with torch.no_grad():
        return torch.export.export(module, example, dynamic_shapes=({0: torch.export.Dim("batch", max=4096)},))


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).to(memory_format=torch.channels_last)


class Predictor:
    """`run`: float32 [n, 3, H, W] -> float32 [n, classes].

    The model is compiled for one batch size; a smaller last batch is filled up with zeros to that size.
    """

    def __init__(self, directory: Path, precision: str, batch_size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._batch = batch_size
        self._run = torch.compile(torch.export.load(directory / FILE).module(), dynamic=False)

    def prepare(self, shape: tuple[int, ...]) -> None:
        """Compile for `batch_size` images of this shape."""
        counters.clear()
        self.run(np.zeros(shape, np.float32))

    def run(self, images: np.ndarray) -> np.ndarray:
        n = len(images)
        if n < self._batch:
            images = np.concatenate([images, np.zeros((self._batch - n, *images.shape[1:]), np.float32)])
        return self._run(_tensor(images)).numpy()[:n]

    def int8_convolutions(self) -> tuple[int, int]:
        """Of the compiled graph's convolutions: those that Inductor lowered to oneDNN's INT8 kernel, and all."""
        done = counters["inductor"]
        quantized = done["qconv_weight_prepack_matcher_count"]
        return quantized, quantized + done["mkldnn_conv_weight_pack_matcher_count"]
