"""Which instructions oneDNN may use: the kernel's flags are pretended, the variables are those of oneDNN."""

import pytest

from qat8 import instructions, kernel

SERVER = "fpu avx2 avx512f avx512_vnni"


@pytest.fixture
def machine(monkeypatch):
    def make(flags: str, **variables: str):
        monkeypatch.setattr(kernel, "cpuinfo", lambda: {"flags": flags})
        for name in instructions.VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize(
    ("flags", "vnni", "saturates"),
    [
        (SERVER, True, False),
        ("fpu avx2 avx512f", False, True),
        ("fpu avx2 avx_vnni", False, False),  # the 256 bit form of clients, not what the tutorial's figures rest on
        ("avx512_vnni_made_up", False, True),
        ("", False, True),
    ],
)
def test_vnni_is_the_kernels_flag_and_no_part_of_a_word(machine, flags, vnni, saturates):
    machine(flags)
    assert (instructions.has_vnni(), instructions.saturates()) == (vnni, saturates)


@pytest.mark.parametrize(
    ("value", "vnni", "saturates"),
    [
        ("", True, False),
        ("AVX512_CORE_VNNI", True, False),
        ("avx512_core_bf16", True, False),
        ("ALL", True, False),
        ("AVX512_CORE", False, True),
        ("avx2", False, True),
        ("AVX2_VNNI", False, False),
        ("SSE41", False, True),
    ],
)
@pytest.mark.parametrize("name", instructions.VARIABLES)
def test_a_limit_of_onednn_counts_as_if_the_cpu_had_no_more(machine, name, value, vnni, saturates):
    machine(f"{SERVER} avx_vnni", **{name: value})
    assert (instructions.has_vnni(), instructions.saturates()) == (vnni, saturates)


def test_of_the_two_variables_the_newer_one_counts_unless_it_is_empty(machine):
    machine(SERVER, ONEDNN_MAX_CPU_ISA="AVX512_CORE_VNNI", DNNL_MAX_CPU_ISA="AVX2")
    assert instructions.has_vnni()
    machine(SERVER, ONEDNN_MAX_CPU_ISA="", DNNL_MAX_CPU_ISA="AVX2")
    assert not instructions.has_vnni()


def test_what_is_lacking_is_said_with_its_cause(machine):
    machine(SERVER)
    assert instructions.shortcomings() == []
    machine("fpu avx2")
    assert [
        "this CPU has no AVX-512 VNNI" in line and "about 1.5x" in line for line in instructions.shortcomings()
    ] == [True]
    machine(SERVER, DNNL_MAX_CPU_ISA="AVX2")
    assert instructions.shortcomings()[0].startswith("DNNL_MAX_CPU_ISA=AVX2 keeps oneDNN from AVX-512 VNNI")


def test_a_limit_that_onednn_does_not_know_is_named_for_it_does_nothing(machine):
    machine(SERVER, ONEDNN_MAX_CPU_ISA="AVX5")
    assert instructions.has_vnni()
    assert instructions.shortcomings() == ["oneDNN ignores ONEDNN_MAX_CPU_ISA=AVX5, which it does not know"]
