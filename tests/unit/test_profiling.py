"""Profiles: lines of real logs are read, operators get their primitives, what does not fit is refused."""

import csv
import io

import pytest

from qat8.errors import VerificationError
from qat8.int8.selection import layer_name
from qat8.profiling import assemble, collect, operations, plot, tables
from qat8.profiling.log import Memory, Operator, Primitive, parse_line
from qat8.profiling.record import Left, Profile
from qat8.profiling.saved import SavedOperator, SavedProgram

# As oneDNN 3.2.1 and Paddle 2.6.2 printed them.
CONV = (
    "onednn_verbose,exec,cpu,convolution,brdgmm_dw:avx512_core_vnni,forward_inference,src_u8:a:blocked:acdb::f0 "
    "wei_s8:a:blocked:debcA16a::f0 bia_f32::blocked:a::f0 dst_u8:a:blocked:acdb::f0,attr-scales:src0:0+dst:0+wei:3 "
    "attr-post-ops:eltwise_clip:0:6 ,alg:convolution_direct,"
    "g32mb2_ic32oc32_ih112oh112kh3sh1dh0ph1_iw112ow112kw3sw1dw0pw1,0.156982"
)
REORDER = (
    "onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd::f0 dst_s8::blocked:acdb::f0,"
    "attr-scales:src0:0 ,,2x3x224x224,0.0429688"
)
POOL = (
    "onednn_verbose,exec,cpu,pooling,jit_int:avx512_core,forward_inference,src_u8::blocked:acdb::f0 "
    "dst_u8:a:blocked:acdb::f0 ws_undef::undef:::,,alg:pooling_avg_exclude_padding,mb2ic1024_ih7oh1kh7,0.00512695"
)
OPERATOR = (
    "I1124 09:09:29.527563 13438 naive_executor.cc:96] 140017284131712 run Op(fused_conv2d), inputs:{Bias[fuse_conv_bn/"
    "conv2d_eltwise_y_in/1:float[32]({})(Place(cpu))], Filter[conv2d_1.w_0:float[32, 1, 3, 3]({})(Place(cpu))], "
    "Input[relu6_0.tmp_0:uint8_t[2, 32, 112, 112]({})(Place(cpu))]}, outputs:{Output[relu6_1.tmp_0:uint8_t[2, 32, 112, "
    "112]({})(Place(cpu))]}. on scope 0x55d41a5dc1a0"
)


def test_a_convolution_of_the_log_is_read_with_types_layouts_and_time():
    read = parse_line(CONV)
    assert (read.kind, read.implementation, read.ms) == ("convolution", "brdgmm_dw:avx512_core_vnni", 0.156982)
    assert read.memories[0] == Memory("src", "u8", "acdb")
    assert [read.dtype(role) for role in ("src", "wei", "bia", "dst")] == ["u8", "s8", "f32", "u8"]
    assert read.layout("wei") == "debcA16a" and "eltwise_clip:0:6" in read.attributes


def test_a_reorder_says_from_what_to_what_and_absent_operands_are_no_operands():
    read = parse_line(REORDER)
    assert (read.dtype("src"), read.layout("src"), read.dtype("dst"), read.layout("dst")) == (
        "f32",
        "abcd",
        "s8",
        "acdb",
    )
    assert [m.role for m in parse_line(POOL).memories] == ["src", "dst"]


def test_an_operator_of_the_executor_is_read_with_its_variables():
    read = parse_line(OPERATOR)
    assert read.type == "fused_conv2d" and read.outputs == (("relu6_1.tmp_0", (2, 32, 112, 112)),)
    assert ("conv2d_1.w_0", (32, 1, 3, 3)) in read.inputs
    assert read.seconds == pytest.approx(9 * 3600 + 9 * 60 + 29.527563)


@pytest.mark.parametrize(
    "line",
    ["", "Top1 acc 0.9", "onednn_verbose,info,oneDNN v3.2.1",
     "onednn_verbose,create:cache_hit,cpu,convolution,x,,,,,,1", "onednn_verbose,exec,cpu",
     "I1124 09:09:29.5 1 analysis_predictor.cc:1] run Op(x)"],
)  # fmt: skip
def test_other_lines_are_no_events(line):
    assert parse_line(line) is None


# Arithmetic.


def primitive(kind: str, problem: str, ms: float = 1.0, dtype: str = "f32") -> Primitive:
    memories = (Memory("src", dtype, "acdb"), Memory("dst", dtype, "acdb"))
    return Primitive(kind, "brgemm:avx512_core", memories, "", problem, ms)


