"""`[tool.qat8]` of pyproject.toml: which licences are allowed, which known vulnerabilities are accepted, and why."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qat8.artifacts import REPOSITORY
from qat8.errors import DataError
from qat8.older_python import tomllib

FILE = REPOSITORY / "pyproject.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Licences(_Section):
    allowed: list[str] = Field(min_length=1)  # SPDX identifiers
    means: dict[str, str] = {}  # what a package says -> SPDX expression
    packages: dict[str, str] = {}  # of packages that say nothing, or another thing than their licence file


class Accepted(_Section):
    """A known vulnerability that does not hold here, or not enough; after `until` it is looked at anew."""

    id: str
    package: str
    reason: str = Field(min_length=10)
    until: datetime.date


class Policy(_Section):
    licences: Licences
    accepted_advisories: list[Accepted] = Field([], alias="accepted-advisories")


def load(path: Path = FILE) -> Policy:
    """Read it.

    Raises:
        DataError: not there, not TOML, or a value that does not fit; the first one is named.
    """
    try:
        return Policy.model_validate(tomllib.loads(path.read_text())["tool"]["qat8"])
    except (OSError, tomllib.TOMLDecodeError, KeyError) as e:
        raise DataError(f"{path}: {e}", "a table [tool.qat8]") from e
    except ValidationError as e:
        first = e.errors()[0]
        raise DataError(f"{path}: tool.qat8.{'.'.join(map(str, first['loc']))}: {first['msg']}") from e
