"""What makes Paddle's training faster on CPUs and changes nothing that it computes, said before its first step.

The demo's training on two CPUs of an AMD EPYC of the third generation: 285 s without, 163 s with this and with means
that compute nothing twice (activations.py); the same weights to the last bit (docs/scale.md).
"""

from __future__ import annotations

import os

from qat8 import allocation

SERIAL = "FLAGS_new_executor_serial_run"


def prepare() -> None:
    """Of a variable that the user has set, nothing is changed.

    - Paddle's executor hands operators to several threads, although each of a network's waits for the one before. Every
      such thread has OpenMP threads of its own, which spin beside those that work.
    - glibc gives what an operator frees back to the kernel, which hands out the same memory zeroed a moment later: a
      third of the time. A training needs all of it until its end.

    MKL_DEBUG_CPU_TYPE=5 is not set: the wheel's MKL (of 2019) is a fourth faster with it on AMD's CPUs, but a training
    that was interrupted and went on then ended with other weights.
    """
    if "MALLOC_MMAP_MAX_" not in os.environ and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        allocation.keep()
    if SERIAL not in os.environ:
        from qat8.engine import paddle

        paddle.set_flags({SERIAL: True})
