"""The training configuration: what is taken, what is refused, and what the refusal says."""

import pytest

from qat8 import config
from qat8.errors import UsageError
from qat8.older_python import pairwise


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        (tmp_path / "my.yaml").write_text(text)
        return tmp_path / "my.yaml"

    return write


def refusal(*args, **kwargs) -> str:
    with pytest.raises(UsageError) as failure:
        config.load(*args, **kwargs)
    return str(failure.value)


def test_the_defaults_are_the_tutorials_recommendation_with_its_misspelling_put_right():
    quantization = config.load().quantization
    assert quantization.weight_quantize_type == "channel_wise_abs_max"
    assert quantization.activation_quantize_type == "moving_average_abs_max"
    linear, others = ["mul", "matmul_v2"], ["conv2d", "elementwise_add", "pool2d"]
    assert quantization.quantize_op_types == ["depthwise_conv2d", *linear, *others]
    assert quantization.not_quant_pattern == ["skip_quant"]


def test_paddleslim_is_told_not_to_write_the_onnx_format_that_the_int8_pass_cannot_read():
    given = config.load().quant_aware()
    assert given["onnx_format"] is False
    assert given["quantize_op_types"] == config.load().quantization.quantize_op_types


# Files.


def test_a_file_needs_only_what_it_changes(file):
    read = config.load(file("batch_size: 8\nLearningRate:\n  base_lr: 3e-5\n"))
    assert (read.batch_size, read.LearningRate.base_lr) == (8, 3e-5)
    changed = {"batch_size": None, "LearningRate": None}
    assert read.model_dump() | changed == config.load().model_dump() | changed


def test_the_tutorials_flat_file_is_understood(file):
    flat = file("weight_quantize_type: abs_max\nquantize_op_types: [conv2d]\nnot_quant_pattern: ['skip']\n")
    quantization = config.load(flat).quantization
    assert (quantization.weight_quantize_type, quantization.quantize_op_types) == ("abs_max", ["conv2d"])
    assert quantization.activation_quantize_type == "moving_average_abs_max"


def test_flat_and_nested_keys_may_stand_together(file):
    both = file("weight_quantize_type: abs_max\nquantization:\n  moving_rate: 0.5\nseed: 3\n")
    read = config.load(both)
    assert (read.quantization.weight_quantize_type, read.quantization.moving_rate, read.seed) == ("abs_max", 0.5, 3)


@pytest.mark.parametrize("text", ["a: [", "\t- x", "{", "a: b: c", "!!python/object:os.system x"])
def test_a_file_that_is_not_yaml_is_named(file, text):
    said = refusal(file(text))
    assert "my.yaml: not readable as YAML" in said and "\n" not in said


@pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "5"])
def test_a_file_without_keys_is_refused(file, text):
    assert "a mapping of configuration keys" in refusal(file(text))


@pytest.mark.parametrize("text", ["quantization: 5\n", "quantization: 5\nmoving_rate: 0.5\n"])
def test_a_value_where_a_section_belongs_is_refused_with_the_sections_keys(file, text):
    said = refusal(file(text))
    assert "quantization is 5" in said and "weight_quantize_type" in said


