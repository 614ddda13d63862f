"""A profile for people: what the terminal shows, as rich tables, and the rows of the CSV file."""

from __future__ import annotations

import csv
import io
from collections import defaultdict

from rich import box
from rich.markup import escape
from rich.table import Table

from qat8.profiling.operations import sizes
from qat8.profiling.record import PrimitiveRow, Profile, Step

LAYOUTS = {"abcd": "NCHW", "acdb": "NHWC", "ab": "NC", "aBcd16b": "nChw16c", "aBcd8b": "nChw8c", "aBcd4b": "nChw4c"}
TYPES = {"s8": "int8", "u8": "uint8", "f32": "FP32", "bf16": "BF16", "f16": "FP16", "s32": "int32"}
OUTSIDE = "outside oneDNN"
FIELDS = (
    "step", "operator", "layer", "saved_operators", "primitive", "kernel", "problem", "src", "weights", "dst",
    "src_layout", "weights_layout", "dst_layout", "attributes", "ms", "share", "operations", "gop_per_s", "outside_ms",
)  # fmt: skip


def _table(title: str, *columns: str, figures: int) -> Table:
    """The last `figures` columns are right-aligned."""
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        right = number >= len(columns) - figures
        drawn.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return drawn


def heading(profile: Profile) -> str:
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    return f"{profile.model} {profile.precision}, batch {profile.batch_size}, {threads}"


def shape(step: Step) -> str:
    """`32x112x112 > 64x112x112 k1x1 s1 g32`: one image's input and output, and what kind of convolution."""
    words = [" > ".join("x".join(map(str, s[1:])) for s in (step.input_shape, step.output_shape) if len(s) > 1)]
    main = step.main
    if main and main.kind == "convolution":
        size = sizes(main.problem)
        words += [f"k{size['kh']}x{size['kw']}", f"s{size['sh']}"] + ([f"g{size['g']}"] if size.get("g", 1) > 1 else [])
    return " ".join(words)


def fused(step: Step) -> str:
    """The types of the saved operators, `conv2d+batch_norm+relu6`; the executed type alone where it made none up."""
    saved = [name.split()[1] for name in step.saved]
    return "+".join(saved) if saved else f"{step.operator} (made at load time)"


def operators(profile: Profile, narrow: bool = False) -> Table:
    """Every operator in the order in which it ran; `narrow` without shapes and the kernels' instruction sets."""
    title = f"{heading(profile)}: every operator, in order"
    shapes = [] if narrow else ["Shape"]
    drawn = _table(title, "#", "Operator", "Layer", *shapes, "Types", "Kernel", "ms", "Share", "GOP/s", figures=3)

    def add(number: str, what: str, layer: str, size: str, types: str, kernel: str, ms: float | None, rate="", **style):
        figures = ["", "", ""] if ms is None else [_ms(ms), _share(profile, ms), rate]
        name = kernel.partition(":")[0] if narrow else kernel
        drawn.add_row(number, escape(what), escape(layer), *[size for _ in shapes], types, name, *figures, **style)

    for step in profile.steps:
        main = step.main
        kernel, ms, rate = (main.kernel, main.ms, _rate(main.rate)) if main else ("", None, "")
        add(str(step.index), fused(step), step.layer, shape(step), step.types, kernel, ms, rate)
        for p in (p for p in step.primitives if p is not main):
            add("", f"  with {p.kind}", "", p.problem, _from_to(p), p.kernel, p.ms)
    add("", OUTSIDE, "", "", "", "", profile.total_ms - profile.inside_ms)
    add("", "run, median without a log", "", "", "", "", profile.total_ms, style="bold")
    return drawn


