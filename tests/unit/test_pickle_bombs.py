"""No path on which qat8 reads a file runs code from it: a real bomb for each, which goes off in Python's own reader."""

import io
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qat8 import config, manifests
from qat8.errors import DataError, ModelError, QatError, UsageError
from qat8.models import pretrained
from qat8.models.weights import formats
from qat8.training.checkpoint import Checkpoints, Position


class Bomb:
    """Unpickled by Python's own unpickler, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def bomb(tmp_path):
    """The bomb, which was seen to go off, and the place where it would leave its trace."""
    proof = tmp_path / "proof"
    pickle.loads(pickle.dumps(Bomb(proof)))
    assert proof.is_dir(), "this bomb is a dud: the tests below would prove nothing"
    proof.rmdir()
    yield Bomb(proof)
    assert not proof.exists(), "it went off"


def npz(bomb: Bomb, allow_pickle: bool = True) -> bytes:
    out = io.BytesIO()
    np.savez(out, weight=np.array([bomb], dtype=object))
    return out.getvalue()


def pth(bomb: Bomb) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"conv1.weight": bomb}, 2))
        archive.writestr("archive/data/0", bytes(4))
    return out.getvalue()


def row_pth(bomb: Bomb) -> bytes:
    """torch.save's older form; the bomb is in the content."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"conv1.weight": bomb}, [])
    return b"".join(pickle.dumps(part, 2) for part in parts)


def row_pth_at_once(bomb: Bomb) -> bytes:
    """The bomb is in what only tells of the system."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": bomb}, {}, [])
    return b"".join(pickle.dumps(part, 2) for part in parts)


FILES = {
    "model.pdparams": lambda b: pickle.dumps({"conv1.weight": b}, 2),
    "protocol4.pdparams": lambda b: pickle.dumps(b, 4),
    "state.pdopt": lambda b: pickle.dumps({"StructuredToParameterName@@": b}),
    "weights.npz": npz,
    "model.pth": pth,
    "old.pth": row_pth,
    "older.pth": row_pth_at_once,
    **dict.fromkeys(("weights.safetensors", "weights.h5", "model.onnx", "graph.pb"), pickle.dumps),
}


@pytest.mark.parametrize("name", FILES)
def test_weights_with_a_bomb_are_refused_and_it_does_not_go_off(tmp_path, bomb, name):
    path = tmp_path / name
    path.write_bytes(FILES[name](bomb))
    for read in (formats.read, pretrained.read, lambda p: pretrained.origin(p, "MobileNetV1")):
        with pytest.raises(ModelError):
            read(path)


def test_a_directory_of_parameters_with_a_bomb_is_refused(tmp_path, bomb):
    place = tmp_path / "parameters"
    place.mkdir()
    (place / "conv1_weights").write_bytes(bytes(16) + pickle.dumps(bomb))
    with pytest.raises(ModelError):
        formats.read(place)


def test_an_hdf5_file_of_pickled_objects_is_refused(tmp_path, bomb):
    import h5py

    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["conv1/kernel:0"] = np.void(pickle.dumps(bomb))
        file.attrs["model_config"] = np.void(pickle.dumps(bomb))
    assert formats.read(path).tensors == {}  # bytes, which are no numbers and which nobody looks into


def test_a_checkpoint_with_a_bomb_starts_anew(tmp_path, bomb, capsys):
    class Session:
        persistables = ("weight",)

        def get(self, name):
            return np.zeros(1, np.float32)

        def set(self, name, value):
            raise AssertionError("something of it was taken")

    (tmp_path / "latest.npz").write_bytes(npz(bomb))
    (tmp_path / "best.npz").write_bytes(pickle.dumps(bomb))
    checkpoints = Checkpoints(tmp_path, Session())
    assert checkpoints.resume("me") == Position("me") and checkpoints.load_best("me") is None
    assert "is not readable" in capsys.readouterr().out


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_a_configuration_with_a_bomb_is_refused(tmp_path, bomb, tag):
    import yaml

    (tmp_path / "bomb.yaml").write_text(f"seed: {tag} [{bomb.proof}]\n")
    yaml.unsafe_load(f"{tag} [{bomb.proof}]")
    bomb.proof.rmdir()
    with pytest.raises(UsageError, match="not readable as YAML"):
        config.load(tmp_path / "bomb.yaml")
    with pytest.raises(UsageError, match="not readable as YAML"):
        config.load(None, {"seed": f"{tag} [{bomb.proof}]"})


@pytest.mark.parametrize("of", ["model.pdmodel", "model.pdiparams"])
@pytest.mark.parametrize("load", ["predictor", "passes"])
def test_a_pickle_in_the_place_of_paddles_files_is_not_run(tmp_path, bomb, of, load):
    from qat8 import prediction
    from qat8.int8 import passes

    for name in ("model.pdmodel", "model.pdiparams"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / of).write_bytes(pickle.dumps(bomb))
    with pytest.raises(ModelError):
        prediction.predictor(tmp_path, 1) if load == "predictor" else passes.load(str(tmp_path / "model"))


@pytest.mark.parametrize("loader", ["results", "latencies", "datafile", "manifest"])
def test_a_pickle_in_the_place_of_another_file_is_not_run(tmp_path, bomb, loader):
    from qat8 import datafile, latencies, results

    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(bomb))
    shutil.copy(path, manifests.path_of(path))
    read = {"results": results.load, "latencies": latencies.load, "datafile": datafile.read_header,
            "manifest": manifests.read}[loader]  # fmt: skip
    with pytest.raises(DataError):
        read(path)


def test_an_image_that_is_a_program_for_ghostscript_is_not_run(tmp_path, bomb, monkeypatch):
    from qat8 import imaging

    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\nmkdir {bomb.proof}\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    header = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    (tmp_path / "photograph.jpg").write_text(header)
    with pytest.raises(DataError, match="none of the formats that are read"):
        imaging.decode(tmp_path / "photograph.jpg", imaging.IMAGENET)


# Memory corruption by data alone, which NumPy's own constructors allow.


def array_of_pointers(flags: int) -> bytes:
    """An array whose type says that its bytes are pointers to Python objects."""
    state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, flags)

    class Type:
        def __reduce__(self):
            return np.dtype, ("V8", False, True), state

    class Array:
        def __reduce__(self):
            rebuild = np.core.multiarray._reconstruct
            return rebuild, (np.ndarray, (0,), b"b"), (1, (1,), Type(), False, b"\x41" * 8)

    return pickle.dumps({"conv1.weight": Array()}, 2)


def test_numpys_own_constructors_follow_a_pointer_out_of_a_file(tmp_path):
    """Why ours are used: reading this with NumPy's alone, and letting it go, ends the process by a signal."""
    path = tmp_path / "model.pdparams"
    path.write_bytes(array_of_pointers(1))
    code = f"import pickle, numpy; x = pickle.load(open({str(path)!r}, 'rb')); del x"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -11


