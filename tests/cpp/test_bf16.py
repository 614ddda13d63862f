"""BF16 in the three testers: FP32's classes by other kernels; on a CPU without bfloat16 one line and code 5."""

import os
import subprocess

import pytest

from qat8 import instructions
from qat8.benchmarking import onednn_log
from qat8.older_python import zip_strict

WHICH = pytest.mark.parametrize("which", ["cpp", "python", "engine"])
needs_bf16 = pytest.mark.skipif(
    not instructions.has_bf16(), reason="this CPU has no bfloat16 (avx512_bf16 or amx_bf16)"
)


@pytest.fixture
def model(models, tmp_path):
    """`model(which)`: the FP32 model in the tester's form."""
    from qat8.export import file, program

    def of(which: str):
        if which != "engine":
            return models / "plain"
        file.write(tmp_path / "plain.qat8", program.export(models / "plain", "fp32"))
        return tmp_path / "plain.qat8"

    return of


@needs_bf16
@WHICH
def test_bf16_names_fp32s_classes_on_nearly_all_images_and_is_not_fp32(run, model, data, which):
    flags = {"infer_model": model(which), "infer_data": data["uint8"], "batch_size": 10}
    fp32, bf16 = run(which, **flags).json, run(which, **flags, bf16="true").json
    same = sum(a == b for a, b in zip_strict(fp32.predictions, bf16.predictions))
    assert same >= 35 and len(set(bf16.predictions)) >= 3  # of 37 images of noise; two classes may lie level


@needs_bf16
@WHICH
def test_onednns_log_says_that_the_convolutions_ran_in_bfloat16_and_without_the_flag_in_float32(
    commands, model, data, which
):
    command = [*commands[which], f"--infer_model={model(which)}", f"--infer_data={data['uint8']}", "--batch_size=1",
               "--iterations=1"]  # fmt: skip
    env = {**os.environ, "ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
    for flags, whole in ((["--bf16"], True), ([], False)):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, env=env, check=True)
        found = onednn_log.convolutions(done.stdout, "bf16")
        assert found.total > 0 and found.quantized == (found.total if whole else 0)
        assert all("bf16" in name or "amx" in name for name in found.names)


@WHICH
def test_bf16_of_int8_online_is_a_contradiction(fails, models, data, which):
    given = {"infer_model": models / "plain", "infer_data": data["uint8"], "bf16": "true", "int8_online": "true"}
    fails(which, 2, "--bf16 with --int8_online", **given)


@needs_bf16
def test_the_engine_refuses_bf16_of_an_int8_file(fails, data, tmp_path):
    import numpy as np

    from qat8.export import file

    weights = np.ones((10, 3, 32, 32), np.int8)
    tensors = [
        file.Tensor("float32", (3, 32, 32)),
        file.Tensor("int8", (3, 32, 32)),
        file.Tensor("float32", (10, 1, 1)),
    ]
    linear = file.Operator("linear", 1, 2, weights=weights, weight_scales=np.ones(1, np.float32))
    plan = file.Plan("int8", tensors, [file.Operator("quantize", 0, 1, alpha=1.0), linear])
    file.write(tmp_path / "int8.qat8", plan)
    fails("engine", 4, "--bf16 of an INT8 model", infer_model=tmp_path / "int8.qat8", infer_data=data["uint8"],
          bf16="true")  # fmt: skip


@WHICH
@pytest.mark.parametrize(
    ("variable", "isa"), [("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI"), ("DNNL_MAX_CPU_ISA", "avx2")]
)
def test_where_onednn_may_not_use_bfloat16_it_is_one_line_and_code_5(run, models, data, which, variable, isa):
    done = run(which, infer_model=models / "plain", infer_data=data["uint8"], bf16="true", env={variable: isa})
    assert done.code == 5 and done.json is None
    assert done.err.startswith("error: --bf16: this CPU has no bfloat16 that oneDNN may use; expected avx512_bf16 or ")
    assert done.err.count("\n") == 1
