"""What training tells Paddle and glibc before it starts: it works, and what the user has set stays."""

import json
import os
import subprocess
import sys

from qat8.training import process

# Takes and frees 64 MiB twenty times and counts the pages that the kernel had to hand out.
PROGRAM = """
import json, resource, sys
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
print(json.dumps([pages, serial]))
"""
PAGES = 20 * (1 << 26) // 4096


def run(*words: str, **variables: str) -> tuple[int, bool]:
    mine = {name: value for name, value in os.environ.items() if name != process.SERIAL}
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True,
                          env={**mine, **variables})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def test_memory_is_kept_and_operators_run_one_at_a_time():
    without, serial = run()
    assert without > PAGES / 1000 and not serial, "nothing to gain here"
    kept, serial = run("prepared")
    assert kept < without / 10 and serial


def test_what_the_user_has_set_stays():
    without, _ = run()
    kept, serial = run("prepared", MALLOC_TRIM_THRESHOLD_="131072", **{process.SERIAL: "0"})
    assert kept > without / 2 and not serial
