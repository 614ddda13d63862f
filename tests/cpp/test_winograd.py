"""The engine's own Winograd kernel against the plain sum, output by output."""

import subprocess

import pytest

from qat8 import instructions

pytestmark = pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU has no AVX-512 VNNI: oneDNN does it all")

# channels, outputs, height, width, the zeros above, to the left, below, to the right, and images
SHAPES = {
    "one whole tile": (32, 64, 4, 4, 1, 1, 1, 1, 1),
    "whole tiles": (64, 64, 8, 12, 1, 1, 1, 1, 1),
    "parts of tiles below and to the right": (64, 64, 7, 14, 1, 1, 1, 1, 2),
    "several blocks of outputs": (32, 192, 6, 5, 1, 1, 1, 1, 1),
    "no padding": (32, 64, 9, 8, 0, 0, 0, 0, 2),
    "TensorFlow's SAME padding of an even side": (32, 64, 8, 8, 0, 0, 2, 2, 1),
    "one pixel": (32, 64, 1, 1, 1, 1, 1, 1, 1),
    "more tiles than are kept at a time, over several images": (32, 64, 13, 17, 1, 1, 1, 1, 5),
    "so many channels that a sum nears its limit": (512, 64, 5, 6, 1, 1, 1, 1, 1),
}


def check(build, shape, threads: int, numbers: str) -> subprocess.CompletedProcess:
    command = [build / "check_winograd", *map(str, shape), str(threads), numbers]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("numbers", ["random", "extreme"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_output_is_the_plain_sum_scaled_and_cut(build, shape, threads, numbers):
    done = check(build, shape, threads, numbers)
    assert done.returncode == 0, done.stderr
    outputs, different, _ = done.stdout.split()
    assert int(outputs) > 0 and int(different) == 0


def test_other_numbers_of_channels_are_left_to_onednn(build):
    for channels, outputs in ((24, 64), (32, 80)):
        assert check(build, (channels, outputs, 8, 8, 1, 1, 1, 1, 1), 1, "random").returncode == 3


def test_weights_that_could_bring_a_sum_past_what_is_exact_are_left_to_onednn(build):
    assert check(build, (512, 64, 5, 6, 1, 1, 1, 1, 1), 1, "too-large").returncode == 4
