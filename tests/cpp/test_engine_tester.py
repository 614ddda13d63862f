"""Our own engine: the scores of Paddle's predictor to the last bit, without Paddle; damaged files are refused."""

import dataclasses
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qat8 import instructions
from qat8.datafile import Reader
from qat8.export import file
from qat8.soak import watch
from qat8.stages import export

HERE = Path(__file__).parent
BOTH = pytest.mark.parametrize("precision", ["fp32", "int8"])
# Without VNNI the weights behind a signed input are halved: of an odd level, Paddle's float32 and our integer round the
# half to different sides (docs/engine.md).
WITH_VNNI = pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU has no AVX-512 VNNI: weights are halved")
PADDLES_ARITHMETIC = pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=WITH_VNNI)])


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("engine_models")
    done = subprocess.run([sys.executable, HERE / "engine_models.py", directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    export.main([f"--fp32-model={directory / 'fp32'}", f"--int8-model={directory / 'int8'}"])
    return directory


@pytest.fixture(scope="session")
def scores(build, data, tmp_path_factory):
    """`scores(file, batch, micro_batch)`: the engine's scores of the 37 images."""
    out = tmp_path_factory.mktemp("scores") / "scores"

    def run(path: Path, batch: int = 37, micro_batch: int = 0, threads: int = 1, kind: str = "float32",
            own_kernels: bool = True, **variables: str) -> SimpleNamespace:  # fmt: skip
        command = [build / "dump_scores", path, data[kind], 32, batch, micro_batch, out, int(own_kernels)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), **variables}
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env, timeout=60)
        values = np.fromfile(out, np.float32) if done.returncode == 0 else None
        given, transformed = done.stdout.split() if done.returncode == 0 else ("", 0)
        return SimpleNamespace(code=done.returncode, err=done.stderr, values=values, input=given,
                               transformed=int(transformed))  # fmt: skip

    return run


@pytest.fixture(scope="session")
def paddles_scores(exported, data):
    """What Paddle's own predictor gives for the same images, in batches of `batch`."""
    from qat8.prediction import predictor

    def run(precision: str, batch: int) -> np.ndarray:
        predict = predictor(exported / precision, 1)
        with Reader(data["float32"]) as reader:
            return np.concatenate([predict(images) for images, _ in reader.batches(batch)])

    return run


@PADDLES_ARITHMETIC
@pytest.mark.parametrize(("batch", "micro_batch"), [(1, 1), (37, 37), (37, 4), (10, 0)])
def test_the_engine_gives_paddles_scores_to_the_last_bit(
    exported, scores, paddles_scores, precision, batch, micro_batch
):
    expected = paddles_scores(precision, batch)
    assert len(np.unique(expected.round(2), axis=0)) == 37, "the model says the same of all images: nothing is compared"
    done = scores(exported / f"engine/{precision}.qat8", batch, micro_batch)
    assert done.code == 0, done.err
    assert np.array_equal(done.values.reshape(expected.shape), expected)


@pytest.mark.skipif(not instructions.has_vbmi(), reason="this CPU has no AVX-512 VBMI: float32 it stays")
@pytest.mark.parametrize(("batch", "micro_batch"), [(1, 1), (37, 4), (10, 0)])
def test_uint8_images_go_into_the_int8_model_as_they_are_and_give_the_same_scores(exported, scores, batch, micro_batch):
    floats = scores(exported / "engine/int8.qat8", batch, micro_batch)
    found = scores(exported / "engine/int8.qat8", batch, micro_batch, kind="uint8")
    assert (floats.input, found.input) == ("float32", "uint8")
    assert np.array_equal(found.values, floats.values)


