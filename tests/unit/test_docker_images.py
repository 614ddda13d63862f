import re
import subprocess
from pathlib import Path

import pytest

from qat8.containers import images
from qat8.dependencies import locks
from qat8.errors import DataError, UsageError
from qat8.stages import build_image


def test_the_projects_own_pins_are_whole():
    pins = images.load()
    assert pins.source.default == "v2.6.2"
    assert set(pins.source.refs) == {"v2.6.2", "2.0-beta", "develop"}
    assert pins.ref("2.0-beta").install_flag == "FLUID_INFERENCE_INSTALL_DIR"
    assert pins.ref("2.0-beta").library == "libpaddle_fluid.so"
    assert pins.ref("v2.6.2").library == "libpaddle_inference.so"


def test_the_pinned_wheels_are_those_of_the_lock(repo):
    lock = (repo / "requirements.txt").read_text()
    pins = images.load().wheel
    assert f"paddlepaddle=={pins.paddlepaddle} " in lock and f"paddleslim=={pins.paddleslim} " in lock


def test_the_images_wheels_are_those_of_its_own_python_whatever_the_hosts_is(monkeypatch, tmp_path):
    asked = {}

    def pip(command, **_):
        asked.update(word.split("=", 1) for word in command if word.startswith("--") and "=" in word)
        asked["text"] = Path(asked["--requirement"]).read_text()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(build_image, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(build_image.subprocess, "run", pip)
    build_image.wheels()
    python = images.load().base.python
    wanted = {pin.name for pin in locks.pins(locks.RUNTIME) if python in pin.pythons}
    assert asked["--python-version"] == python and asked["--only-binary"] == ":all:"
    assert set(re.findall(r"^([\w.-]+)==", asked["text"], re.M)) == wanted and " ; " not in asked["text"]


def test_the_tutorials_flags_are_all_there(repo):
    flags = images.load().source.cmake_flags
    tutorial = ["CMAKE_INSTALL_PREFIX=./tmp", "CMAKE_BUILD_TYPE=Release", "WITH_PYTHON=ON", "WITH_MKL=ON",
                "WITH_MKLDNN=ON", "WITH_GPU=OFF", "ON_INFER=ON", "WITH_PROFILER=OFF"]  # fmt: skip
    assert flags == [f"-D{flag}" for flag in tutorial]


def test_what_is_not_pinned_says_why():
    for ref in images.load().source.refs.values():
        assert (ref.commit and ref.slim_commit) or len(ref.unpinned) > 20


def test_an_unknown_ref_names_the_known_ones():
    with pytest.raises(UsageError) as e:
        images.load().ref("2.0beta")
    assert "did you mean 2.0-beta?" in str(e.value) and "develop" in str(e.value)


@pytest.mark.parametrize(
    "old, new, where",
    [
        ('default = "v2.6.2"', 'default = "v9"', "source: .*default 'v9' has no row"),
        ("schema = 1", "schema = 2", "schema"),
        ('"python3", ', '"python3; rm -rf /", ', "base.run_packages.0"),
        ("max_bytes = 2_000_000_000", "max_bytes = 0", "wheel.max_bytes"),
        ("[wheel]", "[wheel]\nspeed = 1", "wheel.speed"),
        ("@sha256:7b", "@sha256:", "base.image"),
        ('"-DWITH_GPU=OFF"', '"-DWITH_GPU=OFF;reboot"', "source.cmake_flags"),
        ("schema = 1", "schema = ", "images.toml: "),
        ('unpinned = "the branch of today, by intent"', "", "`unpinned` says why a commit is empty"),
        ('apt_snapshot = ""', 'apt_snapshot = "http://mirror/debian"', "base.apt_snapshot"),
    ],
)
def test_a_pin_that_does_not_fit_is_named(tmp_path, old, new, where):
    text = images.FILE.read_text()
    assert old in text
    broken = tmp_path / "images.toml"
    broken.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=where):
        images.load(broken)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.toml: No such file"):
        images.load(tmp_path / "absent.toml")
