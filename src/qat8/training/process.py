"""What makes Paddle's training faster on CPUs, said before its first step.

The demo's training on two CPUs of an AMD EPYC of the third generation, from 285 s: 163 s with one operator at a time,
memory that stays and means that compute nothing twice (activations.py), the same weights to the last bit; 125 s with
MKL's kernels for AVX2, too (docs/scale.md).
"""

from __future__ import annotations

import ctypes
import os

from qat8 import kernel

SERIAL = "FLAGS_new_executor_serial_run"
MKL = "MKL_DEBUG_CPU_TYPE"
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def prepare() -> None:
    """Of a variable that the user has set, nothing is changed.

    - Paddle's executor hands operators to several threads, although each of a network's waits for the one before. Every
      such thread has OpenMP threads of its own, which spin beside those that work.
    - glibc gives what an operator frees back to the kernel, which hands out the same memory zeroed a moment later: a
      third of the time. mallopt(3); a training needs all of it until its end.
    - The wheel's MKL (of 2019) takes slow kernels on whatever is not Intel's. Type 5 is AVX2. The sums are in another
      order then, so the weights differ in their last bits from those that the slow kernels give.
    """
    if "MALLOC_MMAP_MAX_" not in os.environ and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
    info = kernel.cpuinfo()
    if info.get("vendor_id") != "GenuineIntel" and "avx2" in info.get("flags", "").split():
        os.environ.setdefault(MKL, "5")  # read at MKL's first call, so before any program has run
    if SERIAL not in os.environ:
        from qat8.engine import paddle

        paddle.set_flags({SERIAL: True})
