"""Weights of other tools: every reader on a file of its format, names and layouts of every tool, and the report."""

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from qat8 import manifests
from qat8.errors import ModelError
from qat8.models import pretrained, registry
from qat8.models.weights import architecture, formats, hdf5, layouts, lodtensor, matching, onnx_graph, pickles
from qat8.older_python import zip_strict

RNG = np.random.default_rng(1)


def array(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


# Files as the tools write them.


def lod_tensor(value: np.ndarray, code: int = 5, lod: tuple[bytes, ...] = ()) -> bytes:
    """What SerializeToStream writes."""

    def varint(n: int) -> bytes:
        return bytes([n & 0x7F | 0x80]) + varint(n >> 7) if n > 0x7F else bytes([n])

    description = b"\x08" + varint(code) + b"".join(b"\x10" + varint(n) for n in value.shape)
    levels = b"".join(struct.pack("<Q", len(level)) + level for level in lod)
    head = struct.pack("<IQ", 0, len(lod)) + levels + struct.pack("<Ii", 0, len(description))
    return head + description + value.tobytes()


class Storage:
    """Pickled as torch pickles a storage's class: a global of the module torch."""

    def __init__(self, name: str) -> None:
        self.name = name


def torch_pickle(state: dict[str, np.ndarray], storages: dict[str, np.ndarray], legacy: bool) -> bytes:
    """The pickle that torch.save makes, opcode by opcode, since torch itself is not installed."""
    out = io.BytesIO()
    out.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for key, (name, value) in enumerate(state.items()):
        storages[str(key)] = value
        kind = {"f4": "FloatStorage", "i8": "LongStorage", "f2": "HalfStorage"}[value.dtype.str[1:]]
        # Tensors are stored in the order of their memory; the strides say how to read it.
        strides = tuple(s // value.itemsize for s in value.strides)
        reference = [b"X" + struct.pack("<I", len(t)) + t for t in (b"storage", str(key).encode(), b"cpu")]
        out.write(b"X" + struct.pack("<I", len(name)) + name.encode())
        out.write(b"ctorch._utils\n_rebuild_tensor_v2\n((" + reference[0] + b"ctorch\n" + kind.encode() + b"\n")
        out.write(
            reference[1] + reference[2] + b"J" + struct.pack("<i", value.size) + (b"N" if legacy else b"") + b"tQ"
        )
        out.write(b"K\x00(" + b"".join(b"J" + struct.pack("<i", n) for n in value.shape) + b"t(")
        out.write(b"".join(b"J" + struct.pack("<i", n) for n in strides) + b"t\x89ccollections\nOrderedDict\n)RtR")
    out.write(b"u.")
    return out.getvalue()


def memory(value: np.ndarray) -> bytes:
    return value.T.tobytes() if value.flags.f_contiguous and value.ndim > 1 else value.tobytes()


def torch_zip(path, state: dict[str, np.ndarray]) -> None:
    storages = {}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", torch_pickle(state, storages, False))
        archive.writestr("model/byteorder", "little")
        for key, value in storages.items():
            archive.writestr(f"model/data/{key}", memory(value))


def torch_row(path, state: dict[str, np.ndarray]) -> None:
    storages = {}
    content = torch_pickle(state, storages, True)
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    with open(path, "wb") as f:
        f.write(b"".join(pickle.dumps(part, 2) for part in head) + content + pickle.dumps(list(storages), 2))
        for value in storages.values():
            f.write(struct.pack("<q", value.size) + memory(value))


# Paddle 1.x.


def test_a_lod_tensor_is_read_with_its_shape_and_type(tmp_path):
    for code, dtype in ((5, "<f4"), (6, "<f8"), (3, "<i8"), (4, "<f2")):
        value = np.arange(300, dtype=dtype).reshape(1, 300)  # 300: a size of two bytes
        (tmp_path / "w").write_bytes(lod_tensor(value, code, lod=(b"12345678",)))
        read = lodtensor.read_tensor(tmp_path / "w")
        assert read.dtype == dtype and np.array_equal(read, value)


def test_the_files_that_paddle_itself_writes_are_read(tmp_path):
    from qat8.engine import paddle

    paddle.enable_static()
    try:
        program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
        with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
            paddle.static.nn.fc(
                paddle.static.data("x", [None, 4]), 3, weight_attr="fc7_weights", bias_attr="fc7_offset"
            )
        executor = paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(scope):
            executor.run(startup)
            paddle.static.io.save_vars(executor, str(tmp_path), program, predicate=lambda v: v.persistable)
            wanted = {n: np.array(scope.find_var(n).get_tensor()) for n in ("fc7_weights", "fc7_offset")}
    finally:
        paddle.disable_static()
    source = formats.read(tmp_path)
    assert source.format == "paddle1" and source.tensors.keys() == wanted.keys()
    assert all(np.array_equal(source.tensors[name], value) for name, value in wanted.items())


def test_a_lod_tensor_that_ends_anywhere_or_goes_on_is_refused_by_its_files_name(tmp_path):
    whole = lod_tensor(array(2, 3))
    for content in (*(whole[:n] for n in range(17, len(whole))), whole + b"x", lod_tensor(array(2), 77)):
        (tmp_path / "conv1_weights").write_bytes(content)
        with pytest.raises(ModelError, match="conv1_weights"):
            formats.read(tmp_path)


# PyTorch.

STATE = OrderedDict(
    weight=array(4, 3), turned=np.asfortranarray(array(2, 5)), count=np.arange(3), half=np.ones(2, "<f2")
)


@pytest.mark.parametrize("write", [torch_zip, torch_row])
def test_both_forms_of_torch_save_are_read_strides_included(tmp_path, write):
    write(tmp_path / "m.pth", STATE)
    assert pickles.is_torch(tmp_path / "m.pth")
    source = formats.read(tmp_path / "m.pth")
    assert source.format == "torch" and list(source.tensors) == list(STATE)
    assert all(np.array_equal(source.tensors[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("write", [torch_zip, torch_row])
def test_a_pth_that_is_cut_off_anywhere_is_refused(tmp_path, write):
    write(tmp_path / "whole.pth", OrderedDict(w=array(3)))
    whole = (tmp_path / "whole.pth").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "m.pth").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"m\.pth"):
            formats.read(tmp_path / "m.pth")


def test_a_pth_that_would_run_a_command_is_refused_and_does_not_run_it(tmp_path):
    proof = tmp_path / "owned"

    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {proof}",)

    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"w": Attack()}, 2))
    with pytest.raises(ModelError, match=r"it wants to run posix\.system"):
        formats.read(tmp_path / "m.pth")
    assert not proof.exists()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((5,), (1,), 0), ((2, 2), (3, 1), 0), ((1,), (1,), 9), ((2,), (-1,), 1), ((-1,), (1,), 0)],
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(shape, strides, offset):
    tensor = pickles._Tensor(pickles._Storage("<f4", "0", 4), offset, shape, strides)
    with pytest.raises(ValueError, match="a tensor"):
        tensor.array(array(4).tobytes())


