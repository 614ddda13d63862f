"""Configuring the C++ tester: what is accepted, and what is refused with a message that says what to do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qat8 import errors, tester_run
from qat8.datafile import DTYPES, Header, Writer

TESTER = Path(__file__).resolve().parents[2] / "tester"


def fake_wheel(directory: Path, version: str) -> Path:
    """A wheel's tree without a wheel's contents: enough for what cmake looks at."""
    (directory / "base").mkdir(parents=True)
    (directory / "version").mkdir()
    (directory / "base/libpaddle.so").write_bytes(b"")
    (directory / "version/__init__.py").write_text(f"# made by a test\nfull_version     = '{version}'\nmajor = '2'\n")
    return directory


def fake_python(directory: Path, libdir: Path) -> Path:
    """An interpreter that answers as Debian's python3.11 does, with `libdir` for /usr/lib."""
    script = directory / "python"
    names = "libpython3.11.so,libpython3.11.so.1.0"
    script.write_text(f"#!/bin/sh\necho '{directory}/paddle|3.11|{libdir}|{libdir}|{names}'\n")
    script.chmod(0o755)
    return script


def test_the_exit_codes_of_the_cpp_tester_are_those_of_errors_py():
    listed = dict(re.findall(r"^  k(\w+) = (\d+),", (TESTER / "errors.h").read_text(), re.M))
    classes = {c.__name__: c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.QatError)}
    expected = {name: str(c.exit_code) for name, c in classes.items()}
    signals = {"HungUp": errors.HUNG_UP, "Interrupted": errors.INTERRUPTED, "Terminated": errors.TERMINATED}
    expected |= {name: str(code) for name, code in signals.items()}
    assert listed == expected


def test_the_tutorials_cmake_line_builds_against_the_wheel(configure):
    done = configure("-DUSE_GPU=OFF", "-DPADDLE_ROOT=", "-DUSE_PROFILER=OFF")
    assert done.code == 0, done.text
    assert "Paddle: wheel 2.6.2" in done.text


def test_a_gpu_build_is_refused(configure):
    done = configure("-DUSE_GPU=ON")
    assert done.code != 0 and "use -DUSE_GPU=OFF" in done.text


def test_a_wheel_of_another_version_is_refused_when_configuring(configure, tmp_path):
    done = configure(f"-DPADDLE_WHEEL={fake_wheel(tmp_path / 'paddle', '3.0.0')}")
    assert done.code != 0
    assert "is paddlepaddle 3.0.0" in done.text and "exactly 2.6.2" in done.text


def test_a_wheel_whose_version_is_changed_after_configuring_is_refused_by_the_next_build(configure, tmp_path):
    wheel = fake_wheel(tmp_path / "paddle", "2.6.2")
    done = configure(f"-DPADDLE_WHEEL={wheel}")
    assert done.code == 0, done.text
    later = done.dir.stat().st_mtime + 100
    version = wheel / "version/__init__.py"
    version.write_text("full_version = '2.6.3'\n")
    os.utime(version, (later, later))
    built = subprocess.run(["cmake", "--build", str(done.dir)], capture_output=True, text=True)
    assert built.returncode != 0 and "paddlepaddle 2.6.3" in " ".join(built.stderr.split())


def test_a_missing_wheel_is_refused_by_naming_what_to_install(configure, tmp_path):
    done = configure(f"-DPADDLE_WHEEL={tmp_path}")
    assert done.code != 0 and "install paddlepaddle==2.6.2" in done.text


def test_an_interpreter_that_cannot_run_is_refused(configure, tmp_path):
    done = configure(f"-DPADDLE_PYTHON={tmp_path / 'python'}")
    assert done.code != 0 and "-DPADDLE_PYTHON=PATH" in done.text


