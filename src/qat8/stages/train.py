"""FP32 weights -> FP32 model and float32 QAT model, by quantization-aware training (tutorial, section 2).

    data/models/MODEL/fp32/                                          the pretrained model, for comparison
    data/models/MODEL/quantization_models/act_ACTIVATION/float/      the float32 QAT model (qat is a link to it)
    data/models/MODEL/training/                                      checkpoints

Both models are model.pdmodel + model.pdiparams with a manifest.json.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli
from qat8 import config as configuration
from qat8.console import say, step
from qat8.errors import ModelError, UsageError
from qat8.models import pretrained, registry

# What post-training quantization leaves out of training: updates, and the correction of BatchNorm's means.
PTQ = {"num_epochs": "0", "calibration.mean_correction_images": "0"}
EMBEDDED = artifacts.DATA / "dataset" / "embedded"


def parser(prog: str) -> cli.Parser:
    p = cli.Parser(prog=prog, description="train a model quantization-aware",
                   epilog="Every key of config.yaml is a flag too, e.g. --LearningRate.base_lr=1e-5.")  # fmt: skip
    p.flag("model", default=registry.DEFAULT, help=f"one of {', '.join(registry.MODELS)}")
    p.flag(
        "pretrained-model",
        default=None,
        help="weights of any format of docs/weights.md (None: what `inv weights` imported)",
    )
    p.flag("data", choices=["imagenet"], default="imagenet", help="kind of data set")
    p.flag("data-dir", default=str(EMBEDDED), help="directory with train_list.txt")
    p.flag("save-float32-qat-dir", default=None, help="where the float32 QAT model goes (None: under data/models)")
    p.flag("max-iters", type=cli.count, default=None, help="at most so many updates")
    p.flag("num-epochs", type=cli.count, default=None, help="passes over the training images")
    p.flag("batch-size", type=cli.positive_int, default=None, help="images in an update")
    p.flag(
        "strategy",
        default="qat",
        choices=["qat", "ptq"],
        help="ptq: post-training quantization, into data/models/MODEL/ptq: activation ranges and nothing else",
    )
    p.flag("config-file", default=None, help="YAML file with what differs from qat8's config.yaml")
    p.flag("set", action="append", default=[], metavar="KEY=VALUE", help="the same as --KEY=VALUE")
    for name in configuration.leaf_names():
        if "." in name:
            p.add_argument(f"--{name}", dest=name, default=None, help="config.yaml")
    return p


def main(argv: list[str], prog: str = "train") -> None:
    args = parser(prog).parse_args(argv)
    overrides = {k: v for k, v in vars(args).items() if "." in k and v is not None}
    if args.strategy == "ptq":
        if args.num_epochs or args.max_iters:
            raise UsageError("--strategy=ptq with updates", "none: it sets activation ranges alone", "--strategy=qat")
        overrides |= PTQ
    for name in ("max_iters", "num_epochs", "batch_size"):
        if getattr(args, name) is not None:
            overrides[name] = str(getattr(args, name))
    for item in args.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item}", "KEY=VALUE")
        overrides[key] = value
    settings = configuration.load(Path(args.config_file) if args.config_file else None, overrides)
    model = registry.get(args.model)
    weights = Path(args.pretrained_model or artifacts.DATA / "weights" / model.name)
    if not args.pretrained_model and not weights.is_dir():
        hint = "inv weights" if model.embedded_weights else "--pretrained-model=FILE.pdparams with weights of yours"
        raise ModelError(f"no pretrained weights of {model.name}", "trained FP32 weights to start from", hint)
    if not weights.exists():
        raise ModelError(f"{weights}: no such file", "pretrained weights (docs/weights.md)")
    if _untrained(weights):
        say("warning: these weights are random, or their last layer is; no accuracy of this model means anything")
    model = model.for_weights_of(pretrained.origin(weights, model.name))
    ptq = artifacts.DATA / "models" / model.name / "ptq" if args.strategy == "ptq" else None
    build(model, settings, weights, Path(args.data_dir), args.save_float32_qat_dir or ptq)


def build(model: registry.Model, settings: configuration.TrainConfig, weights: Path, data_dir: Path, save_dir) -> None:
    home = artifacts.DATA / "models" / model.name
    act = settings.quantization.activation_quantize_type
    qat = Path(save_dir) if save_dir else home / "quantization_models" / f"act_{act}" / "float"
    if not save_dir and (home / "qat").is_dir() and not (home / "qat").is_symlink():
        raise UsageError(f"{home / 'qat'} is a directory", "a link, which training sets", "move it away")
    with artifacts.exclusive(home), artifacts.exclusive(qat):
        inputs = {"weights": artifacts.sha256(weights), "images": _images_digest(data_dir)}
        described = {"model": model.name, "preprocessing": model.preprocessing.fingerprint(), **settings.model_dump()}
        described.pop("checkpoint_seconds")  # how often, not what
        if artifacts.up_to_date(qat, "train", described, inputs) and (home / "fp32").is_dir():
            say(f"QAT model is up to date: {artifacts.shown(qat)}")
        else:
            _train(model, settings, weights, data_dir, home, qat, described, inputs)
        if not save_dir:
            _link(home / "qat", qat)


def _untrained(weights: Path) -> bool:
    manifest = (artifacts.read_manifest(weights) if weights.is_dir() else None) or {}
    return bool(manifest.get("random_head") or manifest.get("random"))


def _images_digest(data_dir: Path) -> str:
    from qat8 import labels

    # Sizes and times, not contents: hashing 1.2 million photographs would cost as much as reading them for real.
    listed = []
    for path, label in labels.read(data_dir, data_dir / "train_list.txt"):
        known = path.stat() if path.is_file() else None
        listed.append([str(path.relative_to(data_dir)), label, known and [known.st_size, known.st_mtime_ns]])
    return artifacts.fingerprint(listed)


def _train(model, settings, weights, data_dir, home, qat, described, inputs) -> None:
    from qat8.saving import save_model
    from qat8.training import images as training_images
    from qat8.training import loop, programs
    from qat8.training.checkpoint import Checkpoints

    images = training_images.Images.read(
        data_dir, model.preprocessing, settings.validation.fraction, settings.seed, model.classes
    )
    total = loop.updates(images, settings)
    say(f"{model.name}: {len(images.train)} training and {len(images.validation)} validation images, {total} updates")
    with step("building the programs"):
        session = programs.open_session(model, settings, total)
        state = pretrained.load(weights, model.name, session.fp32.shapes)
        pretrained.check(state, session.fp32.shapes, weights)
        programs.load_weights(session, state)
    untrained = _untrained(weights)
    _save_fp32(session, home / "fp32", described, inputs, untrained)
    # Of its own, so that post-training quantization does not end a training that can be resumed.
    checkpoints = Checkpoints(home / ("ptq_training" if qat == home / "ptq" else "training"), session)
    position = checkpoints.resume(artifacts.fingerprint([described, inputs]))
    if position.phase != "start":
        say(f"resuming: {position.phase}, {position.updates} of {total} updates done")
    trainer = loop.Trainer(session, images, settings, _teacher(home / "fp32"), checkpoints, position)
    best = trainer.run()
    say(f"kept: {best.best_at}")
    with artifacts.atomic_directory(qat) as directory:
        program = programs.convert(session, settings)
        save_model(program, [programs.IMAGE], [session.logits], session.executor, session.scope, directory)
        artifacts.write_manifest(
            directory / "manifest.json", "train", described, inputs, artifacts.outputs_of(directory), kind="qat",
            untrained=untrained,
            training={k: v for k, v in asdict(trainer.position).items() if k in ("updates", "best_at", "history")},
        )  # fmt: skip
    say(f"QAT model: {artifacts.shown(qat)}")


def _save_fp32(session, target: Path, described: dict, inputs: dict, untrained: bool) -> None:
    from qat8.saving import save_model
    from qat8.training import programs

    config = {k: described[k] for k in ("model", "preprocessing")}
    with artifacts.exclusive(target):
        inputs = {"weights": inputs["weights"]}
        if artifacts.up_to_date(target, "train", config, inputs):
            return
        with artifacts.atomic_directory(target) as directory:
            fp32 = session.fp32
            save_model(fp32.program, [programs.IMAGE], [fp32.logits], session.executor, session.reference, directory)
            outputs = artifacts.outputs_of(directory)
            artifacts.write_manifest(directory / "manifest.json", "train", config, inputs, outputs, kind="fp32",
                                     untrained=untrained)  # fmt: skip
    say(f"FP32 model: {artifacts.shown(target)}")


def _teacher(fp32: Path):
    from qat8.prediction import predictor

    run = predictor(fp32, threads=len(os.sched_getaffinity(0)))
    return lambda images: np.asarray(run(images))


def _link(link: Path, target: Path) -> None:
    """Point data/models/MODEL/qat to the default place; a renamed link replaces the old one in one step."""
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    os.replace(fresh, link)


if __name__ == "__main__":
    cli.run(main)