def test_a_state_dict_in_a_checkpoint_is_found_and_bfloat16_is_widened(tmp_path):
    values = np.array([1.5, -2.0], np.float32)
    storage = pickles._Tensor(pickles._Storage("<u2", "0", 2), 0, (2,), (1,))
    assert np.array_equal(storage.array((values.view(np.uint32) >> 16).astype("<u2").tobytes()), values)


# Safetensors, HDF5, ONNX.


def test_safetensors_are_read(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a.weight": array(2, 3)}, tmp_path / "m.safetensors")
    assert formats.read(tmp_path / "m.safetensors").tensors["a.weight"].shape == (2, 3)
    (tmp_path / "m.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="not readable as safetensors"):
        formats.read(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "path",
    ["model_weights/conv1/kernel", "model_weights/sub/conv1/kernel", "conv1/conv1/kernel:0", "conv1/conv1_W_1:0",
     "layers/conv1/vars/0"],
)  # fmt: skip
def test_keras_of_every_age_names_a_kernel_by_its_layer(tmp_path, path):
    import h5py

    with h5py.File(tmp_path / "m.h5", "w") as file:
        file[path] = array(3, 3, 2, 4)
        file["optimizer_weights/adam/conv1_kernel_momentum"] = array(2)
    named, left_out = hdf5.read(tmp_path / "m.h5")
    assert list(named) == ["conv1/kernel"] and left_out == 1


def test_keras_3_numbers_a_batch_norms_arrays_in_this_order(tmp_path):
    import h5py

    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for i in range(4):
            file[f"block1/layers/conv2d_1/vars/{i}"] = np.full(2, i, np.float32)
    named, _ = hdf5.read(tmp_path / "m.weights.h5")
    kinds = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert {name: value[0] for name, value in named.items()} == {f"block1_conv2/{k}": i for i, k in enumerate(kinds)}


@pytest.mark.parametrize(
    ("name", "module"),
    [("/layer1/layer1.0/downsample/downsample.0/Conv", "layer1.0.downsample.0"), ("/conv1/Conv", "conv1"),
     ("/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"), ("Conv_12", ""), ("", "")],
)  # fmt: skip
def test_pytorchs_node_names_tell_the_module(name, module):
    assert onnx_graph.module_of(name) == module


# Names and layouts, with every model whole.


def shapes(model: str) -> dict[str, tuple[int, ...]]:
    return registry.state_shapes(registry.get(model))


@pytest.mark.parametrize("model", registry.MODELS)
def test_the_architecture_names_every_array_of_the_model_and_no_other(model):
    named = set()
    for layer in architecture.layers(model):
        named |= {f"{layer.state}.weight"}
        named |= {f"{layer.norm}.{kind}" for kind in layouts.OURS} if layer.norm else {f"{layer.state}.bias"}
    assert named == set(shapes(model))


SMALL = ("MobileNetV1", "MobileNetV2", "ResNet50")  # VGGs are half a gigabyte; their table is checked above


def state(model: str) -> dict[str, np.ndarray]:
    return {name: array(*shape) ** 2 for name, shape in shapes(model).items()}


def theirs(layout: str, model: str, ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`ours` as the tool would have it."""
    (chosen,) = [one for one in layouts.LAYOUTS if one.name == layout]
    keras_axes = {"conv": (2, 3, 1, 0), "depthwise": (2, 3, 0, 1)}
    made = {}
    for layer in architecture.layers(model):
        weight = ours[f"{layer.state}.weight"]
        if layout == "torch" and layer.kind == "linear":
            weight = weight.T
        if layout == "keras" and layer.kind in keras_axes:
            weight = weight.transpose(keras_axes[layer.kind])
        made[chosen.weight(layer)[0]] = weight
        if layer.norm:
            made |= {t: ours[f"{layer.norm}.{o}"] for o, t in zip_strict(layouts.OURS, chosen.norm(layer))}
        else:
            made[chosen.bias(layer)[0]] = ours[f"{layer.state}.bias"]
    return made


# Not Keras's ResNet50, which computes something else (see below).
COMBINATIONS = [(layout, model) for layout in ("paddle", "torch", "paddle1") for model in SMALL]
COMBINATIONS += [("keras", "MobileNetV1"), ("keras", "MobileNetV2")]


@pytest.mark.parametrize(("layout", "model"), COMBINATIONS)
def test_what_a_tool_calls_the_arrays_comes_back_as_ours(tmp_path, layout, model):
    ours = state(model)
    found = matching.match(formats.Source(tmp_path, layout, theirs(layout, model, ours)), model, shapes(model))
    assert (found.layout, found.missing, found.unused, found.misfits) == (layout, [], [], [])
    assert found.origin == {"paddle": "", "keras": "tensorflow"}.get(layout, "paddle")
    epsilons = layouts.OUR_EPSILON.get(model, 1e-5), {"keras": 1e-3}.get(layout, 1e-5)
    moved = 0 if layout == "paddle" else epsilons[1] - epsilons[0]
    for name, value in ours.items():
        assert np.allclose(found.state[name], value + moved * name.endswith("_variance"), atol=1e-7), name


@pytest.mark.parametrize(("turned", "layout"), [(True, "torch"), (False, "paddle")])
def test_pytorchs_and_paddles_vgg_differ_in_nothing_but_the_linear_layers_shapes(turned, layout):
    sizes = {"classifier.0.weight": (25, 4), "classifier.3.weight": (4, 4), "classifier.6.weight": (4, 10)}
    tensors = {n.state + ".weight": array(1, 1, 3, 3) for n in architecture.layers("VGG16") if n.kind == "conv"}
    tensors |= {name: array(*(size[::-1] if turned else size)) for name, size in sizes.items()}
    assert layouts.recognise(architecture.layers("VGG16"), tensors).name == layout


def test_a_resnet_of_keras_is_refused_because_its_strides_lie_elsewhere(tmp_path):
    source = formats.Source(tmp_path / "r.h5", "hdf5", {"conv1/kernel": array(7, 7, 3, 64)})
    found = matching.Match("keras", "tensorflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_by_name", lambda *_: found)
        with pytest.raises(ModelError, match="strides in the blocks' first convolution"):
            matching.match(source, "ResNet50", {})


def test_what_is_missing_of_another_shape_and_unused_is_named_and_refused(tmp_path):
    ours = state("MobileNetV1")
    tensors = {**ours, "extra": array(2), "features.0.0.weight": array(32, 3, 5, 5)}
    del tensors["features.3.1._mean"]
    found = matching.match(formats.Source(tmp_path, "pdparams", tensors), "MobileNetV1", shapes("MobileNetV1"))
    assert found.missing == ["features.3.1._mean"] and found.unused == ["extra"]
    assert found.misfits == ["features.0.0.weight [32, 3, 5, 5], not [32, 3, 3, 3]"]
    assert found.lines()[0] == "matched: 135 arrays, layout paddle"
    with pytest.raises(ModelError, match=r"missing: features\.3\.1\._mean; of another shape: .*; unused: extra"):
        matching.require_whole(found, tmp_path / "w")
    found.missing, found.misfits = [], []
    matching.require_whole(found, tmp_path / "w", allow_unused=True)


def test_tensorflows_background_class_is_left_out_and_said(tmp_path):
    ours = state("MobileNetV1")
    tensors = theirs("keras", "MobileNetV1", ours)
    tensors["conv_preds/kernel"] = np.pad(ours["fc.weight"], ((0, 0), (1, 0)))[None, None]
    tensors["conv_preds/bias"] = np.pad(ours["fc.bias"], (1, 0))
    found = matching.match(formats.Source(tmp_path, "hdf5", tensors), "MobileNetV1", shapes("MobileNetV1"))
    assert np.array_equal(found.state["fc.weight"], ours["fc.weight"]) and not found.misfits
    assert any("class 0 of 1001 left out" in note for note in found.notes)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    ours = state("MobileNetV1")
    ours["fc.bias"][3] = np.nan
    with pytest.raises(ModelError, match=r"fc\.bias: not finite"):
        matching.match(formats.Source(tmp_path, "pdparams", ours), "MobileNetV1", shapes("MobileNetV1"))


def test_a_vggs_flatten_runs_over_channels_last_in_keras():
    (layer,) = [n for n in architecture.layers("VGG16") if n.keras[0] == "fc1"]
    features = array(512, 2, 2)
    weight = array(2 * 2 * 512, 3)
    assert np.allclose(features.transpose(1, 2, 0).reshape(-1) @ weight,
                       features.reshape(-1) @ layouts._keras_array(layer, weight), atol=1e-4)  # fmt: skip


def test_a_first_convolution_of_keras_takes_our_normalised_rgb():
    pixels = RNG.integers(0, 256, 3).astype(np.float32)  # of one RGB pixel
    weight, bias = array(5, 3, 1, 1), array(5)
    theirs_in = pixels[::-1] - np.array([103.939, 116.779, 123.68], np.float32)
    ours_in = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    found = matching.Match("keras", "tensorflow", {"features.0.weight": weight, "features.0.bias": bias})
    matching._fold_caffe_input(found)
    ours = found.state["features.0.weight"][:, :, 0, 0] @ ours_in + found.state["features.0.bias"]
    assert np.allclose(ours, weight[:, :, 0, 0] @ theirs_in + bias, atol=1e-2)


# ONNX graphs.


def node_name(module: str) -> str:
    """As PyTorch's exporter: features.0.1 -> /features/features.0/features.0.1."""
    parts: list[str] = []
    for word in module.split("."):
        parts.append(f"{parts[-1]}.{word}" if word.isdigit() else word)
    return "/" + "/".join(parts)


def onnx_file(path, model: str, ours: dict[str, np.ndarray], names: bool, norms: bool = False) -> None:
    """A chain of the model's layers with BatchNorm folded, as exporters leave it; only what the reader looks at."""
    from onnx import TensorProto, helper, numpy_helper, save

    nodes, tensors, pads = [], [], [0, 0, 1, 1] if model == "MobileNetV1" else [1, 1, 1, 1]
    for i, layer in enumerate(architecture.layers(model)):
        weight, module = ours[f"{layer.state}.weight"], node_name(layer.state)
        linear = layer.kind == "linear"
        bias = ours[f"{layer.state}.bias"] if linear or not layer.norm else ours[f"{layer.norm}.bias"]
        inputs = [f"x{i}", f"onnx::w_{i}"] + ([] if norms and layer.norm else [f"onnx::b_{i}"])
        tensors += [numpy_helper.from_array(weight.T if linear else weight, f"onnx::w_{i}")]
        tensors += [numpy_helper.from_array(bias, f"onnx::b_{i}")]
        kind, options = ("Gemm", {"transB": 1}) if linear else ("Conv", {"strides": [2, 2], "pads": pads})
        output = f"c{i}" if norms and layer.norm else f"x{i + 1}"
        nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{module}/{kind}" if names else f"{kind}_{i}", **options)
        )
        if norms and layer.norm:
            values = [f"onnx::n_{i}_{k}" for k in layouts.OURS]
            tensors += [
                numpy_helper.from_array(ours[f"{layer.norm}.{k}"], v) for k, v in zip_strict(layouts.OURS, values)
            ]
            nodes.append(helper.make_node("BatchNormalization", [output, *values], [f"x{i + 1}"], epsilon=1e-3))
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x0", f"x{len(architecture.layers(model))}")
    ]
    save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), str(path))


