"""Weights of other tools, as `inv weights --file` and `inv train --pretrained-model` read them."""

from __future__ import annotations

import functools
import io
import random
import struct
from pathlib import Path

import numpy as np
from attempts import Ending, Kind, command_line
from mutations import damaged

from kinds.common import one_of

MODEL = "MobileNetV2"  # whose weights are imported: it has convolutions, depthwise ones, BatchNorm and a linear layer


@functools.cache
def _shapes() -> dict:
    from qat8.models import registry

    return registry.state_shapes(registry.get(MODEL))


@functools.cache
def _arrays(layout: str) -> dict[str, np.ndarray]:
    """Arrays with the names that a tool gives the model's, and the right number of dimensions, but small."""
    from qat8.models.weights import architecture, layouts

    names = next(one for one in layouts.LAYOUTS if one.name == layout)
    found = {}
    for layer in architecture.layers(MODEL)[:: 1 if layout == "paddle" else 9]:
        shape = (2, 3) if layer.kind == "linear" else (2, 3, 3, 1)
        found[names.weight(layer)[-1]] = np.full(shape, 0.5, np.float32)
        for name in names.norm(layer) if layer.norm else names.bias(layer)[:1]:
            found[name] = np.ones(2, np.float32)
    return found


def weights_seeds() -> dict[str, bytes]:
    import pickle
    import tempfile

    import h5py
    import onnx
    import safetensors.numpy
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.types_pb2 import DT_FLOAT

    seeds, paddle, torch, keras = {}, _arrays("paddle"), _arrays("torch"), _arrays("keras")
    whole = io.BytesIO()
    np.savez(whole, **paddle)
    seeds["weights.npz"] = whole.getvalue()
    whole = io.BytesIO()
    np.savez_compressed(whole, **paddle)
    seeds["compressed.npz"] = whole.getvalue()
    for protocol in (2, 4):
        seeds[f"p{protocol}.pdparams"] = pickle.dumps(paddle, protocol)
    seeds["weights.safetensors"] = safetensors.numpy.save(torch)
    seeds["zip.pth"], seeds["row.pth"] = torch_files(torch)
    with tempfile.TemporaryDirectory() as place:
        with h5py.File(f"{place}/x.h5", "w") as file:
            for name, array in keras.items():
                file.create_dataset(f"model_weights/{name}:0", data=array, compression="gzip", chunks=array.shape)
        seeds["weights.h5"] = Path(place, "x.h5").read_bytes()
    nodes = [onnx.helper.make_node("Conv", ["x", name], [f"y{i}"], f"/{name.removesuffix('.weight')}/Conv")
             for i, (name, a) in enumerate(torch.items()) if a.ndim == 4]  # fmt: skip
    initializers = [onnx.numpy_helper.from_array(a, name) for name, a in torch.items()]
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializers)
    seeds["weights.onnx"] = onnx.helper.make_model(graph).SerializeToString()
    frozen = GraphDef()
    for name, array in keras.items():
        node = frozen.node.add(name=f"MobilenetV1/{name}", op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = DT_FLOAT, array.tobytes()
        for side in array.shape:
            tensor.tensor_shape.dim.add(size=side)
    seeds["graph.pb"] = frozen.SerializeToString()
    return seeds


def torch_files(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """What torch.save writes of a state dict, without PyTorch: the zip form, and the older row of pickles."""
    import pickle
    import zipfile

    class Global:
        """Pickled as a reference to MODULE.NAME, whether that is there or not."""

        def __init__(self, module: str, name: str) -> None:
            self.text = f"c{module}\n{name}\n".encode()

    class Pickler(pickle._Pickler):
        dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

        def save_global_text(self, value):
            self.write(value.text)

        dispatch[Global] = save_global_text

        def persistent_id(self, value):
            return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

        def save_tensor(self, value):
            key, array = value.key, value.array
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            strides = tuple(s // array.itemsize for s in array.strides)
            reference = ("storage", Global("torch", "FloatStorage"), key, "cpu", array.size)
            if value.row:
                reference = (*reference, None)
            self.save((reference, 0, array.shape, strides, False, {}))
            self.write(pickle.REDUCE)

    class Tensor:
        def __init__(self, key: str, array: np.ndarray, row: bool) -> None:
            self.key, self.array, self.row = key, np.ascontiguousarray(array), row

    Pickler.dispatch[Tensor] = Pickler.save_tensor

    def dumped(value) -> bytes:
        out = io.BytesIO()
        Pickler(out, 2).dump(value)
        return out.getvalue()

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        state = {name: Tensor(str(i), a, False) for i, (name, a) in enumerate(tensors.items())}
        archive.writestr("archive/data.pkl", dumped(state))
        archive.writestr("archive/byteorder", b"little")
        for i, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{i}", np.ascontiguousarray(array).tobytes())
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    row = b"".join(map(dumped, (0x1950A86A20F9469CFC6C, 1001, system)))
    row += dumped({name: Tensor(str(i), a, True) for i, (name, a) in enumerate(tensors.items())})
    row += dumped([str(i) for i in range(len(tensors))])
    for array in tensors.values():
        row += struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes()
    return zipped.getvalue(), row


def _import_weights(path: Path) -> Ending:
    from qat8.models import registry
    from qat8.stages import weights

    shapes, before = _shapes(), registry.state_shapes
    registry.state_shapes = lambda model: shapes  # which takes a second
    try:
        return command_line(weights.main, f"--model={MODEL}", f"--file={path}", f"--output-dir={path.parent / 'out'}",
                            "--backbone-only")  # fmt: skip
    finally:
        registry.state_shapes = before


def _pretrained(path: Path) -> Ending:
    """As `inv train --pretrained-model` reads it."""
    from qat8.models import pretrained

    def main(_: list[str]) -> None:
        pretrained.origin(path, MODEL)
        pretrained.check(pretrained.load(path, MODEL, _shapes()), _shapes(), path)

    return command_line(main)


def _paddle1_directory(r: random.Random, directory: Path) -> Path:
    import lodtensor_writer

    place = directory / "parameters"
    place.mkdir()
    for i, (name, array) in enumerate(_arrays("paddle1").items()):
        content = lodtensor_writer.encode(array)
        (place / name).write_bytes(damaged(content, r) if i < 2 or r.random() < 0.05 else content)
    return place


def weights() -> list[Kind]:
    _shapes()
    seeds, kinds = weights_seeds(), []
    for name, content in seeds.items():
        short = {name: content}
        kinds.append(Kind(f"weights {name}", one_of(short), _import_weights, (3, 4), 150, 6, group="weights"))
    kinds.append(Kind("weights directory", _paddle1_directory, _import_weights, (3, 4), 150, 6, group="weights"))
    kinds.append(Kind("pretrained", one_of(seeds), _pretrained, (3, 4), 300, 6, group="weights"))
    return kinds
