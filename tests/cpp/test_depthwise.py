"""The engine's own depthwise kernel against the plain sum, output by output."""

import subprocess

import pytest

from qat8 import instructions

pytestmark = pytest.mark.skipif(not instructions.has_vnni(), reason="this CPU has no AVX-512 VNNI: oneDNN does it all")

# channels, height, width, stride, and the zeros above, to the left, below, to the right
SHAPES = {
    "the 64 channels of a register": (64, 9, 9, 1, 1, 1, 1, 1),
    "several blocks": (192, 7, 5, 1, 1, 1, 1, 1),
    "32 channels, an even number of rows": (32, 8, 6, 1, 1, 1, 1, 1),
    "32 channels, an odd number of rows": (32, 7, 6, 1, 1, 1, 1, 1),
    "a block and a pair": (96, 11, 10, 2, 1, 1, 1, 1),
    "a block and a rest": (144, 6, 7, 2, 1, 1, 1, 1),
    "fewer than a register": (24, 5, 5, 1, 1, 1, 1, 1),
    "one channel": (1, 4, 4, 1, 1, 1, 1, 1),
    "TensorFlow's SAME padding": (64, 8, 8, 2, 0, 0, 1, 1),
    "no padding": (64, 5, 6, 1, 0, 0, 0, 0),
    "one pixel": (64, 1, 1, 1, 1, 1, 1, 1),
    "more rows than a thread takes at a time": (32, 37, 3, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_output_is_the_plain_sum_scaled_and_cut(build, shape, threads):
    command = [build / "check_depthwise", *map(str, shape), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outputs, different, _ = done.stdout.split()
    assert int(outputs) > 0 and int(different) == 0


def test_strides_and_paddings_that_it_is_not_made_for_are_left_to_onednn(build):
    for shape in ((64, 9, 9, 3, 1, 1, 1, 1), (64, 9, 9, 1, 2, 2, 2, 2)):
        assert subprocess.run([build / "check_depthwise", *map(str, shape), "1"]).returncode == 3