@pytest.mark.parametrize(("model", "names"), [("MobileNetV1", True), ("MobileNetV1", False), ("ResNet50", True)])
def test_a_graph_with_folded_batch_norms_gives_norms_that_only_add(tmp_path, model, names):
    ours = state(model)
    onnx_file(tmp_path / "m.onnx", model, ours, names)
    found = matching.match(formats.read(tmp_path / "m.onnx"), model, shapes(model))
    assert (found.missing, found.unused, found.misfits) == ([], [], [])
    assert found.origin == {"MobileNetV1": "tensorflow"}.get(model, "paddle")
    assert ("names" if names else "order") in found.layout
    epsilon = layouts.OUR_EPSILON.get(model, 1e-5)
    for layer in architecture.layers(model):
        assert np.array_equal(found.state[f"{layer.state}.weight"], ours[f"{layer.state}.weight"])
        if layer.norm:
            gain = found.state[f"{layer.norm}.weight"] / np.sqrt(found.state[f"{layer.norm}._variance"] + epsilon)
            assert np.allclose(gain, 1, atol=1e-6) and not found.state[f"{layer.norm}._mean"].any()
            assert np.array_equal(found.state[f"{layer.norm}.bias"], ours[f"{layer.norm}.bias"])


def test_a_graph_with_its_batch_norms_gives_them_as_they_are(tmp_path):
    ours = state("MobileNetV1")
    onnx_file(tmp_path / "m.onnx", "MobileNetV1", ours, names=False, norms=True)
    found = matching.match(formats.read(tmp_path / "m.onnx"), "MobileNetV1", shapes("MobileNetV1"))
    assert not found.missing and all(np.allclose(found.state[name], value, atol=1e-6) for name, value in ours.items())