FEWER = [{"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, {"own_kernels": False}, {"precision": "fp32"}]


@pytest.mark.parametrize("fewer", FEWER)
def test_uint8_images_are_normalised_before_where_the_model_or_the_instructions_want_float32(exported, scores, fewer):
    how = {"precision": "int8", **fewer}
    model = exported / f"engine/{how.pop('precision')}.qat8"
    found = scores(model, kind="uint8", **how)
    assert found.input == "float32"
    assert np.array_equal(found.values, scores(model, **how).values)


@pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU has no AVX-512 VNNI: oneDNN does it all")
def test_winograds_kernel_does_what_it_pays_for_and_gives_the_scores_of_onednn(exported, scores):
    model = exported / "engine/int8.qat8"
    onednn = scores(model, own_kernels=False)
    for batch, convolutions in ((1, 2), (37, 3)):
        found = scores(model, batch, batch)
        assert (found.transformed, onednn.transformed) == (convolutions, 0)
        assert np.array_equal(found.values, onednn.values)
    assert scores(model, ONEDNN_MAX_CPU_ISA="AVX512_CORE").transformed == 0


def test_a_linear_layer_on_several_pixels_sums_in_another_order_than_paddle(exported, scores, paddles_scores, tmp_path):
    from qat8.export import program

    expected = paddles_scores("pixels", 37)
    file.write(tmp_path / "pixels.qat8", program.export(exported / "pixels", "fp32"))
    values = scores(tmp_path / "pixels.qat8").values.reshape(expected.shape)
    assert values == pytest.approx(expected, abs=1e-5 * np.abs(expected).max())
    assert np.array_equal(values.argmax(1), expected.argmax(1)) and len(np.unique(expected.round(4), axis=0)) == 37


def test_fp32_and_int8_differ_so_that_int8_is_not_fp32_under_another_name(exported, scores):
    fp32, int8 = (scores(exported / f"engine/{precision}.qat8").values for precision in ("fp32", "int8"))
    assert not np.array_equal(fp32, int8)
    assert np.corrcoef(fp32, int8)[0, 1] > 0.9


@pytest.mark.parametrize("isa", ["", "AVX2", "SSE41"])
def test_two_threads_give_the_scores_of_one_each_time(exported, scores, isa):
    """The model has a strided pointwise convolution of 24 channels, in which oneDNN's threads disturb each other
    without VNNI (network.cc)."""
    one = scores(exported / "engine/int8.qat8", ONEDNN_MAX_CPU_ISA=isa).values
    for _ in range(5):
        two = scores(exported / "engine/int8.qat8", threads=2, ONEDNN_MAX_CPU_ISA=isa).values
        assert two == pytest.approx(one, abs=1e-4)


@PADDLES_ARITHMETIC
def test_the_engines_tester_counts_what_the_cpp_tester_counts(run, exported, data, precision):
    ours = run("engine", infer_model=exported / f"engine/{precision}.qat8", infer_data=data["uint8"], batch_size=10)
    theirs = run("cpp", infer_model=exported / precision, infer_data=data["uint8"], batch_size=10)
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert ours.json.predictions == theirs.json.predictions
    assert (ours.json.top1, ours.json.top5, ours.json.images) == (theirs.json.top1, theirs.json.top5, 37)
    assert (ours.json.tester, theirs.json.tester) == ("engine", "cpp")
    assert ours.json.paddle_version == "oneDNN 3.2.1"
    assert ours.json.partial_batch.images == 7 and len(ours.json.latencies_ms) == 3


def test_the_engines_tester_needs_neither_paddle_nor_python(build):
    needed = subprocess.run(["ldd", build / "engine_tester"], capture_output=True, text=True, check=True).stdout
    assert "libdnnl" in needed
    assert "libpaddle" not in needed and "libpython" not in needed


def test_a_model_that_ends_in_softmax_gives_probabilities(models, scores, tmp_path):
    from qat8.export import program

    file.write(tmp_path / "plain.qat8", program.export(models / "plain", "fp32"))
    values = scores(tmp_path / "plain.qat8").values.reshape(37, 10)
    assert values.sum(1) == pytest.approx(np.ones(37), abs=1e-6) and values.min() >= 0


@pytest.mark.parametrize(
    ("code", "words", "flags"),
    [
        (2, ["--int8_online", "Paddle's tester"], {"int8_online": "true"}),
        (2, ["--with_accuracy_layer"], {"with_accuracy_layer": "true"}),
        (4, ["no_such.qat8", "inv export"], {"infer_model": "no_such.qat8"}),
        (4, ["not a regular file"], {"infer_model": "."}),
    ],
)
def test_what_the_engine_cannot_do_is_one_line(fails, exported, data, code, words, flags):
    given = {"infer_model": exported / "engine/int8.qat8", "infer_data": data["float32"], **flags}
    fails("engine", code, *words, **given)


def test_images_of_another_size_are_refused(fails, exported, small_images):
    fails("engine", 3, "3 x 16 x 16", "3 x 32 x 32", infer_model=exported / "engine/int8.qat8", infer_data=small_images)


@pytest.mark.parametrize("flag", [{"micro_batch": 4}, {"own_kernels": "false"}])
def test_the_engines_flags_are_refused_by_paddles_tester(fails, exported, data, flag):
    fails("cpp", 2, *(f"--{name}" for name in flag), infer_model=exported / "fp32", infer_data=data["float32"], **flag)


# Batch sizes that change.


def growth(command: list[str], capacity: str, seconds: float = 4.0) -> float:
    """MiB of memory after the warm-up, with so many of oneDNN's primitives kept; "": as the tester has it."""
    env = {"OMP_NUM_THREADS": "1"} | ({"ONEDNN_PRIMITIVE_CACHE_CAPACITY": capacity} if capacity else {})
    (found,) = watch.watch({"tester": [*command, f"--duration={seconds}"]}, env, seconds, every=0.1)
    return next(g.growth for g in found.growth if g.quantity == "anonymous") / 2**20


@pytest.fixture
def soak(commands, exported, data) -> list[str]:
    return [*commands["engine"], f"--infer_model={exported / 'engine/int8.qat8'}", f"--infer_data={data['float32']}",
            "--scenario=soak", "--vary_batch", "--batch_size=16", "--micro_batch=16"]  # fmt: skip


@pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU's kernels lose nothing: AVX-512 VNNI's do")
def test_oneDNN_loses_memory_with_each_primitive_that_it_evicts(soak):
    """oneDNN 3.2.1. If a later one does not, KeepPrimitives of sample_tester.cc can go."""
    assert growth(soak, "20") > 5


def test_networks_of_other_batch_sizes_do_not_pile_up_and_primitives_are_never_evicted(soak):
    assert growth(soak, "") < 1


# Damaged and hostile files.


def sealed(content: bytes) -> bytes:
    """With sums that fit, as somebody who means harm would have them."""
    body = content[64:]
    header = bytearray(content[:60])
    header[40:44] = struct.pack("<I", zlib.crc32(body))
    return bytes(header) + struct.pack("<I", zlib.crc32(bytes(header))) + body


def changed(content: bytes, offset: int, form: str, value) -> bytes:
    return content[:offset] + struct.pack(form, value) + content[offset + struct.calcsize(form) :]


@pytest.fixture
def hostile(exported, scores, tmp_path):
    """`hostile(content)`: the end of a run on a file with this content."""

    def run(content: bytes) -> SimpleNamespace:
        (tmp_path / "hostile.qat8").write_bytes(content)
        return scores(tmp_path / "hostile.qat8", micro_batch=37)

    run.content = (exported / "engine/int8.qat8").read_bytes()
    run.operators = 64 + 16 * struct.unpack_from("<I", run.content, 24)[0]
    return run


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c[:40], "not a model of the engine"),
        (lambda c: b"", "not a model of the engine"),
        (lambda c: b"X" + c[1:], "not a model of the engine"),
        (lambda c: changed(c, 8, "<I", 2), "CRC-32"),
        (lambda c: sealed(changed(c, 8, "<I", 2)), "version 2"),
        (lambda c: sealed(changed(c, 12, "<I", 3)), "precision 3"),
        (lambda c: c[:-1], "as its header says"),
        (lambda c: c + b"\0", "as its header says"),
        (lambda c: c[:-9] + b"\xff" + c[-8:], "damaged"),
        (lambda c: sealed(changed(c, 24, "<I", 0)), "0 tensors"),
        (lambda c: sealed(changed(c, 24, "<I", 60000)), "the arrays start"),
        (lambda c: sealed(changed(c, 28, "<I", 2**32 - 1)), "4294967295 operators"),
        (lambda c: sealed(changed(c, 32, "<Q", 2**63)), "the arrays start"),
        (lambda c: sealed(changed(c, 64, "<I", 7)), "tensor 0 has dtype 7"),
        (lambda c: sealed(changed(c, 68, "<I", 4)), "tensor 0 is no image"),
        (lambda c: sealed(changed(c, 72, "<I", 2**31)), "tensor 0 has dtype"),
    ],
)
def test_a_damaged_header_is_refused_by_saying_what_is_wrong(hostile, damage, words):
    done = hostile(damage(hostile.content))
    assert done.code == 4 and words in done.err and done.err.count("\n") == 1, done.err


