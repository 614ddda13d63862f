"""tasks.py: what a task takes arrives at its stage, and the stage takes it."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program

from qat8 import artifacts, cli, config

REPO = Path(__file__).resolve().parents[2]
STAGES = ("dataset", "weights", "preprocess", "train", "convert", "benchmark", "report", "profile", "sensitivity",
          "doctor", "schema",
          "build.tester")  # fmt: skip


@pytest.fixture(scope="module")
def tasks():
    spec = importlib.util.spec_from_file_location("qat8_tasks", REPO / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def started(tasks, monkeypatch):
    """`started("train --x=1")`: the stages that `inv` would start, each with its flags."""

    def run(line: str) -> list[tuple[str, list[str]]]:
        calls = []
        monkeypatch.setattr(tasks, "run", lambda stage, argv, *_, **__: calls.append((stage, argv)))
        Program(namespace=tasks.namespace).run(["inv", *line.split()], exit=False)
        return calls

    return run


class Parsed(Exception):
    """What a stage's parser understood."""


@pytest.fixture
def understood(monkeypatch):
    """`understood(stage, argv)`: the stage's flags as its own parser reads them; nothing is run."""
    parse = cli.Parser.parse_args

    def stop(self, *args):
        raise Parsed(parse(self, *args))

    def read(stage: str, argv: list[str]):
        monkeypatch.setattr(cli.Parser, "parse_args", stop)
        with pytest.raises(Parsed) as end:
            importlib.import_module(f"qat8.stages.{stage}").main(argv)
        return end.value.args[0]

    return read


@pytest.mark.parametrize("task", STAGES)
def test_a_task_without_flags_starts_its_stage_with_flags_that_it_takes(started, understood, task):
    ((stage, argv),) = started(task)
    assert stage == ("build_tester" if task == "build.tester" else task)
    understood(stage, argv)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("dataset --output-dir=d --ilsvrc2012", {"output_dir": "d", "ilsvrc2012": True}),
        ("weights --model=X --output-dir=d", {"model": "X", "output_dir": "d"}),
        ("weights --file=f --weights-sha256=1 --allow-unused --backbone-only",
         {"file": "f", "weights_sha256": "1", "allow_unused": True, "backbone_only": True}),
        ("preprocess --local --data-dir=d --label-list=l --output-file=o --data-dim=32 --model=ResNet50 --format=raw "
         "--on-missing=skip --classes=7 --workers=1 --normalisation=imagenet",
         {"local": True, "data_dir": "d", "label_list": "l", "output_file": "o", "data_dim": 32, "model": "ResNet50",
          "format": "raw", "on_missing": "skip", "classes": 7, "workers": 1, "normalisation": "imagenet"}),
        ("preprocess --dtype=uint8", {"dtype": "uint8", "local": False, "data_dim": 224}),
        ("train --model=X --pretrained-model=p --data-dir=d --save-float32-qat-dir=s --max-iters=0 --num-epochs=0 "
         "--batch-size=8 --config-file=c --set a=1 --set b=2",
         {"model": "X", "pretrained_model": "p", "data_dir": "d", "save_float32_qat_dir": "s", "max_iters": 0,
          "num_epochs": 0, "batch_size": 8, "config_file": "c", "set": ["a=1", "b=2"]}),
        ("convert --model=X --qat-model-path=q --int8-model-save-path=i --quantized-ops=conv2d --check-data=c "
         "--min-agreement=0.5",
         {"model": "X", "qat_model_path": "q", "int8_model_save_path": "i", "quantized_ops": "conv2d",
          "check_data": "c", "min_agreement": 0.5}),
        ("convert --strategy=ptq --max-drop=0.5 --fp32-model=f",
         {"strategy": "ptq", "max_drop": 0.5, "fp32_model": "f"}),
        ("train --strategy=ptq", {"strategy": "ptq"}),
        ("sensitivity --model=X --data-file=d --qat-model-path=q --fp32-model=f --quantized-ops=conv2d --output-dir=o",
         {"model": "X", "data_file": "d", "qat_model_path": "q", "fp32_model": "f", "quantized_ops": "conv2d",
          "output_dir": "o"}),
        ("benchmark --models=X --fp32-model=f --int8-model=i --data-file=d --testers=cpp --threads=1 --batch-sizes=2 "
         "--cpus=0 --repetitions=3 --min-seconds=0.5 --warmup=0 --quick --reuse --output=o "
         "--max-top1-drop=0 --strict --mlflow=u",
         {"models": "X", "fp32_model": "f", "int8_model": "i", "data_file": "d", "testers": "cpp", "threads": "1",
          "batch_sizes": "2", "cpus": "0", "repetitions": 3, "min_seconds": 0.5, "warmup": 0, "quick": True,
          "reuse": True, "output": "o", "max_top1_drop": 0.0, "strict": True, "mlflow": "u"}),
        ("report --output-dir=d", {"output_dir": "d"}),
        ("profile --model=X --precision=fp32 --batch-size=3 --num-threads=2 --cpus=0 --iterations=4 --data-file=f "
         "--warmup=1 --model-path=m --output-dir=o",
         {"model": "X", "precision": "fp32", "batch_size": 3, "num_threads": 2, "cpus": "0", "iterations": 4,
          "data_file": "f", "warmup": 1, "model_path": "m", "output_dir": "o"}),
        ("compare x y --max-regression=0 --metric=int8 --min-change=0 --force",
         {"a": Path("x"), "b": Path("y"), "max_regression": 0.0, "metric": "int8", "min_change": 0.0, "force": True}),
        ("history x --output-dir=d --model=M --all",
         {"directory": Path("x"), "output_dir": "d", "model": "M", "all": True}),
        ("doctor --apply", {"fix": False, "apply": True, "restore": False}),
        ("schema --output=o", {"output": "o"}),
        ("build.tester --paddle-root=r --use-profiler", {"paddle_root": "r", "use_profiler": True}),
    ],
)  # fmt: skip
def test_every_flag_of_a_task_arrives_at_its_stage(started, understood, line, values):
    ((stage, argv),) = started(line)
    read = vars(understood(stage, argv))
    assert {name: read[name] for name in values} == values


