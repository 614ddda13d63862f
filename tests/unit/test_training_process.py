"""What training tells Paddle, glibc and MKL before it starts: it works, and what the user has set stays."""

import json
import os
import subprocess
import sys

import pytest

from qat8 import kernel
from qat8.training import process

# Takes and frees 64 MiB twenty times and counts the pages that the kernel had to hand out.
PROGRAM = """
import json, os, resource, sys
from qat8.training import process
if sys.argv[1:] == ["prepared"]:
    process.prepare()
import numpy as np
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 26, np.uint8)
before = faults()
for _ in range(20):
    np.ones(1 << 26, np.uint8)
pages = faults() - before
from qat8.engine import paddle
(serial,) = paddle.get_flags([process.SERIAL]).values()
print(json.dumps([pages, serial, os.environ.get(process.MKL)]))
"""
PAGES = 20 * (1 << 26) // 4096


def run(*words: str, **variables: str) -> tuple[int, bool, str]:
    mine = {name: value for name, value in os.environ.items() if name not in (process.MKL, process.SERIAL)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True,
                          env={**mine, **variables})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def test_memory_is_kept_and_operators_run_one_at_a_time():
    without, serial, _ = run()
    assert without > PAGES / 1000 and not serial, "nothing to gain here"
    kept, serial, _ = run("prepared")
    assert kept < without / 10 and serial


def test_what_the_user_has_set_stays():
    without, _, _ = run()
    kept, serial, kind = run("prepared", MALLOC_TRIM_THRESHOLD_="131072", **{process.SERIAL: "0", process.MKL: "4"})
    assert kept > without / 2 and not serial and kind == "4"


@pytest.mark.parametrize(
    ("vendor", "flags", "kind"),
    [("AuthenticAMD", "sse avx2", "5"), ("AuthenticAMD", "sse avx", None), ("GenuineIntel", "avx2 avx512f", None)],
)
def test_mkl_is_told_of_avx2_only_where_it_would_not_find_it(monkeypatch, vendor, flags, kind):
    monkeypatch.setattr(kernel, "cpuinfo", lambda: {"vendor_id": vendor, "flags": flags})
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: pytest.fail("the user's setting was changed"))
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "65536")
    monkeypatch.setenv(process.SERIAL, "0")
    monkeypatch.setenv(process.MKL, "")
    monkeypatch.delenv(process.MKL)
    process.prepare()
    assert os.environ.get(process.MKL) == kind
