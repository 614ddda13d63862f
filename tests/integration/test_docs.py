"""Every command that the documentation shows exists and takes the flags that it is shown with."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program

from qat8.older_python import zip_strict

pytestmark = pytest.mark.integration

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").glob("**/*.md"), REPO / "data/README.md"])
BLOCK = re.compile(r"^```(bash|sh|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SEPARATORS = {"&&", "||", ";", "|", "&"}


class Wrong(Exception):
    """What is wrong with a command."""


# From a page to commands.


def lines(kind: str, text: str) -> Iterator[str]:
    """The command lines of a block; in a console block those behind a prompt, the others are output."""
    text = text.replace("\\\n", " ")
    for line in text.splitlines():
        if kind != "console":
            yield line
        elif line.startswith("$ "):
            yield line[2:]


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, without comments, redirections and variables that are set for one of them."""
    lexer = shlex.shlex(re.sub(r"\d*>&\d", "", line), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    current: list[str] = []
    words = iter([*lexer, ";"])
    for word in words:
        if word in SEPARATORS:
            while current and re.fullmatch(r"[A-Za-z_]\w*=.*", current[0]):
                current.pop(0)
            if current:
                yield current
            current = []
        elif set(word) <= set("<>&") and word:
            next(words)  # the file
        else:
            current.append(word)


def shown() -> list[tuple[str, list[str]]]:
    """(page:line, command) of everything in the pages' blocks."""
    found = []
    for page in PAGES:
        text = page.read_text() if page.is_file() else ""
        for block in BLOCK.finditer(text):
            first = text.count("\n", 0, block.start()) + 2
            for command in (c for line in lines(*block.groups()) for c in commands(line)):
                found.append((f"{page.relative_to(REPO)}:{first}", command))
    return found


# What is known of each program.


@functools.cache
def task_parser() -> Parser:
    spec = importlib.util.spec_from_file_location("documented_tasks", REPO / "tasks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    initial = Program(namespace=module.namespace).initial_context
    return Parser(contexts=module.namespace.to_contexts(), initial=initial)


@functools.cache
def makefile() -> tuple[set[str], set[str]]:
    """Targets and variables."""
    text = (REPO / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z \-]*):(?!=)", text, re.MULTILINE)
    return {t for group in targets for t in group.split()}, set(re.findall(r"^(\w+) *[?:]?=", text, re.MULTILINE))


@functools.cache
def flags_of(*start: str) -> set[str]:
    """Flags that a program's --help names."""
    env = {**os.environ, "COLUMNS": "500"}
    done = subprocess.run([sys.executable, *start, "--help"], capture_output=True, text=True, env=env, cwd=REPO)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(?<![\w-])(--?[A-Za-z][\w.\-]*)", done.stdout))


@functools.cache
def scenario_flags() -> set[str]:
    """Those that tester/flags.cc refuses without --scenario, and that one itself."""
    listed = re.search(r'refuse\(\{([^}]*)\},\s*"without --scenario"\)', (REPO / "tester/flags.cc").read_text())
    return {"--scenario", *(f"--{name}" for name in re.findall(r"\w+", listed[1]))}


@functools.cache
def cmake_options() -> set[str]:
    files = [REPO / "tester/CMakeLists.txt", *(REPO / "tester/cmake").glob("*.cmake")]
    names = re.findall(r"(?:option\(|set\(|\$\{|if\(NOT |if\()(\w+)", "".join(f.read_text() for f in files))
    return {*names, "CMAKE_BUILD_TYPE"}


# The checks.


def check_flags(known: set[str], arguments: list[str]) -> None:
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag.startswith("-") and not re.fullmatch(r"-\d+", flag) and flag not in known:
            raise Wrong(f"no flag {flag}")


def check_make(arguments: list[str]) -> None:
    targets, variables = makefile()
    words = iter(arguments)
    for word in words:
        if word == "-C":
            directory = next(words, "")
            if not (REPO / directory).parent.is_dir():
                raise Wrong(f"no directory {directory}")
            return  # what cmake has made there is cmake's
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            if not re.fullmatch(r"-(j\d*|n|s|k|B)", word):
                raise Wrong(f"no flag {word}")
        elif equals and name not in variables:
            raise Wrong(f"no variable {name}")
        elif not equals and name not in targets:
            raise Wrong(f"no target {name}")


def check_inv(arguments: list[str]) -> None:
    try:
        task_parser().parse_argv(arguments)
    except ParseError as e:
        raise Wrong(str(e)) from e


def check_python(arguments: list[str]) -> None:
    start = arguments[:1]
    if start == ["-m"]:
        module, rest = arguments[1], arguments[2:]
        if module == "pytest":
            missing = [a for a in rest if not a.startswith("-") and "/" in a and not (REPO / a.split("::")[0]).exists()]
            if missing:
                raise Wrong(f"no file {missing[0]}")
            return
        if not module.startswith("qat8"):
            return
        if not importlib.util.find_spec(module):
            raise Wrong(f"no module {module}")
        check_flags(flags_of("-m", module), rest)
    elif start and start[0].endswith(".py"):
        if not (REPO / start[0]).is_file():
            raise Wrong(f"no script {start[0]}")
        check_flags(flags_of(start[0]), arguments[1:])
    elif not start or start[0] not in ("-c", "--version"):
        raise Wrong(f"not understood: python {' '.join(arguments)}")


def check_run_sh(arguments: list[str]) -> None:
    """It takes them when it reaches the tester, here one that does nothing."""
    env = {**os.environ, "TESTER": "/bin/true"}
    done = subprocess.run([REPO / "tester/run.sh", *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(done.stderr.strip())


def check_cmake(arguments: list[str]) -> None:
    for flag, value in zip_strict(arguments, [*arguments[1:], ""]):
        if flag == "-S" and not (REPO / value / "CMakeLists.txt").is_file():
            raise Wrong(f"no CMakeLists.txt in {value}")
        option = re.match(r"-D(\w+)", flag)
        if option and option[1] not in cmake_options():
            raise Wrong(f"no option {option[1]}")


def check(command: list[str]) -> bool:
    """Whether the command is one of ours.

    Raises:
        Wrong: it is, and it would not be taken.
    """
    program, arguments = command[0], command[1:]
    name = program.removeprefix("./").removeprefix(".venv/bin/")
    if name == "make":
        check_make(arguments)
    elif name in ("inv", "invoke"):
        check_inv(arguments)
    elif name in ("python", "python3"):
        check_python(arguments)
    elif name in ("run.sh", "tester/run.sh"):
        check_run_sh(arguments)
    elif name == "tester/build/sample_tester":
        # tests/cpp holds the two testers' flags together, but for those of the scenarios, which only C++ has.
        check_flags(flags_of("tester/sample_tester.py") | scenario_flags(), arguments)
    elif name == "cmake":
        check_cmake(arguments)
    elif "/" in name and not program.startswith(("/", "~")):
        if not os.access(REPO / name, os.X_OK):
            raise Wrong(f"no program {program}")
        return False
    else:
        return False
    return True


COMMANDS = shown()


def test_there_is_a_readme_and_it_shows_the_two_commands():
    assert (REPO / "README.md").is_file()
    ours = [command for where, command in COMMANDS if where.startswith("README.md:")]
    assert ["make", "demo"] in ours and ["make", "test"] in ours


def test_the_readme_shows_every_stage_both_testers_and_the_tutorials_scripts():
    seen = {" ".join(word for word in command[:2] if "=" not in word) for _, command in COMMANDS}
    for stage in ("preprocess", "train", "convert", "benchmark", "report", "build.tester"):
        assert {f"inv {stage}", f".venv/bin/inv {stage}"} & seen, stage
    words = {word for _, command in COMMANDS for word in command}
    scripts = ["train_image_classification.py", "save_qat_model.py", "full_ILSVRC2012_val_preprocess.py",
               "sample_tester.py", "run.sh", "sample_tester"]  # fmt: skip
    assert [s for s in scripts if not any(word.endswith(s) for word in words)] == []


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=[f"{w} {' '.join(c)[:60]}" for w, c in COMMANDS])
def test_every_shown_command_would_be_taken(where, command):
    check(command)


# Names in running text: `make help`, `inv report`.

SPAN = re.compile(r"`((?:make|inv|\.venv/bin/inv)\s[^`]+)`")


def spans() -> list[tuple[str, list[str]]]:
    found = []
    for page in (p for p in PAGES if p.is_file()):
        text = BLOCK.sub("", page.read_text())
        for match in SPAN.finditer(text):
            words = match[1].split()
            if not words[1].isupper():  # `inv NAME` stands for all of them
                found.append((page.name, words[: 2 if any(w.isupper() or "..." in w for w in words) else None]))
    return found


@pytest.mark.parametrize(("page", "command"), spans(), ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_every_command_in_running_text_would_be_taken(page, command):
    if command[0] != "make" and len(command) == 2 and not command[1].startswith("-"):
        assert command[1] in task_parser().contexts  # a mere name, which may want arguments
    else:
        assert check(command)


@pytest.mark.parametrize("link", sorted({
    (str(page.relative_to(REPO)), target)
    for page in PAGES if page.is_file()
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
}), ids=" -> ".join)  # fmt: skip
def test_every_link_to_a_file_leads_somewhere(link):
    page, target = link
    assert ((REPO / page).parent / target).exists()


# The check itself.


@pytest.mark.parametrize(
    "line",
    [
        "make demo", "make -j2 test TESTS=tests/unit", "make -C tester/build", "inv train --LearningRate.base_lr=1e-5",
        ".venv/bin/inv preprocess --local --data-dir=x", "inv build.tester", "inv train --set seed=1 --set a=0.5",
        "python src/save_qat_model.py --qat_model_path=x --quantized-ops='conv2d,pool2d'", "tester/run.sh -1 20",
        "KMP_BLOCKTIME=1 ./run.sh 0 2", "python3 tester/sample_tester.py --infer_model=m --int8_online",
        "tester/build/sample_tester --infer_model=m --batch_size=50", "python -m qat8.stages.train --num-epochs=0",
        "cmake -S tester -B tester/build -DUSE_GPU=OFF -DPADDLE_ROOT=$PADDLE_ROOT",
        ".venv/bin/python -m pytest tests/unit",
    ],
)  # fmt: skip
def test_a_right_command_passes(line):
    (command,) = commands(line)
    assert check(command)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make demonstration", "no target demonstration"),
        ("make demo SPEED=9", "no variable SPEED"),
        ("make --fast", "no flag --fast"),
        ("inv trian", "trian"),
        ("inv train --epochs=3", "epochs"),
        ("inv train --LearningRate.lr=3", "LearningRate.lr"),
        ("python src/train.py", "no script src/train.py"),
        ("python src/save_qat_model.py --qat-path=x", "no flag --qat-path"),
        ("python -m qat8.stages.trian", "no module qat8.stages.trian"),
        ("python -m qat8.stages.train --epochs=1", "no flag --epochs"),
        (".venv/bin/python -m pytest tests/none", "no file tests/none"),
        ("tester/build/sample_tester --model=m", "no flag --model"),
        ("tester/build/sample_tester --scenario=server --latency=15", "no flag --latency"),
        ("tester/run.sh many", "iterations 'many'"),
        ("tester/walk.sh", "no program tester/walk.sh"),
        ("cmake -S tester -DUSE_TPU=ON", "no option USE_TPU"),
        ("cmake -S testers", "no CMakeLists.txt in testers"),
    ],
)
def test_a_wrong_command_is_found(line, fault):
    (command,) = commands(line)
    with pytest.raises(Wrong, match=re.escape(fault)):
        check(command)


def test_blocks_are_read_as_a_shell_reads_them():
    text = "make demo   # all\n$ make test\nA=1 B='x y' inv report >out 2>&1 && make \\\n  help | tee log\n"
    assert [c for line in lines("bash", text.replace("$ ", "")) for c in commands(line)] == [
        ["make", "demo"], ["make", "test"], ["inv", "report"], ["make", "help"], ["tee", "log"],
    ]  # fmt: skip
    assert [c for line in lines("console", text) for c in commands(line)] == [["make", "test"]]
