"""The training configuration: config.yaml's defaults, a file of the user's, single values from the command line.

Every key and value is checked before anything starts; what is not known is an error that names what is.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from qat8.errors import UsageError

# What paddleslim 2.6.0's quant_aware accepts (its WEIGHT_QUANTIZATION_TYPES, ACTIVATION_QUANTIZATION_TYPES, and
# TRANSFORM_PASS_OP_TYPES + QUANT_DEQUANT_PASS_OP_TYPES as far as oneDNN has a use for them).
OP_TYPES = ("conv2d", "depthwise_conv2d", "mul", "matmul", "matmul_v2", "elementwise_add", "pool2d")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Quantization(_Section):
    weight_quantize_type: Literal["channel_wise_abs_max", "abs_max"]
    activation_quantize_type: Literal["moving_average_abs_max", "range_abs_max"]
    quantize_op_types: list[str] = Field(min_length=1)
    not_quant_pattern: list[str]
    moving_rate: float = Field(gt=0, lt=1)

    @field_validator("quantize_op_types")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in OP_TYPES:
                close = difflib.get_close_matches(name, OP_TYPES, 1)
                meant = f" (did you mean {close[0]}?" if close else ""
                tutorial = " The tutorial misspells it" if name == "elmentwise_add" else ""
                hint = f"{meant}{tutorial})" if meant else ""
                raise ValueError(f"unknown op type {name!r}{hint}; allowed: {', '.join(OP_TYPES)}")
        return value


class Calibration(_Section):
    steps: int = Field(ge=1)
    mean_correction_images: int = Field(ge=0)


class Augmentation(_Section):
    crop: Literal["offset", "random_resized"]
    min_area: float = Field(gt=0, le=1)
    mirror: bool


class Loader(_Section):
    workers: int | Literal["auto"]

    @field_validator("workers")
    @classmethod
    def _not_negative(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{value} processes; auto, or a number from 0")
        return value


class PiecewiseDecay(_Section):
    milestones: list[int]
    gamma: float = Field(gt=0, le=1)

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: list[int]) -> list[int]:
        if value != sorted(set(value)) or any(m < 1 for m in value):
            raise ValueError(f"milestones {value} are not rising numbers of updates from 1")
        return value


class Schedulers(_Section):
    PiecewiseDecay: PiecewiseDecay


class LearningRate(_Section):
    base_lr: float = Field(gt=0)
    warmup_updates: int = Field(ge=0)
    schedule: Literal["piecewise", "cosine"]
    schedulers: Schedulers


class Distillation(_Section):
    weight: float = Field(ge=0, le=1)
    temperature: float = Field(gt=0)


class Validation(_Section):
    fraction: float = Field(gt=0, lt=1)
    label_list: str | None
    best_by: Literal["divergence", "top1"]
    patience: int = Field(ge=0)


class TrainConfig(_Section):
    quantization: Quantization
    uint8_behind_relu: bool
    calibration: Calibration
    augmentation: Augmentation
    loader: Loader
    batch_size: int = Field(ge=1)
    num_epochs: int = Field(ge=0)
    max_iters: int = Field(ge=0)
    seed: int = Field(ge=0, lt=2**31)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    batch_norm: Literal["frozen", "train"]
    LearningRate: LearningRate
    distillation: Distillation
    validation: Validation
    checkpoint_seconds: float = Field(ge=0)

    def quant_aware(self) -> dict:
        """The dictionary for paddleslim. Its default onnx_format=True is what the INT8 pass cannot read."""
        return {**self.quantization.model_dump(), "onnx_format": False}


def load(file: Path | None = None, overrides: dict[str, str] | None = None) -> TrainConfig:
    """Defaults, then `file`, then `overrides` (dotted name -> YAML text).

    The tutorial's flat form of the file, with paddleslim's keys at the top level, is read too.

    Raises:
        UsageError: no such file, not YAML, an unknown key (the known ones are named) or a value out of its range.
    """
    values = yaml.safe_load(resources.files("qat8").joinpath("config.yaml").read_text())
    if file:
        _merge(values, _read(file), str(file))
    for name, text in (overrides or {}).items():
        *path, last = name.split(".")
        change: Any = {last: _scalar(text, name)}
        for key in reversed(path):
            change = {key: change}
        _merge(values, change, f"--{name}")
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{file or 'command line'}: {where}: {first['msg'].removeprefix('Value error, ')}") from e


class _Loader(yaml.SafeLoader):
    """Without `*name`: a few lines of references to references are a value that no memory can print."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"references such as *{event.anchor} are not taken, {event.start_mark}")
        return super().compose_node(parent, index)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise UsageError(f"{where}: brackets within brackets without end", "plain YAML") from None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as e:  # the latter, of its constructors
        raise UsageError(f"{where}: not readable as YAML: {' '.join(str(e).split())}") from e


def _read(file: Path) -> dict:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{file}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file}: not readable as YAML: {' '.join(str(e).split())}") from e
    content = _yaml(text, str(file))
    if not isinstance(content, dict):
        raise UsageError(f"{file}: {type(content).__name__}", "a mapping of configuration keys")
    flat = {k: content.pop(k) for k in list(content) if k in Quantization.model_fields}
    nested = content.get("quantization") or {}
    return {**content, "quantization": {**nested, **flat} if isinstance(nested, dict) else nested}


def _scalar(text: str, name: str) -> Any:
    value = _yaml(text, f"--{name}={text[:80]}")
    try:  # YAML 1.1 reads 1e-5, without a point, as a string
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _merge(into: dict, change: dict, source: str, prefix: str = "") -> None:
    for key, value in change.items():
        if key not in into:
            known = ", ".join(f"{prefix}{k}" for k in into)
            close = difflib.get_close_matches(str(key), list(into), 1)
            hint = f" (did you mean {prefix}{close[0]}?)" if close else ""
            raise UsageError(f"{source}: unknown key {prefix}{key}{hint}", f"one of {known}")
        if isinstance(into[key], dict):
            if not isinstance(value, dict):
                raise UsageError(f"{source}: {prefix}{key} is {value!r}", f"a mapping with {', '.join(into[key])}")
            _merge(into[key], value, source, f"{prefix}{key}.")
        else:
            into[key] = value


def leaf_names() -> list[str]:
    """Every dotted name that can be overridden on the command line."""

    def walk(values: dict, prefix: str = ""):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key

    return list(walk(yaml.safe_load(resources.files("qat8").joinpath("config.yaml").read_text())))
