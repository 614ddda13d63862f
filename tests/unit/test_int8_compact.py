"""Weights as int8 in the file."""

import numpy as np
import pytest

from qat8.engine import paddle
from qat8.int8 import compact
from qat8.prediction import predictor
from qat8.saving import save_model

pytestmark = pytest.mark.usefixtures("static_mode")


RANDOM = np.random.default_rng(3)


def grid(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Weights as training leaves them: every output channel reaches 127 steps of its own size."""
    levels = RANDOM.integers(-126, 127, shape)
    levels.reshape(shape[0], -1)[:, 0] = 127
    if axis:
        levels[0] = 127
    sides = [n if i == axis else 1 for i, n in enumerate(shape)]
    return (levels * RANDOM.uniform(1e-4, 0.1, sides)).astype(np.float32)


@pytest.mark.parametrize(("shape", "axis"), [((8, 3, 3, 3), 0), ((8, 1, 3, 3), 0), ((16, 10), 1)])
def test_levels_times_steps_are_the_weights(shape, axis):
    weight = grid(shape, axis)
    levels, steps = compact.on_grid(weight, axis)
    assert levels.dtype == np.int8 and np.abs(levels).max() == 127
    assert steps.shape == tuple(n if i == axis else 1 for i, n in enumerate(shape))
    np.testing.assert_allclose(levels * steps, weight, rtol=1e-6)


def test_weights_of_a_channel_that_is_all_zero_stay_zero():
    weight = grid((4, 2, 1, 1), 0)
    weight[2] = 0
    levels, steps = compact.on_grid(weight, 0)
    assert not levels[2].any() and np.isfinite(levels * steps).all()


def test_weights_that_were_not_trained_quantization_aware_are_on_no_grid():
    assert compact.on_grid(RANDOM.normal(0, 1, (8, 3, 3, 3)).astype(np.float32), 0) is None


@pytest.fixture
def program():
    """image -> conv (marked INT8, on its grid) -> conv (not marked) -> logits."""
    static, scope = paddle.static, paddle.static.Scope()
    main, startup = static.Program(), static.Program()
    with static.program_guard(main, startup), paddle.utils.unique_name.guard():
        image = static.data("image", [None, 3, 8, 8], "float32")
        x = static.nn.conv2d(image, 8, 3, bias_attr=False)
        out = paddle.flatten(static.nn.conv2d(x, 4, 6, bias_attr=False), 1)
    executor = static.Executor(paddle.CPUPlace())
    executor.run(startup, scope=scope)
    first = next(op for op in main.global_block().ops if op.type == "conv2d")
    first._set_attr("mkldnn_data_type", "int8")
    scope.find_var(first.input("Filter")[0]).get_tensor().set(grid((8, 3, 3, 3), 0), paddle.CPUPlace())
    return main.clone(for_test=True), scope, executor, out.name, first.input("Filter")[0]


def test_the_file_is_smaller_and_the_predictor_makes_the_same_weights_of_it(program, tmp_path):
    main, scope, executor, out, _ = program
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    save_model(main, ["image"], [out], executor, scope, tmp_path / "before")
    assert compact.compact(main, scope) == 1
    save_model(main, ["image"], [out], executor, scope, tmp_path / "after")
    sizes = [(tmp_path / name / "model.pdiparams").stat().st_size for name in ("before", "after")]
    assert sizes[1] < sizes[0] - 8 * 27 * 2
    images = RANDOM.normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    before, after = (predictor(tmp_path / name, threads=1)(images) for name in ("before", "after"))
    # Here the weights are used as float32, so the last bit of level x step may show; oneDNN rounds them to the level.
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())
    assert before.std() > 0


def test_operators_that_are_not_int8_and_weights_off_the_grid_keep_float32(program):
    main, scope, _, _, name = program
    scope.find_var(name).get_tensor().set(RANDOM.normal(0, 1, (8, 3, 3, 3)).astype(np.float32), paddle.CPUPlace())
    assert compact.compact(main, scope) == 0
    assert not any(compact.unpacks(op) for op in main.global_block().ops)


def test_a_model_saved_again_has_no_more_operators_than_before(program, tmp_path):
    main, scope, executor, out, _ = program
    counts = []
    for _ in range(3):
        save_model(main, ["image"], [out], executor, scope, tmp_path)
        with paddle.static.scope_guard(scope):
            main, _, (fetched,) = paddle.static.load_inference_model(str(tmp_path / "model"), executor)
        out = fetched.name
        counts.append(len(main.global_block().ops))
    assert len(set(counts)) == 1
