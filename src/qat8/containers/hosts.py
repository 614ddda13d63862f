"""hosts.toml: the servers that `inv benchmark --hosts` knows by name. A name that is not in it is a Docker context.

[clx1]
url = "ssh://user@clx1"     # as in DOCKER_HOST
cpus = "0-23"               # optional: only these CPUs, instead of one job per NUMA node
"""

from __future__ import annotations

import re
from pathlib import Path

import docker
from docker.errors import DockerException
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from qat8.errors import DataError, UsageError
from qat8.older_python import tomllib

NAME = r"[A-Za-z0-9_][\w.-]*"  # it becomes part of a file's name


class Host(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    url: str = Field(pattern=r"^(ssh|tcp|unix)://.+")
    cpus: str = ""


def select(names: str, path: Path) -> dict[str, Host]:
    """`clx1,clx2` -> the hosts of these names, in this order.

    Raises:
        DataError: the file is there and is not what it should be.
        UsageError: a name that is neither in the file nor a Docker context, or comes twice.
    """
    known = _read(path) if path.is_file() else {}
    wanted = [name.strip() for name in names.split(",")]
    if len(set(wanted)) < len(wanted) or not all(re.fullmatch(NAME, name) for name in wanted):
        raise UsageError(f"--hosts {names!r}", "names of letters, digits, dot and dash, by comma, each once")
    return {name: known.get(name) or _context(name, path, known) for name in wanted}


def _read(path: Path) -> dict[str, Host]:
    try:
        return TypeAdapter(dict[str, Host]).validate_python(tomllib.loads(path.read_text()))
    except ValidationError as e:
        first = e.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from e
    except (OSError, ValueError, RecursionError) as e:  # not TOML, not UTF-8, a number of thousands of digits
        raise DataError(f"{path}: {e}", "a table for each host") from e


def _context(name: str, path: Path, known: dict[str, Host]) -> Host:
    try:
        found = docker.ContextAPI.get_context(name)
    except (DockerException, OSError, ValueError):
        found = None
    if found is None or not found.Host:
        listed = ", ".join(known) or "none"
        raise UsageError(f"no host {name!r}", f"a name in {path} ({listed}) or a Docker context", f"add it to {path}")
    return Host(url=found.Host)