def test_a_python_without_shared_libpython_is_refused_by_naming_the_package(configure, tmp_path):
    fake_wheel(tmp_path / "paddle", "2.6.2")
    python = fake_python(tmp_path, tmp_path / "lib")
    python.write_text(python.read_text().replace("3.11", "3.99"))  # /usr/lib may hold a real libpython3.11
    done = configure(f"-DPADDLE_PYTHON={python}")
    assert done.code != 0 and "apt-get install libpython3.99" in done.text


def test_debians_libpython_is_found_although_only_its_so_1_0_is_installed(configure, tmp_path):
    fake_wheel(tmp_path / "paddle", "2.6.2")
    library = tmp_path / "lib/x86_64-linux-gnu/libpython3.11.so.1.0"
    library.parent.mkdir(parents=True)
    library.touch()
    done = configure(f"-DPADDLE_PYTHON={fake_python(tmp_path, tmp_path / 'lib')}")
    assert done.code == 0 and str(library) in done.text, done.text


@pytest.mark.parametrize("missing", ["paddle/include/paddle_inference_api.h", "paddle/lib/libpaddle_inference.so"])
def test_an_incomplete_paddle_root_is_refused_by_naming_the_missing_file(configure, tmp_path, missing):
    (tmp_path / "paddle/include").mkdir(parents=True)
    if "lib/" in missing:
        (tmp_path / "paddle/include/paddle_inference_api.h").touch()
    done = configure(f"-DPADDLE_ROOT={tmp_path}")
    assert done.code != 0 and missing in done.text


def test_the_tester_builds_and_runs_against_a_paddle_root_with_the_older_library_name(configure, paddle_root, tmp_path):
    done = configure(f"-DPADDLE_ROOT={paddle_root}", "-DPADDLE_PYTHON=/nonexistent", "-DWARNINGS_AS_ERRORS=ON")
    assert done.code == 0 and "libpaddle_fluid.so" in done.text, done.text
    built = subprocess.run(["cmake", "--build", str(done.dir), "-j", "2"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    writer = Writer(tmp_path / "data.bin", Header(5, 4, 4, DTYPES[1], 10, raw=True))
    for first_pixel, label in [(3, 3), (4, 4), (7, 0), (0, 4), (9, 9)]:  # nearest classes of 7: 7 6 8 5 9, of 0: 0..4
        writer.append(np.full((3, 4, 4), first_pixel, np.float32), label)
    writer.close()
    (tmp_path / "__model__").write_bytes(b"\x0a\x00")  # one empty block: the least that is a program
    command = [done.dir / "sample_tester", f"--infer_model={tmp_path}", f"--infer_data={tmp_path / 'data.bin'}"]
    command += ["--data_dim=4", "--batch_size=2", f"--json={tmp_path / 'run.json'}"]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    result = tester_run.load(tmp_path / "run.json")
    assert result.paddle_version == "2.0.0-beta0"
    assert result.predictions == [3, 4, 7, 0, 9]
    assert (result.top1, result.top5) == (3 / 5, 4 / 5)
    online = subprocess.run([*map(str, command), "--int8_online"], capture_output=True, text=True)
    assert online.returncode == 5 and "cannot quantize online" in online.stderr


def test_a_library_of_another_version_is_refused_when_running_before_any_config_is_made(run, preload, models, data):
    env = preload("""
        #include <cstdlib>
        namespace paddle_infer { std::string GetVersion() { return "version: 3.0.0\\ncommit: x\\n"; } }
        namespace paddle { AnalysisConfig::AnalysisConfig() { std::abort(); } }
    """)
    done = run("cpp", infer_model=models / "plain", infer_data=data["float32"], env=env)
    assert done.code == errors.MachineError.exit_code
    assert done.err.startswith("error: libpaddle.so is version 3.0.0; expected 2.6.2") and done.err.count("\n") == 1


def test_the_interpreter_of_the_tests_is_the_one_that_was_built_for(build):
    cache = (build / "CMakeCache.txt").read_text()
    assert f"PADDLE_PYTHON:STRING={sys.executable}\n" in cache
