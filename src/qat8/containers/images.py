"""docker/images.toml, checked: the images' pins, and what each supported ref of Paddle calls its things."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qat8.artifacts import REPOSITORY
from qat8.errors import DataError, UsageError
from qat8.older_python import tomllib

FILE = REPOSITORY / "docker" / "images.toml"
WHEEL_TAG, SOURCE_TAG = "qat8:wheel", "qat8:source"
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]+$")]  # they are words of an apt-get command line
Commit = Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")]
SNAPSHOT = r"https?://[^\s@]+/\d{8}T\d{6}Z/?"  # no user and password: it stands in the image
Flag = Annotated[str, Field(pattern=r"^-D\w+=[\w./-]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(_Section):
    image: str = Field(pattern=r"^[\w./:-]+@sha256:[0-9a-f]{64}$")
    local: str = Field(min_length=1)
    python: str
    compiler: str
    apt_snapshot: str = Field(pattern=f"^({SNAPSHOT})?$")
    run_packages: list[Package] = Field(min_length=1)
    build_packages: list[Package] = Field(min_length=1)
    source_packages: list[Package] = Field(min_length=1)


class Wheel(_Section):
    paddlepaddle: str
    paddleslim: str
    max_bytes: int = Field(gt=0)


class Ref(_Section):
    """What a ref of Paddle calls its inference distribution, and what is changed in it."""

    commit: Commit
    names: list[str] = []
    unpinned: str = ""
    install_flag: str = Field(pattern=r"^[A-Z_]+$")
    install_dir: str
    library: str = Field(pattern=r"^lib\w+\.so$")
    slim_ref: str
    slim_commit: Commit
    extra_flags: list[Flag] = []
    patches: list[Annotated[str, Field(pattern=r"^[\w.-]+\.patch$")]] = []

    @model_validator(mode="after")
    def _what_is_not_pinned_says_why(self) -> Ref:
        if bool(self.commit and self.slim_commit) == bool(self.unpinned):
            raise ValueError("`unpinned` says why a commit is empty, and stands there only then")
        return self


class Source(_Section):
    paddle_git: str
    slim_git: str
    default: str
    bytes_per_job: int = Field(gt=0)
    cmake_flags: list[Flag]
    refs: dict[str, Ref]

    @model_validator(mode="after")
    def _default_is_there(self) -> Source:
        if self.default not in self.refs:
            raise ValueError(f"default {self.default!r} has no row in refs")
        return self


class Images(_Section):
    schema_: int = Field(alias="schema", ge=1, le=1)
    base: Base
    wheel: Wheel
    source: Source

    def ref(self, name: str) -> Ref:
        """The row of a ref.

        Raises:
            UsageError: it has none; the known ones are named.
        """
        if name not in self.source.refs:
            close = difflib.get_close_matches(name, self.source.refs, 1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise UsageError(f"Paddle ref {name!r} has no row in docker/images.toml{meant}",
                             f"one of {', '.join(self.source.refs)}", "add a row for it")  # fmt: skip
        return self.source.refs[name]


def load(path: Path = FILE) -> Images:
    """Read and check the pins.

    Raises:
        DataError: missing, not TOML, or a value that does not fit; the first one is named.
    """
    try:
        return Images.model_validate(tomllib.loads(path.read_text()))
    except OSError as e:
        raise DataError(f"{path}: {e.strerror}", "the pins of the images") from e
    except ValidationError as e:
        first = e.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from e
    except (ValueError, RecursionError) as e:  # not TOML, not UTF-8, a number of thousands of digits
        raise DataError(f"{path}: {e}", "TOML") from e


def default_tag() -> str:
    """The image that stages run in unless told otherwise."""
    return os.environ.get("QAT8_IMAGE", WHEEL_TAG)