def test_a_missing_file_and_a_file_of_bytes_are_named(file, tmp_path):
    assert "none.yaml: no such configuration file" in refusal(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "bytes.yaml: not readable" in refusal(tmp_path / "bytes.yaml")


# Unknown names.


def test_an_unknown_key_names_the_known_ones(file):
    said = refusal(file("epochs: 3\n"))
    assert "my.yaml: unknown key epochs" in said
    assert all(key in said for key in ("num_epochs", "batch_size", "LearningRate", "distillation"))


@pytest.mark.parametrize(
    ("overrides", "meant"),
    [
        ({"batch_sizes": "4"}, "unknown key batch_sizes (did you mean batch_size?)"),
        ({"LearningRate.baselr": "4"}, "unknown key LearningRate.baselr (did you mean LearningRate.base_lr?)"),
        ({"calibration.step": "4"}, "unknown key calibration.step (did you mean calibration.steps?)"),
    ],
)
def test_a_misspelt_key_gets_the_right_one_proposed(overrides, meant):
    assert meant in refusal(overrides=overrides)


def test_a_key_like_nothing_gets_no_proposal():
    assert "did you mean" not in refusal(overrides={"zzz": "1"})


def test_the_tutorials_misspelt_op_type_gets_told_so(file):
    said = refusal(file("quantize_op_types: [conv2d, elmentwise_add]\n"))
    assert "unknown op type 'elmentwise_add'" in said
    assert "did you mean elementwise_add? The tutorial misspells it" in said


def test_an_unknown_op_type_names_the_allowed_ones(file):
    said = refusal(file("quantization: {quantize_op_types: [softmax]}\n"))
    assert "unknown op type 'softmax'" in said and ", ".join(config.OP_TYPES) in said
    assert "tutorial" not in said


# Single values.


@pytest.mark.parametrize("text", ["3e-5", "3.0e-5", "0.00003"])
def test_a_number_is_a_number_however_it_is_written(file, text):
    assert config.load(overrides={"LearningRate.base_lr": text}).LearningRate.base_lr == 3e-5
    assert config.load(file(f"LearningRate: {{base_lr: {text}}}\n")).LearningRate.base_lr == 3e-5


def test_an_override_changes_a_nested_key_and_nothing_beside_it():
    read = config.load(overrides={"LearningRate.schedulers.PiecewiseDecay.milestones": "[3, 7]"})
    decay = read.LearningRate.schedulers.PiecewiseDecay
    default = config.load().LearningRate
    assert decay.milestones == [3, 7]
    assert (decay.gamma, read.LearningRate.base_lr) == (default.schedulers.PiecewiseDecay.gamma, default.base_lr)


def test_the_command_line_wins_over_the_file(file):
    assert config.load(file("seed: 1\nmomentum: 0.5\n"), {"seed": "2"}).model_dump().items() >= {
        ("seed", 2), ("momentum", 0.5),
    }  # fmt: skip


def test_an_override_that_is_not_yaml_is_named():
    said = refusal(overrides={"LearningRate.base_lr": "["})
    assert "--LearningRate.base_lr" in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("batch_size", "0"), ("batch_size", "-1"), ("batch_size", "1.5"), ("batch_size", "many"),
        ("num_epochs", "-1"), ("max_iters", "-1"), ("seed", "-1"), ("seed", "2147483648"),
        ("momentum", "1"), ("momentum", "-0.1"), ("weight_decay", "-1"), ("batch_norm", "thawed"),
        ("calibration.steps", "0"), ("calibration.mean_correction_images", "-1"),
        ("LearningRate.base_lr", "0"), ("LearningRate.base_lr", "-1"), ("LearningRate.base_lr", "nan"),
        ("LearningRate.base_lr", "inf"), ("LearningRate.base_lr", "''"), ("weight_decay", ".inf"),
        ("LearningRate.schedulers.PiecewiseDecay.gamma", "0"), ("LearningRate.schedulers.PiecewiseDecay.gamma", "2"),
        ("LearningRate.schedulers.PiecewiseDecay.milestones", "[3, 2]"),
        ("LearningRate.schedulers.PiecewiseDecay.milestones", "[0, 2]"),
        ("LearningRate.schedulers.PiecewiseDecay.milestones", "5"),
        ("distillation.weight", "1.1"), ("distillation.weight", "-0.1"), ("distillation.temperature", "0"),
        ("validation.fraction", "0"), ("validation.fraction", "1"), ("checkpoint_seconds", "-1"),
        ("quantization.moving_rate", "1"), ("quantization.quantize_op_types", "[]"),
        ("quantization.weight_quantize_type", "int4"), ("quantization.activation_quantize_type", "abs_max"),
        ("momentum.more", "1"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_is_refused_and_its_key_named(name, text):
    said = refusal(overrides={name: text})
    assert f"command line: {name.removesuffix('.more')}: " in said and "\n" not in said


def test_the_edges_of_the_ranges_are_taken():
    edges = {"num_epochs": "0", "max_iters": "0", "momentum": "0", "distillation.weight": "1", "calibration.steps": "1",
             "LearningRate.schedulers.PiecewiseDecay.gamma": "1", "seed": "2147483647"}  # fmt: skip
    assert config.load(overrides=edges).seed == 2**31 - 1


def test_every_leaf_of_the_defaults_can_be_overridden_by_its_name():
    names = config.leaf_names()
    assert {"batch_size", "LearningRate.base_lr", "LearningRate.schedulers.PiecewiseDecay.gamma"} <= set(names)
    values = config.load().model_dump()
    for name in names:
        value = values
        for key in name.split("."):
            value = value[key]
        text = "[conv2d]" if name.endswith("op_types") else str(value)
        config.load(overrides={name: text})


@pytest.mark.parametrize(
    "text",
    [
        "seed: 2024-13-45", "seed: !!int x", "seed: !!timestamp x", "seed: !!float ''", "seed: " + "9" * 5000,
        "seed: " + "[" * 3000, "a: &a [x]\nb: *a", "seed: &s [*s]", "{" * 3000,
        "seed: !!python/object/apply:os.getcwd []",
    ],
)  # fmt: skip
def test_yaml_that_its_reader_stumbles_over_is_refused(file, text):
    with pytest.raises(UsageError):
        config.load(file(text))
    with pytest.raises(UsageError):
        config.load(None, {"seed": text.partition(": ")[2] or text})


def test_references_to_references_are_refused_before_they_fill_the_memory(file):
    pairs = pairwise("abcdefghij")
    lines = ["a: &a [x]", *(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairs)]
    with pytest.raises(UsageError, match="are not taken"):
        config.load(file("\n".join([*lines, "quantization: *j"])))
