"""What holds for the project's files as a whole."""

import os
import re
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    """The project's own files: what git knows or would take; without git, all but what is made."""
    command = ["git", "-C", str(REPO), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        paths = [REPO / name for name in done.stdout.split("\0") if name]
    else:
        made = {".venv", ".git", "data", "build", "__pycache__"}
        paths = [p for p in REPO.rglob("*") if not made & set(p.relative_to(REPO).parts)]
    return [p for p in paths if p.is_file()]


FILES = tracked()
# In two halves, so that this file does not name them either.
HOSTS = ["".join(parts) for parts in (
    ("pypi.", "org"), ("pythonhosted.", "org"), ("pypi.", "tuna"), ("mirrors.", "aliyun"), ("mirror.", "baidu"),
    ("paddle-wheel.", "bj"), ("registry-1.", "docker"), ("index.docker", ".io"), ("hub.docker", ".com"),
    ("ghcr", ".io"), ("quay", ".io"), ("mcr.", "microsoft"), ("gcr", ".io"), ("deb.", "debian"),
    ("security.", "debian"), ("archive.", "ubuntu"), ("registry.", "npmjs"), ("conda.", "anaconda"),
    ("huggingface", ".co"),
)]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_file_says_where_packages_and_images_come_from(host):
    """That is the machine's configuration: pip's, apt's, the engine's."""
    named = [str(p.relative_to(REPO)) for p in FILES if host.encode() in p.read_bytes()]
    assert named == []


def test_the_list_of_files_is_the_project():
    names = {str(p.relative_to(REPO)) for p in FILES}
    assert {"Makefile", "requirements.txt", "src/qat8/cli.py", "tests/unit/test_project.py"} <= names
    assert not any(name.startswith((".venv/", "data/models")) for name in names)


def test_every_requirement_is_pinned_with_hashes():
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-mlflow.txt", "requirements-dask.txt"):
        entries = re.split(r"\n(?=\S)", (REPO / name).read_text())
        pins = [e for e in entries if not e.startswith(("#", " ", "-c", "\n")) and e.strip()]
        assert pins, name
        assert [e.splitlines()[0] for e in pins if not re.match(r"[\w.\-\[\]]+==\S+", e)] == []
        assert [e.splitlines()[0] for e in pins if "--hash=sha256:" not in e] == []


# The Makefile.

RULE = re.compile(r"^([a-z][a-z \-]*):(?!=)(.*)$")


def rules(text: str) -> list[tuple[list[str], bool, str]]:
    """(targets, whether there is a recipe, help) of each rule, with the recipes' `$@` in the third part's place."""
    found = []
    for line in text.splitlines():
        if match := RULE.match(line):
            found.append([match[1].split(), "", match[2].partition("## ")[2]])
        elif line.startswith("\t") and found:
            found[-1][1] += line
        elif line.strip():
            found.append([[], "", ""])
    return found


def unlisted(makefile: str, listed: set[str]) -> list[str]:
    """Targets with a recipe that `make help` does not list. Of synonyms, which one recipe serves alike, one will do."""
    missing = []
    for targets, recipe, _ in rules(makefile):
        absent = [t for t in targets if t not in listed]
        if recipe and (absent if "$@" in recipe else len(absent) == len(targets)):
            missing += absent
    return missing


def listed() -> set[str]:
    out = subprocess.run(["make", "-s", "-C", str(REPO), "help"], check=True, capture_output=True, text=True).stdout
    return {line.split()[1] for line in out.splitlines() if line.startswith("  make ")}


def test_make_help_lists_every_target_that_does_something():
    assert unlisted((REPO / "Makefile").read_text(), listed()) == []


def test_the_search_for_targets_finds_one_that_is_not_listed():
    text = (
        "a: setup ## help\n\t@x\n\nb c: setup\n\t@y $@\n\nb: ## help\n\nd e: setup\n\t@z\n\nd: ## help\n\nf-g:\n\t@v\n"
    )
    assert unlisted(text, {"a", "b", "d"}) == ["c", "f-g"]


def test_make_help_lists_nothing_that_is_not_there_and_says_what_each_does():
    text = (REPO / "Makefile").read_text()
    known = {target for targets, _, _ in rules(text) for target in targets}
    helped = {targets[0]: words for targets, _, words in rules(text) if words}
    assert listed() == set(helped) <= known
    assert all(len(words) > 5 for words in helped.values())


def test_make_alone_shows_the_help():
    done = subprocess.run(["make", "-s", "-C", str(REPO)], capture_output=True, text=True)
    assert done.returncode == 0 and "make demo" in done.stdout and "make test" in done.stdout


def test_every_target_is_phony_so_that_a_file_of_its_name_does_not_stop_it():
    text = (REPO / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE)[1].split())
    assert {target for targets, _, _ in rules(text) for target in targets} - {"make"} <= phony


@pytest.mark.parametrize("name", ["src/setup.sh", "tester/run.sh", ".ci/run"])
def test_scripts_can_be_executed_and_are_bash_without_errors(name):
    assert os.access(REPO / name, os.X_OK)
    subprocess.run(["bash", "-n", str(REPO / name)], check=True)
