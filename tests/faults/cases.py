"""The stages on input so small that they can be disturbed a hundred times, and how to tell a whole artifact."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from qat8 import artifacts, manifests, packages, results
from qat8.errors import QatError

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
STAGE, TESTER = HERE / "stage.py", REPO / "tester/build/sample_tester"
SIDE, PHOTOGRAPHS, ARCHIVED = 8, 48, 12
RUN_ID = re.compile(r"\d{8}-\d{6}-\d+(-\d+)?")
SHORT = ["--num-epochs=2", "--batch-size=4", "--calibration.steps=3", "--calibration.mean_correction_images=8",
         "--LearningRate.base_lr=0.01", "--set=checkpoint_seconds=0"]  # fmt: skip
QUICK = ["--testers=cpp", "--threads=1", "--batch-sizes=4", "--repetitions=1", "--min-seconds=0", "--warmup=0",
         "--scenario=single-stream", "--min-queries=8", "--duration=0", "--reuse"]  # fmt: skip
State = dict[str, object]  # path below the home -> what is in it, but for times


@dataclass(frozen=True)
class Case:
    """A stage in a home of its own (`QAT8_DATA`)."""

    name: str
    argv: list[str]  # behind stage.py; {home} and {inputs} stand for the directories
    targets: list[str]  # what it publishes, below the home: a file, a directory, or a pattern
    prepare: Callable[[Path, Path], None]  # inputs and home: what is there before
    spoil: Callable[[Path], None]  # the end -> an older artifact in its place, with which nothing is up to date
    vanishes: bool = False  # whether what is not as it should be is taken away before it is made again
    kept: Callable[[Path], int] = lambda home: 0  # how much work is on the disk
    exact: bool = True  # whether the same bytes must come each time, and not only the same metrics
    told: str = ""  # what the next run says of it; a pattern with one group
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, home: Path, inputs: Path) -> list[str]:
        words = [word.format(home=home, inputs=inputs) for word in self.argv]
        return [sys.executable, "-W", "ignore", str(STAGE), *words]

    def variables(self, home: Path, inputs: Path) -> dict[str, str]:
        own = {name: value.format(home=home, inputs=inputs) for name, value in self.environment.items()}
        return {**os.environ, "QAT8_DATA": str(home), "TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1",
                "OMP_NUM_THREADS": "1", **own}  # fmt: skip


# What is in a home, and whether it is whole.


def state(home: Path, exact: bool = True) -> State:
    """Everything that a user may find there, without what depends on the time: locks, ids, events, temporary files.

    Without `exact` parameters may differ in their last bits; the metrics of the training may not.
    """
    found: State = {}
    for path in sorted(home.rglob("*")):
        name = RUN_ID.sub("RUN", str(path.relative_to(home)))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file() and not name.endswith(".lock") and not re.search(r"(^|/)(events|tmp)/", name):
            found[name] = content(path, exact)
    return found


def content(path: Path, exact: bool = True) -> object:
    try:
        if path.name.endswith("manifest.json"):
            made = json.loads(path.read_text())
            made["outputs"] = made["outputs"] if exact and made["stage"] != "benchmark" else sorted(made["outputs"])
            return {key: made[key] for key in made if key not in ("created", "command")}
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            return [{key: line[key] for key in line if key != "seconds"} for line in lines]
        if path.parent.name == "results" and path.suffix == ".json":
            return _measured(path)
        if path.suffix == ".npz":  # whose arrays come in any order
            with np.load(path) as arrays:
                parts = {key: arrays[key] for key in sorted(arrays.files)}
            return {key: _digest(a.tobytes()) if exact or not a.ndim else a.shape for key, a in parts.items()}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, QatError) as e:
        return f"damaged: {e}"
    if path.suffix == ".latencies":  # other ones each time; their manifest holds them together (`broken`)
        return "measured"
    if path.suffix == ".pdiparams" and not exact:
        return path.stat().st_size
    return _digest(path.read_bytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _measured(path: Path) -> object:
    record = results.load(path)
    runs = sorted((r.precision, r.tester, r.threads, r.batch_size, r.images, len(r.repetitions)) for r in record.runs)
    return {"runs": runs, "scenarios": len(record.scenarios), "comparisons": len(record.comparisons)}


def broken(home: Path) -> list[str]:
    """Manifests that promise another file than there is; results files and checkpoints that are not whole."""
    found = []
    for path in home.rglob("*"):
        name = str(path.relative_to(home))
        if "/." in f"/{name}":  # a name under which nobody looks
            continue
        if path.name == "manifest.json" and (wrong := _not_as_promised(path)):
            found.append(f"{name}: {wrong}")
        if str(said := content(path) if path.is_file() else "").startswith("damaged") and path.name != "metrics.jsonl":
            found.append(f"{name}: {said}")
    return found


def _not_as_promised(manifest: Path) -> str:
    for name, digest in json.loads(manifest.read_text())["outputs"].items():
        file = manifest.parent / name
        if not file.is_file() or _digest(file.read_bytes()) != digest:
            return f"{name} is not what it says"
    return ""


def published(case: Case, seen: State) -> dict[str, State]:
    """What lies in the place of each target."""
    return {t: {name: seen[name] for name in seen if name == t or name.startswith(f"{t}/")} for t in case.targets}


# Input.


def make_inputs(directory: Path) -> None:
    """Photographs, an archive, weights, models, a data file and a results file; a few seconds of Paddle."""
    directory.mkdir(parents=True, exist_ok=True)
    _photographs(directory)
    sys.path.insert(0, str(REPO / "tests/data"))
    import report_fixture

    (directory / "results.json").write_text(results.dump(report_fixture.make_results()))
    for package in (packages.FOOLBOX, packages.AI_BENCHMARK, packages.NUDITY):
        shipped = REPO / "data/downloads" / package.file
        (directory / "downloads").mkdir(exist_ok=True)
        shutil.copy(shipped if shipped.is_file() else packages.fetch(package), directory / "downloads")
    env = {**os.environ, "QAT8_DATA": str(directory), "OMP_NUM_THREADS": "1"}
    commands = [[STAGE, "random-weights", directory / "weights.npz"]]
    for name, *argv in (
        ["train", *_train(directory)], ["convert", "--model=Tiny"],
        ["preprocess", "--local", f"--data-dir={directory}/photographs", f"--output-file={directory}/val.bin",
         "--model=Tiny", f"--data-dim={SIDE}", "--classes=4"],
    ):  # fmt: skip
        commands.append([STAGE, name, *argv])
    for command in commands:
        done = subprocess.run([sys.executable, *map(str, command)], env=env, cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _train(inputs: object) -> list[str]:
    return ["--model=Tiny", f"--pretrained-model={inputs}/weights.npz", f"--data-dir={inputs}/photographs", *SHORT]


def _photographs(directory: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        lines = []
        for i in range(PHOTOGRAPHS):
            pixels = np.random.default_rng(i).integers(0, 256, (5, 5, 3), np.uint8)
            image = io.BytesIO()
            Image.fromarray(pixels).resize((40 + i, 60 - i // 2), Image.Resampling.BICUBIC).save(image, "JPEG")
            path = directory / f"photographs/val/{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.getvalue())
            lines.append(f"val/{i}.jpg {i % 4}\n")
            if i < ARCHIVED:
                member = tarfile.TarInfo(f"ILSVRC2012_val_{i + 1:08d}.JPEG")
                member.size = len(image.getvalue())
                tar.addfile(member, io.BytesIO(image.getvalue()))
    for name, part in (("val", lines), ("train", lines[:20])):
        (directory / f"photographs/{name}_list.txt").write_text("".join(part))
    (directory / "val.tar").write_bytes(archive.getvalue())


# The stages.


def nothing(inputs: Path, home: Path) -> None:
    pass


def linked(*names: str) -> Callable[[Path, Path], None]:
    """These inputs, each under its name."""

    def prepare(inputs: Path, home: Path) -> None:
        for name in names:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).symlink_to(inputs / name)

    return prepare


def earlier_results(inputs: Path, home: Path) -> None:
    linked("models", "val.bin", "val.bin.manifest.json")(inputs, home)
    (home / "results").mkdir()
    shutil.copy(inputs / "results.json", home / "results/earlier.json")


def copied_models(inputs: Path, home: Path) -> None:
    shutil.copytree(inputs / "models/Tiny", home / "models/Tiny", symlinks=True)


def changed(file: str, *gone: str) -> Callable[[Path], None]:
    """As if made of another input: one more byte in a file, whose manifest knows it; `gone` is removed."""

    def spoil(home: Path) -> None:
        with open(home / file, "ab") as f:
            f.write(b"\n")
        manifest = (home / file).with_name("manifest.json")
        if not manifest.is_file():
            manifest = manifests.path_of(home / file)
        made = json.loads(manifest.read_text())
        made["inputs"]["older"] = "one"
        made["outputs"][(home / file).name] = artifacts.sha256(home / file)
        manifest.write_text(json.dumps(made))
        for name in gone:
            shutil.rmtree(home / name)

    return spoil


def unmeasured(home: Path) -> None:
    """Results are added to those before: what is there already is `earlier_results`."""
    for path in (home / "results").iterdir():
        if RUN_ID.match(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def journalled(home: Path) -> int:
    """Images of whole chunks in the journal of a data file that grows."""
    with contextlib.suppress(FileNotFoundError):
        lines = (home / ".val.bin.journal").read_text().splitlines(keepends=True)[1:]
        if (home / ".val.bin.partial").exists():
            return sum(line.count(",") + 1 for line in lines if line.endswith("\n") and not line.startswith("synced"))
    return 0


def updated(home: Path) -> int:
    """Updates in the latest checkpoint."""
    with contextlib.suppress(FileNotFoundError), np.load(home / "models/Tiny/training/latest.npz") as arrays:
        return json.loads(str(arrays["__position__"]))["updates"]
    return 0


def unpacked(home: Path) -> int:
    return len(list((home / ".ILSVRC2012.partial/val").glob("ILSVRC*")))


FLOAT = "models/Tiny/quantization_models/act_moving_average_abs_max/float"
CASES = {case.name: case for case in (
    Case("dataset", ["dataset"], ["dataset/embedded"], linked("downloads"), changed("dataset/embedded/ORIGIN.md")),
    Case("ilsvrc2012", ["ilsvrc2012", "--output-dir={home}/ILSVRC2012"], ["ILSVRC2012"], nothing,
         changed("ILSVRC2012/val_list.txt"), vanishes=True, kept=unpacked, environment={"ARCHIVE": "{inputs}/val.tar"}),
    Case("preprocess", ["preprocess", "--local", "--data-dir={inputs}/photographs", "--output-file={home}/val.bin",
                        "--data-dim=64", "--workers=2"], ["val.bin"], nothing, changed("val.bin"), kept=journalled,
         told=r"going on: (\d+) of"),
    Case("weights", ["weights"], ["weights/MobileNetV1"], linked("downloads"),
         changed("weights/MobileNetV1/ORIGIN.md")),
    Case("train", ["train", *_train("{inputs}")], ["models/Tiny/fp32", FLOAT, "models/Tiny/qat"], nothing,
         changed(f"{FLOAT}/model.pdiparams", "models/Tiny/training"), kept=updated, exact=False,
         told=r"resuming: \w+, (\d+) of"),
    Case("convert", ["convert", "--model=Tiny", "--qat-model-path={inputs}/" + FLOAT,
                     "--int8-model-save-path={home}/int8", "--check-data={inputs}/val.bin"], ["int8"], nothing,
         changed("int8/model.pdiparams")),
    Case("export", ["export", "--model=Tiny"], ["models/Tiny/engine"], copied_models,
         changed("models/Tiny/engine/int8.qat8")),
    Case("benchmark", ["benchmark", "--models=Tiny", "--data-file={home}/val.bin", *QUICK],
         ["results/RUN.json", "results/RUN.latencies"], earlier_results, unmeasured),
    Case("report", ["report", "{inputs}/results.json", "--output-dir={home}/report"], ["report"], nothing,
         changed("report/report.md")),
)}  # fmt: skip