@pytest.mark.parametrize(
    ("kind", "problem", "wanted"),
    [
        ("convolution", "mb2_ic3oc32_ih224oh112kh3sh2dh0ph0_iw224ow112kw3sw2dw0pw0", 2 * 2 * 32 * 112 * 112 * 9 * 3),
        ("convolution", "g32mb2_ic32oc32_ih112oh112kh3sh1dh0ph1_iw112ow112kw3sw1dw0pw1", 2 * 2 * 32 * 112 * 112 * 9),
        ("inner_product", "mb50ic1024oc1000", 2 * 50 * 1024 * 1000),
        ("inner_product", "mb50ic512ih7iw7oc4096", 2 * 50 * 512 * 49 * 4096),
        ("matmul", "50x1024:1024x1000:50x1000", 2 * 50 * 1024 * 1000),
        ("matmul", "4x5x6:1x6x7", 2 * 4 * 5 * 6 * 7),
        ("reorder", "2x3x224x224", None),
        ("convolution", "nothing", None),
        ("matmul", "nothing", None),
    ],
)
def test_operations_are_two_for_each_multiplication_and_addition(kind, problem, wanted):
    assert operations.operations(primitive(kind, problem)) == wanted


# Joining the logs.


def operator(kind: str, inputs: list[str], outputs: list[str], seconds: float = 0.0) -> Operator:
    return Operator(kind, tuple((n, (2, 3)) for n in inputs), tuple((n, (2, 4)) for n in outputs), seconds)


def output(*runs: tuple[float, list[str]]) -> str:
    lines = ["Paddle says hello", REORDER]
    for ms, events in runs:
        lines += ["qat8_profile,run,32969.5", *events, f"qat8_profile,end,32969.6,{ms}", POOL]
    return "\n".join(lines)


def test_only_what_lies_between_the_marks_belongs_to_a_run():
    first, second = collect.split(output((7.5, [REORDER, CONV]), (8.5, [CONV])))
    assert [p.kind for p in first.primitives] == ["reorder", "convolution"] and first.ms == 7.5
    assert [p.kind for p in second.primitives] == ["convolution"] and second.ended == 32969.6


def run(events: list, ms: float = 10.0, began: float = 100.0, ended: float = 100.01) -> collect.Run:
    return collect.Run(events, ms, began, ended)


A, B = operator("conv2d", ["x"], ["y"], 100.001), operator("fc", ["y"], ["z"], 100.005)


def test_an_operator_has_the_primitives_up_to_the_next_one_and_their_median_times():
    def at(ms):
        return [primitive("reorder", "2x3", ms), primitive("convolution", "mb1_ic1oc1", 2 * ms)]

    fc = primitive("inner_product", "mb1ic1oc1", 0.5)
    logged = [run([*at(ms), fc]) for ms in (1.0, 9.0, 2.0)]
    first, second = collect.join(logged, [run([A, *at(1.0), B, fc])])
    assert [p.kind for p in first.primitives] == ["reorder", "convolution"] and first.ms == [2.0, 4.0]
    assert second.operator is B and second.ms == [0.5]
    assert first.outside_ms == pytest.approx(4 - 3, abs=1e-6)  # 4 ms to the next operator, of which 3 in primitives
    assert second.outside_ms == pytest.approx(5 - 0.5, abs=1e-6)


def test_a_run_over_midnight_has_no_negative_times():
    before = operator("conv2d", ["x"], ["y"], 86399.999)
    after = operator("fc", ["y"], ["z"], 0.001)
    conv = primitive("convolution", "mb1_ic1oc1", 0.5)
    first, _ = collect.join([run([conv])], [run([before, conv, after], ended=0.002)])
    assert first.outside_ms == pytest.approx(1.5, abs=1e-6)


def test_runs_with_other_primitives_and_logs_without_any_are_refused():
    conv, other = primitive("convolution", "mb1_ic1oc1"), primitive("convolution", "mb2_ic1oc1")
    with pytest.raises(VerificationError, match="different oneDNN primitives"):
        collect.join([run([other])], [run([A, conv])])
    with pytest.raises(VerificationError, match="0 operators and 1 oneDNN primitives"):
        collect.join([run([conv])], [run([conv])])
    with pytest.raises(VerificationError, match="1 operators and 0 oneDNN primitives"):
        collect.join([run([])], [run([A])])


# The saved program.

SAVED = SavedProgram(
    [
        SavedOperator("feed", ["feed"], ["x"]),
        SavedOperator("conv2d", ["x", "conv2d_0.w_0"], ["c"]),
        SavedOperator("batch_norm", ["c", "mean"], ["b", "mean"]),
        SavedOperator("relu", ["b"], ["r"]),
        SavedOperator("pool2d", ["r"], ["p"]),
        SavedOperator("elementwise_add", ["p", "r"], ["s"]),
    ],
    {"conv2d_0.w_0", "mean"},
)


def test_a_fused_operator_stands_for_all_between_its_inputs_and_its_output():
    assert SAVED.stands_for(operator("fused_conv2d", ["x", "bias"], ["r"])) == ["1 conv2d", "2 batch_norm", "3 relu"]
    assert SAVED.stands_for(operator("pool2d", ["r"], ["p"])) == ["4 pool2d"]
    assert SAVED.stands_for(operator("fused", ["r"], ["s"])) == ["4 pool2d", "5 elementwise_add"]


def test_an_operator_that_paddle_made_up_stands_for_none():
    assert SAVED.stands_for(operator("transfer_layout", ["r"], ["made"])) == []