@pytest.mark.parametrize(
    ("operator", "offset", "form", "value", "words"),
    [
        (1, 0, "<I", 0, "of kind 0"),
        (1, 0, "<I", 200, "of kind 200"),
        (1, 4, "<I", 9999, "a tensor that is not there"),
        (1, 4, "<I", 5, "before it is written"),
        (0, 12, "<I", 0, "for the second time"),
        (1, 16, "<I", 2**31, "bad kernel"),
        (1, 24, "<I", 0, "bad window"),
        (1, 32, "<I", 2**32 - 1, "pads more"),
        (1, 32, "<I", 2, "another size"),
        (1, 56, "<I", 0, "bad groups"),
        (1, 60, "<I", 9, "unknown activation"),
        (1, 72, "<f", float("nan"), "not a positive number"),
        (1, 80, "<f", 0.0, "not a positive number"),
        (1, 84, "<I", 1, "types"),
        (1, 88, "<Q", 2**63, "outside the file"),
        (1, 88, "<Q", 32, "outside the file"),
        (1, 96, "<Q", 2**40, "outside the file"),
        (1, 112, "<I", 1, "32 weight scales"),
        (1, 112, "<I", 2, "weights of no type"),
        (1, 116, "<I", 7, "7 weight scales"),
        (1, 8, "<I", 0, "unlike shape"),
        (0, 116, "<I", 127, "has weights"),
        (0, 64, "<f", -1.0, "factor"),
        (0, 8, "<I", 0, "wrong number of sources"),
    ],
)
def test_a_hostile_operator_is_refused_by_its_number(hostile, operator, offset, form, value, words):
    at = hostile.operators + 128 * operator + offset
    done = hostile(sealed(changed(hostile.content, at, form, value)))
    assert done.code == 4 and words in done.err and f"operator {operator} (" in done.err, done.err