def kinds(profile: Profile) -> Table:
    """The same summed by kind of primitive, type of its source and kernel."""
    sums: dict[tuple, list[PrimitiveRow]] = defaultdict(list)
    for p in (p for step in profile.steps for p in step.primitives):
        sums[p.kind, p.operands["src"].dtype if "src" in p.operands else "", p.kernel].append(p)
    drawn = _table("By kernel", "Primitive", "Source", "Kernel", "Count", "ms", "Share", "GOP/s", figures=4)
    for (kind, dtype, kernel), rows in sorted(sums.items(), key=lambda item: -sum(p.ms for p in item[1])):
        ms, done = sum(p.ms for p in rows), sum(p.operations or 0 for p in rows)
        rate = done / ms / 1e6 if done and ms else None
        drawn.add_row(kind, TYPES.get(dtype, dtype), kernel, str(len(rows)), _ms(ms), _share(profile, ms), _rate(rate))
    rest = profile.total_ms - profile.inside_ms
    drawn.add_row(OUTSIDE, "", "", "", _ms(rest), _share(profile, rest), "")
    return drawn


def outside(profile: Profile, most: int = 5) -> Table:
    """The operators around whose primitives the most time went, as far as the executor's log can tell."""
    title = "Outside oneDNN, the longest (upper bounds: with the executor's log on)"
    drawn = _table(title, "#", "Operator", "Layer", "ms", figures=1)
    drawn.add_row("", "before the first operator: the input is copied", "", _ms(profile.before_ms))
    for step in sorted(profile.steps, key=lambda s: -s.outside_ms)[:most]:
        drawn.add_row(str(step.index), escape(step.operator), escape(step.layer), _ms(step.outside_ms))
    return drawn


def reorders(profile: Profile) -> Table | None:
    """Every change of type or layout; None when there is none."""
    drawn = _table("Reorders", "#", "In", "From", "To", "Sizes", "ms", "Share", figures=2)
    for step in profile.steps:
        for p in step.primitives:
            if p.kind == "reorder":
                where, source, to = f"{step.operator} {step.layer}", _operand(p, "src"), _operand(p, "dst")
                drawn.add_row(str(step.index), escape(where), source, to, p.problem, _ms(p.ms), _share(profile, p.ms))
    return drawn if drawn.row_count else None


def left(profile: Profile) -> Table | None:
    """What of an INT8 model is not INT8; None when that is not the question, or everything is."""
    drawn = _table("Not INT8", "Operator", "Layer", "Why", "ms", figures=1)
    for row in profile.left:
        drawn.add_row(row.operator, escape(row.layer), escape(row.why), "" if row.ms is None else _ms(row.ms))
    return drawn if drawn.row_count else None


def all_tables(profile: Profile, narrow: bool = False) -> list[Table]:
    tables = (operators(profile, narrow), kinds(profile), reorders(profile), outside(profile), left(profile))
    return [table for table in tables if table]


def csv_text(profile: Profile) -> str:
    """One line per primitive, and one per operator that called none; the columns are `FIELDS`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for step in profile.steps:
        head = [step.index, step.operator, step.layer, "; ".join(step.saved)]
        for p in step.primitives or [None]:
            writer.writerow([*head, *(_cells(profile, p) if p else [""] * 14), f"{step.outside_ms:.6g}"])
    return out.getvalue()


def _cells(profile: Profile, p: PrimitiveRow) -> list:
    operands = [p.operands.get(role) for role in ("src", "wei", "dst")]
    return [
        p.kind, p.kernel, p.problem,
        *(o.dtype if o else "" for o in operands), *(o.layout if o else "" for o in operands), p.attributes,
        f"{p.ms:.6g}", f"{profile.share(p.ms):.6g}", p.operations or "", f"{p.rate:.6g}" if p.rate else "",
    ]  # fmt: skip


def _operand(p: PrimitiveRow, role: str) -> str:
    operand = p.operands[role]
    return f"{TYPES.get(operand.dtype, operand.dtype)} {LAYOUTS.get(operand.layout, operand.layout)}"


def _from_to(p: PrimitiveRow) -> str:
    return f"{_operand(p, 'src')} > {_operand(p, 'dst')}" if {"src", "dst"} <= p.operands.keys() else ""


def _ms(ms: float) -> str:
    return f"{ms:.3f}"


def _share(profile: Profile, ms: float) -> str:
    return f"{profile.share(ms):.1%}"


def _rate(rate: float | None) -> str:
    return f"{rate:.1f}" if rate else ""
