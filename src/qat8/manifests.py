"""What an artifact was made of: `manifest.json` in its directory, `NAME.manifest.json` beside a file.

JSON: schema, the stage with its command line and its configuration, the SHA-256 sums of its inputs and outputs by
name, versions, and what a stage adds. A stage whose manifest still fits has nothing to do.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from pathlib import Path, PurePosixPath

from qat8 import __version__, redact
from qat8.artifacts import MANIFEST, atomic_file, sha256
from qat8.errors import DataError

SCHEMA = 1
_MEMBERS = {"stage": str, "config": dict, "inputs": dict, "outputs": dict}
_MORE = {"preprocessing": dict, "origin": str, "kind": str, "model": str, "left_in_fp32": list, "subsets": (dict, list)}


def path_of(artifact: Path) -> Path:
    artifact = Path(artifact)
    return artifact / "manifest.json" if artifact.is_dir() else artifact.with_name(artifact.name + MANIFEST)


def write(target: Path, stage: str, config: dict, inputs: dict[str, str], outputs: dict[str, str], **more):
    """Write the manifest `target`. `inputs` and `outputs` map names to SHA-256 sums; `more` is the stage's own."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"qat8": __version__, "python": sys.version.split()[0]}
    for package in ("paddlepaddle", "paddleslim", "numpy", "pillow"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    content = {
        "schema": SCHEMA,
        "stage": stage,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *redact.command(sys.argv[1:])],
        "config": config,
        "inputs": inputs,
        "outputs": outputs,
        "versions": versions,
        **more,
    }
    with atomic_file(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n")


def read(artifact: Path) -> dict | None:
    """The manifest of an artifact, or None where there is none (a file that the user made)."""
    path = path_of(artifact)
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no file", "a manifest", "remove the artifact and make it again")
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as e:
        raise DataError(f"{path_of(artifact)}: {e}", "a manifest", "remove the artifact and make it again") from e
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise DataError(f"{path_of(artifact)}: not a manifest of schema {SCHEMA}")
    if wrong := _wrong_member(content):
        raise DataError(f"{path_of(artifact)}: {wrong} is not what a manifest holds", "a manifest",
                        "remove the artifact and make it again")  # fmt: skip
    return content


def _wrong_member(content: dict) -> str | None:
    """The first member whose type is not what `write` writes."""
    for name, kind in _MEMBERS.items():
        if not isinstance(content.get(name), kind):
            return name
    if not isinstance(content["config"].get("preprocessing"), (dict, type(None))):
        return "config.preprocessing"
    return next((name for name, kind in _MORE.items() if not isinstance(content.get(name), (kind, type(None)))), None)


def preprocessing_of(model: Path) -> dict | None:
    """The preprocessing that a saved model was trained with, as its manifest says; None where there is no manifest."""
    manifest = read(model) or {}
    return manifest.get("preprocessing") or manifest.get("config", {}).get("preprocessing")


def is_untrained(model: Path) -> bool:
    """Whether a saved model's weights, or those of its last layer, are random, so that no accuracy may be told of it.

    The configuration of its manifest says so; before 0.1.0 an INT8 model's said it beside the configuration.
    """
    manifest = read(model) or {}
    return bool(manifest.get("config", {}).get("untrained") or manifest.get("untrained"))


def up_to_date(artifact: Path, stage: str, config: dict, inputs: dict[str, str]) -> bool:
    """Whether `artifact` was made by this stage from just these, and its files still are what they were."""
    try:
        manifest = read(artifact)
        if manifest is None or manifest["stage"] != stage:
            return False
        base = artifact if artifact.is_dir() else artifact.parent
        same = manifest["config"] == json.loads(json.dumps(config, default=str)) and manifest["inputs"] == inputs
        return same and all(sha256(inside(base, name)) == digest for name, digest in manifest["outputs"].items())
    except (OSError, KeyError, TypeError, AttributeError, DataError):
        return False


def inside(base: Path, name: str) -> Path:
    """The file of an artifact that its manifest names, which is believed to lie nowhere else.

    Raises:
        DataError: an absolute name, `..`, a link that leads out of `base`, or what is no file (to open a pipe or a
            device would wait for ever).
    """
    pure, path = PurePosixPath(name), base / name
    if not name or pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise DataError(f"{base}: its manifest names {name!r}", "files of the artifact", "make it again")
    if path.exists() and not (path.is_file() and path.resolve().is_relative_to(base.resolve())):
        raise DataError(f"{path} leads out of its artifact, or is no file", "files of the artifact", "make it again")
    return path


def outputs_of(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a directory that is about to become an artifact."""
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {str(p.relative_to(directory)): sha256(p) for p in files}
