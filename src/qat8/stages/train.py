"""FP32 weights -> FP32 model and float32 QAT model, by quantization-aware training (tutorial, section 2).

    data/models/MODEL/fp32/                                          the pretrained model, for comparison
    data/models/MODEL/quantization_models/act_ACTIVATION/float/      the float32 QAT model (qat is a link to it)
    data/models/MODEL/training/                                      checkpoints, metrics.jsonl, events/, logs/

Both models are model.pdmodel + model.pdiparams with a manifest.json. With --nproc or --hosts this starts itself once
for each process, which then trains; only the first of them writes.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from qat8 import artifacts, cli, manifests
from qat8 import config as configuration
from qat8.console import say, step
from qat8.errors import ModelError, UsageError
from qat8.models import pretrained, registry
from qat8.training import launch

# What post-training quantization leaves out of training: updates, and the correction of BatchNorm's means.
PTQ = {"num_epochs": "0", "calibration.mean_correction_images": "0"}
RANK = "PADDLE_TRAINER_ID"  # set in the processes of one training
EMBEDDED = artifacts.EMBEDDED


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
    p.flag("nproc", type=cli.positive_int, default=1, help="processes on this machine that train together")
    p.flag("hosts", default=None, help="addresses of all machines that do, by comma; start the same command on each")
    p.flag(
        "node-rank", type=cli.count, default=None, help="this machine's place in --hosts, from 0 (None: by its address)"
    )
    p.flag("port", type=cli.positive_int, default=None, help="where they find each other on the first (None: 6170)")
    p.flag("set", action="append", default=[], metavar="KEY=VALUE", help="the same as --KEY=VALUE")
    for name in configuration.leaf_names():
        if "." in name:
            p.add_argument(f"--{name}", dest=name, default=None, help="config.yaml")
    return p


def main(argv: list[str], prog: str = "train") -> None:
    args = parser(prog).parse_args(argv)
    settings = configuration.load(Path(args.config_file) if args.config_file else None, _overrides(args))
    model = registry.get(args.model)
    weights = _weights(args.pretrained_model, model)
    model = model.for_weights_of(pretrained.origin(weights, model.name))
    home = artifacts.DATA / "models" / model.name
    start = None
    if RANK not in os.environ and (args.nproc > 1 or args.hosts):
        layout = launch.Layout.of(args.nproc, args.hosts, args.node_rank, args.port)
        start = _starter(argv, layout)
        if layout.node > 0:  # the first machine decides whether there is anything to do, and writes it
            return start(home)
    ptq = home / "ptq" if args.strategy == "ptq" else None
    build(model, settings, weights, Path(args.data_dir), args.save_float32_qat_dir or ptq, start)


def _overrides(args) -> dict[str, str]:
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
    return overrides


def _weights(given: str | None, model: registry.Model) -> Path:
    weights = Path(given or artifacts.DATA / "weights" / model.name)
    if not given and not weights.is_dir():
        hint = "inv weights" if model.embedded_weights else "--pretrained-model=FILE.pdparams with weights of yours"
        raise ModelError(f"no pretrained weights of {model.name}", "trained FP32 weights to start from", hint)
    if not weights.exists():
        raise ModelError(f"{weights}: no such file", "pretrained weights (docs/weights.md)")
    if _untrained(weights):
        say("warning: these weights are random, or their last layer is; no accuracy of this model means anything")
    return weights


def _untrained(weights: Path) -> bool:
    manifest = (manifests.read(weights) if weights.is_dir() else None) or {}
    return bool(manifest.get("random_head") or manifest.get("random"))


def build(
    model: registry.Model, settings: configuration.TrainConfig, weights: Path, data_dir: Path, save_dir, start=None
) -> None:
    """`start(home)`, when given, has other processes do the training."""
    home = artifacts.DATA / "models" / model.name
    act = settings.quantization.activation_quantize_type
    qat = Path(save_dir) if save_dir else home / "quantization_models" / f"act_{act}" / "float"
    if not save_dir and (home / "qat").is_dir() and not (home / "qat").is_symlink():
        raise UsageError(f"{home / 'qat'} is a directory", "a link, which training sets", "move it away")
    rank = os.environ.get(RANK)
    # What was started by a training that holds the locks needs none, and must not wait for it.
    with _locked(home, qat) if rank is None else contextlib.nullcontext():
        inputs = {"weights": artifacts.sha256(weights), "images": _images_digest(data_dir, settings)}
        described = {"model": model.name, "preprocessing": model.preprocessing.fingerprint(), **settings.model_dump()}
        if _untrained(weights):
            described["untrained"] = True  # goes with the models, so that no accuracy is ever told of them
        for how_not_what in ("checkpoint_seconds", "loader"):
            described.pop(how_not_what)
        if rank is None and manifests.up_to_date(qat, "train", described, inputs) and (home / "fp32").is_dir():
            say(f"QAT model is up to date: {artifacts.shown(qat)}")
        elif start:
            start(home)
        else:
            _train(model, settings, weights, data_dir, home, qat, described, inputs)
        if not save_dir and rank is None and qat.is_dir():
            _link(home / "qat", qat)


@contextlib.contextmanager
def _locked(*paths: Path):
    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(artifacts.exclusive(path))
        yield


def _starter(argv: list[str], layout: launch.Layout):
    if layout.size == 1:
        return None
    return lambda home: launch.run(argv, layout, home / "training/logs")


def _images_digest(data_dir: Path, settings: configuration.TrainConfig) -> str:
    from qat8 import labels

    # Sizes and times, not contents: hashing 1.2 million photographs would cost as much as reading them for real.
    listed = []
    names = ["train_list.txt", *filter(None, [settings.validation.label_list])]
    for path, label in (entry for name in names for entry in labels.read(data_dir, data_dir / name)):
        known = path.stat() if path.is_file() else None
        listed.append([str(path.relative_to(data_dir)), label, known and [known.st_size, known.st_mtime_ns]])
    return artifacts.fingerprint(listed)


def _train(model, settings, weights, data_dir, home, qat, described, inputs) -> None:
    from qat8.training import images as training_images
    from qat8.training import loop, parallel, process, programs

    process.prepare()
    images = training_images.Images.read(data_dir, model.preprocessing, settings, model.classes)
    total = loop.updates(images, settings)
    say(f"{model.name}: {len(images.train)} training and {len(images.validation)} validation images, {total} updates")
    group = parallel.join()
    with step("building the programs"):
        session = programs.open_session(model, settings, total, group)
        state = pretrained.load(weights, model.name, session.fp32.shapes)
        pretrained.check(state, session.fp32.shapes, weights)
        programs.load_weights(session, state)
    with contextlib.ExitStack() as stack, group.together():
        fp32 = home / "fp32"
        if group.rank == 0:
            _save_fp32(session, fp32, described, inputs)
        else:  # perhaps on another machine
            fp32 = stack.enter_context(artifacts.scratch())
            _save_teacher(session, fp32)
        # Of its own, so that post-training quantization does not end a training that can be resumed.
        work = home / ("ptq_training" if qat == home / "ptq" else "training")
        fingerprint = artifacts.fingerprint([described, inputs])
        trainer = _trainer(session, images, settings, _teacher(fp32), work, fingerprint, stack)
        best = trainer.run()
        if group.rank == 0:
            say(f"kept: {best.best_at}")
            _save_qat(session, settings, qat, described, inputs, trainer.position)


def _trainer(session, images, settings, teacher, work: Path, fingerprint: str, stack):
    from qat8.training import checkpoint, loop
    from qat8.training.loader import Loader, workers
    from qat8.training.metrics import Metrics, NoMetrics

    group = session.group
    if group.rank == 0:
        checkpoints = checkpoint.Checkpoints(work, session)
        position = checkpoint.agreed(checkpoints.resume(fingerprint), session)
        metrics = Metrics(work, position)
    else:
        checkpoints, metrics = checkpoint.NoCheckpoints(), NoMetrics()
        position = checkpoint.agreed(checkpoint.Position(fingerprint), session)
    stack.callback(metrics.close)
    if position.phase != "start":
        say(f"resuming: {position.phase}, {position.updates} of {loop.updates(images, settings)} updates done")
    count = workers(settings.loader.workers, images)
    loader = stack.enter_context(Loader(images, settings.batch_size, count, group.rank, group.size))
    return loop.Trainer(session, loader, settings, teacher, checkpoints, position, metrics)


def _save_qat(session, settings, qat: Path, described: dict, inputs: dict, position) -> None:
    from qat8.saving import save_model
    from qat8.training import programs

    with artifacts.atomic_directory(qat) as directory:
        program = programs.convert(session, settings)
        save_model(program, [programs.IMAGE], [session.logits], session.executor, session.scope, directory)
        manifests.write(
            directory / "manifest.json", "train", described, inputs, manifests.outputs_of(directory), kind="qat",
            training={k: v for k, v in asdict(position).items() if k in ("updates", "best_at", "history")},
        )  # fmt: skip
    say(f"QAT model: {artifacts.shown(qat)}")


def _save_fp32(session, target: Path, described: dict, inputs: dict) -> None:
    from qat8.saving import save_model
    from qat8.training import programs

    config = {k: described[k] for k in ("model", "preprocessing", "untrained") if k in described}
    with artifacts.exclusive(target):
        inputs = {"weights": inputs["weights"]}
        if manifests.up_to_date(target, "train", config, inputs):
            return
        with artifacts.atomic_directory(target) as directory:
            fp32 = session.fp32
            save_model(fp32.program, [programs.IMAGE], [fp32.logits], session.executor, session.reference, directory)
            outputs = manifests.outputs_of(directory)
            manifests.write(directory / "manifest.json", "train", config, inputs, outputs, kind="fp32")
    say(f"FP32 model: {artifacts.shown(target)}")


def _save_teacher(session, directory: Path) -> None:
    from qat8.saving import save_model
    from qat8.training import programs

    fp32 = session.fp32
    save_model(fp32.program, [programs.IMAGE], [fp32.logits], session.executor, session.reference, directory)


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