@pytest.mark.parametrize("flags", [0, 1, 3, 27, 63])
def test_an_array_of_pointers_is_refused_before_it_is_one(tmp_path, flags):
    (tmp_path / "model.pdparams").write_bytes(array_of_pointers(flags))
    with pytest.raises(ModelError, match="not of numbers"):
        formats.read(tmp_path / "model.pdparams")


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "exhaust the memory"),  # a memo of two thousand million places
        (b"\x80\x02)" + b"\x85" * 100_000 + b"N}\x94h\x00.", "exhaust"),  # tuples within tuples
        (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R.", "not of numbers"),
        (b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.", "it wants to change"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x03\x00\x00\x00hex\x86R.", "text in 'hex'"),
    ],
)
def test_a_pickle_that_is_made_to_harm_the_reader_is_refused(tmp_path, content, fact):
    (tmp_path / "model.pdparams").write_bytes(content)
    with pytest.raises(ModelError, match=fact):
        formats.read(tmp_path / "model.pdparams")


def test_a_few_kilobytes_that_unpack_to_more_than_any_weights_are_refused(tmp_path, monkeypatch):
    from qat8.models.weights import pickles

    monkeypatch.setattr(pickles, "MOST_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "weights.npz", weight=np.zeros(1 << 20, np.float32))
    assert (tmp_path / "weights.npz").stat().st_size < 10_000
    with pytest.raises(QatError, match="bytes when unpacked"):
        formats.read(tmp_path / "weights.npz")


@pytest.mark.parametrize("how", ["link", "external", "virtual"])
def test_an_hdf5_file_that_points_to_another_file_is_refused(tmp_path, how):
    import h5py

    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros(4, np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        if how == "link":
            file["model_weights"] = h5py.ExternalLink("other.h5", "/")
        elif how == "external":
            file.create_dataset("conv1/kernel", (4,), "f4", external=[(str(tmp_path / "other.h5"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", (4,))
            file.create_virtual_dataset("conv1/kernel", layout)
    with pytest.raises(ModelError, match="lies in another file"):
        formats.read(tmp_path / "weights.h5")
