"""The engine's table lookup of uint8 images against normalising and quantizing them."""

import subprocess

import pytest

# mean, std, 1 / scale: one that saturates on both sides, one that does not, one that rounds halves
SETTINGS = {"saturating": (0.485, 0.05, 60.0), "within": (0.485, 0.229, 40.0), "halves": (0.0, 1.0, 127.5)}


@pytest.mark.parametrize("isa", ["", "AVX2"])
@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_byte_is_the_quantized_value_of_its_level(build, setting, kind, isa, monkeypatch):
    if isa:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)  # then without vector instructions
    command = [build / "check_lookup", *map(str, setting), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(3 * sum(range(1, 401))), "0"]