def test_a_layer_is_called_by_its_weights_else_by_its_output():
    assert layer_name(["bias_0.b_0", "conv2d_3.w_0", "x"], ["y"]) == "conv2d_3"
    assert layer_name(["x"], ["y", "z"]) == "y" and layer_name([], []) == ""


# The record and what is shown of it.


@pytest.fixture
def profile(monkeypatch, tmp_path):
    monkeypatch.setattr(assemble.artifacts, "model_files", lambda _: (tmp_path, tmp_path))
    monkeypatch.setattr(assemble.SavedProgram, "read", lambda _: SAVED)
    conv = parse_line(CONV)
    fused = operator("fused_conv2d", ["x", "conv2d_0.w_0"], ["r"])
    calls = [
        collect.Called(fused, [parse_line(REORDER), conv], [1.0, 4.0], 0.5),
        collect.Called(operator("pool2d", ["r"], ["p"]), [primitive("pooling", "mb1ic1")], [2.0], 0.1),
        collect.Called(operator("flatten", ["p"], ["f"]), [], [], 0.2),
    ]  # fmt: skip
    return Profile(
        model="M", precision="int8", directory="d", batch_size=2, threads=1, cpus=[0], cpu="c", paddle="2.6.2",
        onednn="3.2.1", images_repeated=False, runs_ms=[11, 9, 10], logged_runs_ms=[12], before_ms=0.3,
        steps=assemble.steps(calls, tmp_path), left=[Left(operator="fc", layer="l", why="not asked for", ms=None)],
    )  # fmt: skip


def test_shares_are_of_the_median_run_and_the_rest_is_outside(profile):
    assert (profile.total_ms, profile.inside_ms) == (10, 7)
    assert profile.share(4.0) == 0.4
    main = profile.steps[0].main
    assert main.kind == "convolution" and profile.steps[0].types == "u8 s8 u8"
    assert main.rate == pytest.approx(2 * 2 * 32 * 112 * 112 * 9 / 4.0 / 1e6)
    assert [s.saved for s in profile.steps] == [["1 conv2d", "2 batch_norm", "3 relu"], ["4 pool2d"], []]


@pytest.mark.parametrize(
    ("plain", "logged", "disturbed"), [(10, 11, False), (10, 13, True), (12, 10, True), (6.9, 7.0, True)]
)
def test_runs_that_differ_by_more_than_a_log_costs_were_disturbed(profile, plain, logged, disturbed):
    assert profile.model_copy(update={"runs_ms": [plain], "logged_runs_ms": [logged]}).disturbed is disturbed


def text(table) -> list[str]:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_the_tables_name_kernels_reorders_the_rest_and_what_is_not_int8(profile):
    lines = text(tables.operators(profile))
    assert any(
        "conv2d+batch_norm+relu conv2d_0" in line and "brdgmm_dw:avx512_core_vnni 4.000 40.0%" in line for line in lines
    )
    assert any("flatten (made at load time)" in line for line in lines)
    assert any(line.startswith("outside oneDNN 3.000 30.0%") for line in lines)
    assert any("FP32 NCHW int8 NHWC 2x3x224x224 1.000 10.0%" in line for line in text(tables.reorders(profile)))
    assert any(line == "fc l not asked for" for line in text(tables.left(profile)))
    assert any("before the first operator" in line and "0.300" in line for line in text(tables.outside(profile)))
    assert len(tables.all_tables(profile)) == 5


def test_on_a_narrow_terminal_kernels_go_without_their_instruction_set(profile):
    lines = text(tables.operators(profile, narrow=True))
    assert any("brdgmm_dw 4.000 40.0%" in line for line in lines) and not any("avx512" in line for line in lines)


def test_the_csv_has_a_line_for_each_primitive_and_for_each_operator_without_one(profile):
    rows = list(csv.DictReader(io.StringIO(tables.csv_text(profile))))
    assert [row["primitive"] for row in rows] == ["reorder", "convolution", "pooling", ""]
    assert rows[1]["dst_layout"] == "acdb" and float(rows[1]["share"]) == 0.4 and rows[3]["operator"] == "flatten"
    assert all(None not in row and None not in row.values() for row in rows)


def test_the_picture_is_one_and_its_text_is_the_profiles(profile):
    made = plot.pictures(profile)
    assert made["profile.png"].startswith(b"\x89PNG") and b"conv2d_0" in made["profile.svg"]
    assert [plot.precision(s) for s in profile.steps[:2]] == ["INT8", "FP32"]


def test_a_profile_survives_its_file(profile):
    assert Profile.model_validate_json(profile.model_dump_json(by_alias=True)) == profile


def test_a_step_of_a_reorder_alone_has_it_for_its_work_and_one_of_none_has_no_types(profile):
    first, last = profile.steps[0], profile.steps[-1]
    alone = first.model_copy(update={"primitives": first.primitives[:1]})
    assert alone.main.kind == "reorder" and alone.types == "f32 s8"
    assert last.main is None and last.types == ""
