"""Our FP32 models -> the peers' FP32 and INT8 models: data/models/M/peers/PEER/{fp32,int8}.

The same weights, and for calibration the training images of the data set, preprocessed as the model's manifest says
and written to data/models/M/peers/calibration.bin. The conversion itself runs in the peers' environment.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from qat8 import artifacts, cli, datafile, imaging, labels, manifests, peers, processes
from qat8.console import say, step
from qat8.errors import DataError, UsageError
from qat8.models import registry

MOST_IMAGES = 300  # NNCF's default; more change the ranges no further


def main(argv: list[str]) -> None:
    p = cli.Parser(prog="peers", description="convert FP32 models for other engines, and quantize them there")
    p.flag("models", default=registry.DEFAULT, help="models, by comma")
    p.flag("peers", default=",".join(peers.NAMES), help="by comma")
    p.flag("fp32-model", default=None, help="directory of the FP32 model (None: data/models/MODEL/fp32)")
    p.flag("data-dir", default=str(artifacts.EMBEDDED), help="with train_list.txt, to calibrate")
    args = p.parse_args(argv)
    names, chosen = [registry.get(name).name for name in args.models.split(",")], peers.parse(args.peers)
    if len(names) > 1 and args.fp32_model:
        raise UsageError("--fp32-model with several models", "one model")
    peers.require(chosen)
    for name in names:
        fp32 = Path(args.fp32_model or artifacts.DATA / "models" / name / "fp32")
        artifacts.model_files(fp32)
        calibration = _calibration(name, fp32, Path(args.data_dir))
        for peer in chosen:
            with step(f"{name} for {peer}"):
                _make(name, peer, fp32, calibration)


def _make(model: str, peer: str, fp32: Path, calibration: Path) -> None:
    command = [str(peers.PYTHON), "-m", "qat8.peers.make", f"--peer={peer}", f"--model={model}",
               f"--fp32-model={fp32}", f"--calibration={calibration}"]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise processes.failure(command[2:4], done.returncode, done.stderr)
    for line in done.stdout.splitlines():
        if line.startswith("  "):  # the engines' own progress is not ours
            say(line)


def _calibration(name: str, fp32: Path, data_dir: Path) -> Path:
    """The data file of the images to calibrate with.

    Raises:
        DataError: no list, or an image that is missing or broken.
    """
    spec = _preprocessing(name, fp32)
    entries = labels.read(data_dir, data_dir / "train_list.txt", registry.get(name).classes)[:MOST_IMAGES]
    if missing := [path for path, _ in entries if not path.is_file()]:
        raise DataError(f"{missing[0]}: no such image", "every image that train_list.txt names")
    config = {"preprocessing": spec.fingerprint()}
    inputs = {"images": artifacts.fingerprint([(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p, _ in entries])}
    target = artifacts.DATA / "models" / name / "peers" / "calibration.bin"
    with artifacts.exclusive(target):
        if not manifests.up_to_date(target, "peers", config, inputs):
            with artifacts.atomic_file(target) as temporary:
                _write(temporary, entries, spec, registry.get(name).classes)
            manifests.write(manifests.path_of(target), "peers", config, inputs,
                                     {target.name: artifacts.sha256(target)}, images=len(entries))  # fmt: skip
    return target


def _preprocessing(name: str, fp32: Path) -> imaging.Preprocessing:
    found = manifests.preprocessing_of(fp32)
    if not found:
        return registry.get(name).preprocessing
    return imaging.Preprocessing(tuple(found["mean"]), tuple(found["std"]), found["filter"], found["crop"])


def _write(path: Path, entries: list[tuple[Path, int]], spec: imaging.Preprocessing, classes: int) -> None:
    header = datafile.Header(len(entries), spec.crop, spec.crop, datafile.DTYPES[2], classes, spec.mean, spec.std,
                             spec.fingerprint())  # fmt: skip
    writer = datafile.Writer(path, header)
    try:
        for image, label in entries:
            writer.append(imaging.preprocess(image, spec), label)
        writer.close()
    finally:
        writer.abort()


if __name__ == "__main__":
    cli.run(main)