def test_every_key_of_the_configuration_is_a_flag_of_train_and_keeps_its_underscores(started, understood):
    dotted = [name for name in config.leaf_names() if "." in name]
    assert len(dotted) > 8
    ((stage, argv),) = started("train " + " ".join(f"--{name}=7" for name in dotted))
    read = vars(understood(stage, argv))
    assert {name: read[name] for name in dotted} == dict.fromkeys(dotted, "7")


def test_the_demo_runs_every_stage_and_the_report_last(started, understood):
    calls = started("demo")
    for stage, argv in calls:
        understood(stage, argv)
    names = [stage for stage, _ in calls]
    chain = ["dataset", "weights", "preprocess", "train", "convert", "benchmark", "report"]
    assert [name for name in names if name in chain] == chain and names[-1] == "report"
    assert names.index("build_tester") < names.index("benchmark")
    assert "--reuse" in dict(calls)["benchmark"]
    checked = understood("convert", dict(calls)["convert"]).check_data
    assert Path(checked).resolve() == artifacts.EMBEDDED.resolve() / "val.bin", "QAT8_DATA names another place"


@pytest.mark.parametrize("line", ["train --no-such-flag=1", "no-such-task", "preprocess --data_dim=1 --nothing"])
def test_a_flag_or_task_that_is_not_there_is_refused(tasks, line):
    parser = Parser(contexts=tasks.namespace.to_contexts(), initial=Program(namespace=tasks.namespace).initial_context)
    with pytest.raises(ParseError):
        parser.parse_argv(line.split())


def test_every_task_says_what_it_does(tasks):
    helps = {name: tasks.namespace[name].__doc__ for name in tasks.namespace.task_names}
    assert {name for name, text in helps.items() if not text or len(text) < 10} == set()


def mentioned() -> set[tuple[str, str]]:
    """(file, task) of each `inv TASK` that a message or comment of ours tells the reader to type."""
    files = [*(REPO / "src").rglob("*"), *(REPO / "tester").glob("*"), *(REPO / "tester/cmake").glob("*")]
    files = [p for p in files if p.suffix in (".py", ".cc", ".h", ".sh", ".j2", ".cmake")]
    found = re.compile(r"\binv ([a-z][a-z0-9_.]*[a-z0-9])")
    return {(str(p.relative_to(REPO)), name) for p in files for name in found.findall(p.read_text())}


def test_every_task_that_a_message_names_is_there(tasks):
    known = set(tasks.namespace.task_names)
    found = mentioned()
    assert {name for _, name in found} >= {"train", "benchmark", "build.tester"}
    assert {(file, name) for file, name in found if name not in known} == set()