def test_no_change_of_a_record_crashes_the_engine(hostile):
    """A hundred changes of what says where things are, sums made to fit: an error or a result, never a signal."""
    source = random.Random(7)
    end = struct.unpack_from("<Q", hostile.content, 32)[0]
    refused = 0
    for _ in range(100):
        content = bytearray(hostile.content)
        for _ in range(source.randint(1, 3)):
            content[source.randrange(64, end)] = source.choice([0, 1, 2, 3, 127, 128, 255])
        done = hostile(sealed(bytes(content)))
        assert done.code in (0, 4), (done.code, done.err)
        refused += done.code == 4
    assert 20 <= refused <= 100


def test_a_plan_written_by_hand_runs(scores, tmp_path):
    """The least network: pooling over the whole image and a linear layer, in float32."""
    tensors = [file.Tensor("float32", s) for s in ((3, 32, 32), (3, 1, 1), (2, 1, 1))]
    weights = np.array([[1, 0, 0], [0, -1, 2]], np.float32).reshape(2, 3, 1, 1)
    pool = file.Operator("average_pooling", 0, 1, kernel=(32, 32), strides=(32, 32))
    plan = file.Plan("fp32", tensors, [pool, file.Operator("linear", 1, 2, weights=weights)])
    file.write(tmp_path / "hand.qat8", plan)
    first = scores(tmp_path / "hand.qat8").values.reshape(37, 2)
    plan.operators[1] = dataclasses.replace(plan.operators[1], bias=np.array([1, 2], np.float32))
    file.write(tmp_path / "hand.qat8", plan)
    assert scores(tmp_path / "hand.qat8").values.reshape(37, 2) - first == pytest.approx(np.tile([1, 2], (37, 1)))
