"""What one core can do at most, measured beside the models by tester/peak.cc: the physical limit of every figure."""

from __future__ import annotations

import json
import subprocess

from qat8 import processes
from qat8.benchmarking.plan import TESTER_DIR
from qat8.results import Peak

PROGRAM = TESTER_DIR / "build" / "peak"
SECONDS = 0.3  # for each of FP32, INT8 and memory; the best of many short stretches counts


def measure(cpu: int) -> Peak | None:
    """Pinned to `cpu`. None where the program is not built or the CPU has no AVX2: a run is valid without it."""
    if not PROGRAM.is_file():
        return None
    command = processes.pinned([cpu], [str(PROGRAM), f"{SECONDS}"])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        return None
    found = json.loads(done.stdout)
    return Peak(
        fp32_flops_per_second_core=found["fp32_flops_per_second"], bytes_per_second_core=found["bytes_per_second"],
        int8_ops_per_second_core=found["int8_ops_per_second"],
        detail=f"CPU {cpu}, {found['isa']}, register to register; a multiplication and an addition are two operations",
    )  # fmt: skip
