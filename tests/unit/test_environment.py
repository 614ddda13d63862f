"""What the machine is; the kernel's files are pretended where the answer depends on the machine."""

import json
import platform
import subprocess

import pytest

from qat8 import environment
from qat8.results import Check, Environment, Peak


def cpuinfo(monkeypatch, flags: str) -> None:
    monkeypatch.setattr(environment, "cpuinfo", lambda: {"model name": "Made up", "vendor_id": "X", "flags": flags})


def test_only_flags_that_bear_on_the_figures_are_recorded(monkeypatch):
    cpuinfo(monkeypatch, "fpu vme avx2 avx512_vnni hypervisor")
    found = environment.cpu()
    assert found["flags"] == ["avx2", "avx512_vnni"] and found["hypervisor"] is True
    assert (found["model"], found["vendor"]) == ("Made up", "X")


def test_two_generations_of_one_name_are_told_apart_by_family_model_and_stepping(monkeypatch):
    info = {"model name": "AMD EPYC", "cpu family": "25", "model": "17", "stepping": "1", "flags": ""}
    monkeypatch.setattr(environment, "cpuinfo", lambda: info)
    assert environment.cpu()["signature"] == "family 25, model 17, stepping 1"
    assert environment.signature({}) is None  # a kernel that does not tell


def test_the_record_is_valid_and_json_and_carries_the_checks(monkeypatch):
    monkeypatch.setenv("KMP_BLOCKTIME", "1")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    record = environment.record([Check(check="threads", ok=False, detail="0 busy")])
    assert Environment.model_validate_json(record.model_dump_json()) == record
    assert record.validity == [Check(check="threads", ok=False, detail="0 busy")]
    assert record.versions["paddlepaddle"] == "2.6.2" and record.versions["python"] == platform.python_version()
    assert record.variables["KMP_BLOCKTIME"] == "1" and "LD_PRELOAD" not in record.variables
    assert record.memory_bytes > 2**28 and record.cpu["allowed_cpus"]
    assert record.limits.keys() == {"cpu_quota", "memory_limit_bytes"} and len(record.load_average) == 3


def test_the_libraries_that_compute_are_recorded_by_their_sums():
    found = environment.libraries()
    assert found.keys() >= {"libpaddle.so", "libdnnl.so.3", "libiomp5.so"}
    assert all(len(digest) == 64 for digest in found.values()) and len(set(found.values())) == len(found)


def test_what_onednn_says_and_a_measured_peak_are_part_of_the_record():
    peak = Peak(fp32_flops_per_second_core=1e11)
    record = environment.record([], {"isa": "x"}, peak)
    assert (record.onednn, record.peak) == ({"isa": "x"}, peak)


def test_a_package_that_is_not_there_is_recorded_as_such():
    assert environment.version_of("no-such-package") == "not installed"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("QAT8_GIT_COMMIT", raising=False)
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path)

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    git("tag", "v1")
    return git


def test_the_commit_is_the_checkouts_in_full_whatever_tags_there_are(checkout):
    assert environment.git_commit() == checkout("rev-parse", "HEAD")


def test_changed_files_make_the_commit_dirty(checkout, tmp_path):
    (tmp_path / "file").write_text("2")
    assert environment.git_commit() == checkout("rev-parse", "HEAD") + "-dirty"


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.delenv("QAT8_GIT_COMMIT", raising=False)
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_commit() is None  # nor without git


def test_missing_tools_are_named_by_their_packages(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda program: None if program == "g++" else f"/bin/{program}")
    assert environment.missing_tools() == ["g++"]


def test_no_docker_engine_is_none_and_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert environment.docker_engine() is None


def test_the_cpu_is_json(monkeypatch):
    cpuinfo(monkeypatch, "avx2")
    assert json.loads(json.dumps(environment.cpu())) == environment.cpu()
