"""A GraphDef's constants become Paddle's layout. The graph here is a MobileNet-V1 with a few channels."""

import numpy as np
import pytest
from tensorboardX.proto.graph_pb2 import GraphDef
from tensorboardX.proto.types_pb2 import DT_FLOAT, DT_INT32

from qat8.errors import ModelError
from qat8.models import tensorflow_weights as tf

CHANNELS, CLASSES = 2, 5
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def constants() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def some(*shape):
        return random.normal(size=shape).astype(np.float32)

    found = {"Conv2d_0/weights": some(3, 3, 3, CHANNELS)}
    layers = ["Conv2d_0"]
    for block in range(1, 14):
        found[f"Conv2d_{block}_depthwise/depthwise_weights"] = some(3, 3, CHANNELS, 1)
        found[f"Conv2d_{block}_pointwise/weights"] = some(1, 1, CHANNELS, CHANNELS)
        layers += [f"Conv2d_{block}_depthwise", f"Conv2d_{block}_pointwise"]
    found |= {f"{layer}/BatchNorm/{name}": some(CHANNELS) for layer in layers for name in NORM}
    found["Logits/Conv2d_1c_1x1/weights"] = some(1, 1, CHANNELS, CLASSES)
    found["Logits/Conv2d_1c_1x1/biases"] = some(CLASSES)
    return found


def save(path, values: dict[str, np.ndarray], as_list=()) -> None:
    graph = GraphDef()
    for name, value in values.items():
        node = graph.node.add(name=f"MobilenetV1/{name}", op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype = DT_FLOAT
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        if name in as_list:
            tensor.float_val.extend(value.ravel().tolist())
        else:
            tensor.tensor_content = value.astype("<f4").tobytes()
    graph.node.add(name="input", op="Placeholder")
    number = graph.node.add(name="MobilenetV1/step", op="Const").attr["value"].tensor
    number.dtype = DT_INT32
    number.int_val.append(7)
    path.write_bytes(graph.SerializeToString())


@pytest.fixture
def state(tmp_path):
    given = constants()
    save(tmp_path / "graph.pb", given, as_list=("Logits/Conv2d_1c_1x1/biases",))
    return given, tf.mobilenet_v1_state(tmp_path / "graph.pb")


def test_convolutions_turn_from_hwio_to_oihw(state):
    given, read = state
    for layer, name in ((0, "Conv2d_0"), (2, "Conv2d_1_pointwise"), (26, "Conv2d_13_pointwise")):
        theirs, ours = given[f"{name}/weights"], read[f"features.{layer}.0.weight"]
        h, w, i, o = theirs.shape
        assert ours.shape == (o, i, h, w)
        assert all(
            ours[c, d, y, x] == theirs[y, x, d, c]
            for y in range(h)
            for x in range(w)
            for d in range(i)
            for c in range(o)
        )


def test_depthwise_convolutions_keep_a_filter_per_channel(state):
    given, read = state
    theirs, ours = given["Conv2d_13_depthwise/depthwise_weights"], read["features.25.0.weight"]
    assert ours.shape == (CHANNELS, 1, 3, 3) and ours.flags.c_contiguous
    assert all(np.array_equal(ours[c, 0], theirs[:, :, c, 0]) for c in range(CHANNELS))


def test_batch_norm_keeps_its_four_vectors_apart(state):
    given, read = state
    ours = {"gamma": "weight", "beta": "bias", "moving_mean": "_mean", "moving_variance": "_variance"}
    for theirs, name in ours.items():
        assert np.array_equal(read[f"features.1.1.{name}"], given[f"Conv2d_1_depthwise/BatchNorm/{theirs}"])


def test_the_background_class_is_dropped_from_weights_and_biases(state):
    given, read = state
    assert np.array_equal(read["fc.weight"], given["Logits/Conv2d_1c_1x1/weights"][0, 0, :, 1:])
    assert np.array_equal(read["fc.bias"], given["Logits/Conv2d_1c_1x1/biases"][1:])


def test_the_state_has_the_names_and_the_order_of_our_mobilenet(state):
    from qat8.models.mobilenet_v1 import MobileNetV1

    _, read = state
    assert read.keys() == MobileNetV1(2).state_dict().keys()
    assert all(value.dtype == np.float32 for value in read.values())


@pytest.mark.parametrize(
    "name",
    ["Conv2d_0/weights", "Conv2d_7_depthwise/depthwise_weights", "Conv2d_3_pointwise/BatchNorm/moving_variance",
     "Logits/Conv2d_1c_1x1/biases"],
)  # fmt: skip
def test_a_missing_constant_is_named(tmp_path, name):
    rest = {key: value for key, value in constants().items() if key != name}
    save(tmp_path / "graph.pb", rest)
    with pytest.raises(ModelError, match=rf"graph\.pb: no constant MobilenetV1/{name}"):
        tf.mobilenet_v1_state(tmp_path / "graph.pb")


@pytest.mark.parametrize("content", [b"", b"garbage, not protobuf", bytes(64), b"\xff" * 100])
def test_what_is_no_graph_of_this_network_is_refused_by_name(tmp_path, content):
    (tmp_path / "graph.pb").write_bytes(content)
    with pytest.raises(ModelError, match=r"graph\.pb: (not a TensorFlow GraphDef|no constant)"):
        tf.mobilenet_v1_state(tmp_path / "graph.pb")


def test_only_float_constants_are_read(tmp_path):
    save(tmp_path / "graph.pb", {"Conv2d_0/weights": np.ones((1, 1, 1, 1), np.float32)})
    assert tf.read_constants(tmp_path / "graph.pb").keys() == {"MobilenetV1/Conv2d_0/weights"}