def test_a_resnet_graph_without_names_is_refused_because_its_branches_look_alike(tmp_path):
    onnx_file(tmp_path / "m.onnx", "ResNet50", state("ResNet50"), names=False)
    with pytest.raises(ModelError, match="tell ResNet50's branches apart"):
        matching.match(formats.read(tmp_path / "m.onnx"), "ResNet50", shapes("ResNet50"))


# What training sees.


@pytest.mark.parametrize(("model", "origin"), [("MobileNetV1", "paddle"), ("MobileNetV2", "tensorflow")])
def test_the_other_tools_variant_of_a_model_has_the_same_state_and_another_function(model, origin):
    from qat8.engine import paddle

    row = registry.get(model)
    variant = row.for_weights_of(origin)
    assert registry.state_shapes(variant) == shapes(model)
    assert variant.preprocessing != row.preprocessing and row.for_weights_of("") == row
    values = {n: array(*v.shape) * 0.2 for n, v in state(model).items()}
    values = {n: paddle.to_tensor(np.abs(v) if n.endswith("_variance") else v) for n, v in values.items()}
    outputs = []
    for one in (row, variant):
        layer = one.build(1000)
        layer.set_state_dict(values)
        layer.eval()
        with paddle.no_grad():
            outputs.append(layer(paddle.to_tensor(array(1, 3, 64, 64))).numpy())
    assert outputs[0].shape == (1, 1000) and not np.allclose(*outputs)


def test_training_takes_other_formats_and_says_what_matched(tmp_path, capsys):
    from safetensors.numpy import save_file

    ours = state("MobileNetV2")
    tensors = {n: np.ascontiguousarray(v) for n, v in theirs("torch", "MobileNetV2", ours).items()}
    save_file({**tensors, "features.0.1.num_batches_tracked": np.zeros(1, np.int64)}, tmp_path / "m.safetensors")
    assert pretrained.origin(tmp_path / "m.safetensors", "MobileNetV2") == "paddle"
    read = pretrained.load(tmp_path / "m.safetensors", "MobileNetV2", shapes("MobileNetV2"))
    assert all(np.array_equal(read[name], value) for name, value in ours.items())
    assert "matched: 262 arrays, layout torch" in capsys.readouterr().out


def test_what_inv_weights_imported_says_itself_whose_it_is(tmp_path):

    np.savez(tmp_path / "weights.npz", a=np.zeros(1))
    assert pretrained.origin(tmp_path, "MobileNetV2") == ""
    manifests.write(tmp_path / "manifest.json", "weights", {}, {}, {}, origin="tensorflow")
    assert pretrained.origin(tmp_path, "MobileNetV2") == "tensorflow"
