"""What oneDNN uses of this CPU's instructions: those that it has, unless the user has oneDNN do without some.

ONEDNN_MAX_CPU_ISA (or, where that is empty, DNNL_MAX_CPU_ISA) names the most that oneDNN may use: how a lesser CPU is
imitated. oneDNN ignores a value that it does not know. Source: oneDNN Developer Guide 3.2, "CPU Dispatcher Control";
which of the two variables wins was tried.

Why it matters beyond the speed: without VNNI an INT8 kernel multiplies by vpmaddubsw, which adds two products of uint8
and int8 in 16 bits and saturates. 255 x 127 x 2 does not fit, 127 x 127 x 2 does (Developer Guide, "Nuances of int8
Computations"): there activations must not use more than half of uint8's range (`inv convert --reduce-range=true`).
"""

from __future__ import annotations

import os

from qat8 import kernel

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_AVX2_VNNI = ("avx2_vnni", "avx2_vnni_2")
_WITHOUT_VNNI = ("sse41", "avx", "avx2", "avx512_core")
_WITH_VNNI = ("avx512_core_vnni", "avx512_core_bf16", "avx512_core_fp16", "avx512_core_amx", "avx512_core_amx_fp16",
              "avx10_1_512", "avx10_1_512_amx", "avx10_1_512_amx_fp16", "all")  # fmt: skip
_WITHOUT_BF16 = (*_WITHOUT_VNNI, *_AVX2_VNNI, "avx512_core_vnni")  # as in tester/process_info.cc
_GAIN = "the tutorial's gain without it is about 1.5x instead of up to 4x (its Xeon Gold 6148)"


def limit() -> tuple[str, str] | None:
    """The variable that limits oneDNN, and its value; None where none is set."""
    return next(((name, os.environ[name]) for name in VARIABLES if os.environ.get(name)), None)


def _allowed(without: tuple[str, ...]) -> bool:
    found = limit()
    return found is None or found[1].lower() not in without


def _flags() -> set[str]:
    return set(kernel.cpuinfo().get("flags", "").split())


def has_vnni() -> bool:
    """AVX-512 VNNI, the instructions that the tutorial's INT8 figures rest on; False where oneDNN may not use them."""
    return "avx512_vnni" in _flags() and _allowed((*_WITHOUT_VNNI, *_AVX2_VNNI))


def has_bf16() -> bool:
    """Instructions for bfloat16, without which oneDNN would only imitate it; False where oneDNN may not use them."""
    return bool({"avx512_bf16", "amx_bf16"} & _flags()) and _allowed(_WITHOUT_BF16)


def has_vbmi() -> bool:
    """AVX-512 VBMI beside VNNI (Ice Lake, Zen 4 and newer): the engine's INT8 takes uint8 images as they are."""
    return has_vnni() and "avx512vbmi" in _flags()


def saturates() -> bool:
    """Whether INT8 kernels add products in 16 bits: no VNNI of either width."""
    return not (has_vnni() or ("avx_vnni" in _flags() and _allowed(_WITHOUT_VNNI)))


def shortcomings() -> list[str]:
    """What keeps INT8 from the tutorial's ratio, one sentence each; empty where nothing does."""
    found, said = limit(), []
    if found and found[1].lower() not in (*_WITHOUT_VNNI, *_AVX2_VNNI, *_WITH_VNNI):
        said.append(f"oneDNN ignores {found[0]}={found[1]}, which it does not know")
    if not has_vnni():
        there = "avx512_vnni" in _flags()
        what = f"{found[0]}={found[1]} keeps oneDNN from AVX-512 VNNI" if there else "this CPU has no AVX-512 VNNI"
        said.append(f"{what}; {_GAIN}")
    return said
