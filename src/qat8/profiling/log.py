"""Reads what an inference prints of itself: oneDNN's verbose log, and the log of Paddle's executor.

oneDNN (3.2, as Paddle 2.6.2 has it) writes a line after each primitive, with comma-separated fields behind "exec"::

    onednn_verbose,exec,cpu,convolution,brgconv_1x1:avx512_core_vnni,forward_inference,
      src_u8:a:blocked:acdb::f0 wei_s8:a:blocked:AcdB64a4b::f0 bia_f32::blocked:a::f0 dst_u8:a:blocked:acdb::f0,
      attr-scales:src0:0+dst:0+wei:1 attr-post-ops:eltwise_clip:0:6 ,alg:convolution_direct,
      mb2_ic32oc64_ih112oh112kh1sh1dh0ph0_iw112ow112kw1sw1dw0pw0,0.198

that is engine, kind, implementation, propagation, memories (role_type:flags:kind:layout:...), attributes, algorithm,
problem, milliseconds. The executor writes a line before each operator at verbosity 4 of naive_executor.cc::

    I1124 09:09:29.527199 13438 naive_executor.cc:96] 14 run Op(fused_conv2d), inputs:{Filter[conv2d_0.w_0:float[32, 3,
      3, 3]({})(Place(cpu))], ...}, outputs:{Output[relu6_0.tmp_0:float[2, 32, 112, 112]({})(...)]}. on scope 0x55
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREFIXES = ("onednn_verbose", "dnnl_verbose")
_OPERATOR = re.compile(
    r"^I\d+ (\d+):(\d+):([\d.]+) +\d+ naive_executor\.cc:\d+\] .*?run Op\((\w+)\), inputs:\{(.*)\}, outputs:\{(.*)\}"
)
_VARIABLE = re.compile(r"([^\s\[\]{},:]+):(?:\w*)\[([\d, ]*)\]\(\{")
_MEMORY = re.compile(r"(\w+?)_(\w+):[^:]*:\w*:([^: ]*)")


@dataclass(frozen=True)
class Memory:
    """One operand: `role` src, wei, bia or dst; oneDNN's names of data type and layout."""

    role: str
    dtype: str
    layout: str


@dataclass(frozen=True)
class Primitive:
    """One executed oneDNN primitive."""

    kind: str
    implementation: str
    memories: tuple[Memory, ...]
    attributes: str
    problem: str
    ms: float

    @property
    def identity(self) -> tuple:
        """All but the time: equal for the same step of two runs."""
        return self.kind, self.implementation, self.memories, self.attributes, self.problem

    def dtype(self, role: str) -> str:
        """The data type of an operand, "" when there is none; `data` is the one operand of in-place kinds."""
        return next((m.dtype for m in self.memories if m.role in (role, "data")), "")

    def layout(self, role: str) -> str:
        return next((m.layout for m in self.memories if m.role in (role, "data")), "")


@dataclass(frozen=True)
class Operator:
    """One operator that Paddle's executor ran. Variables are (name, shape)."""

    type: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    seconds: float  # of the day, when it began


def parse_line(line: str) -> Primitive | Operator | None:
    """The event that a line tells of; None for any other line."""
    return _primitive(line) if line.startswith(_PREFIXES) else _operator(line)


def _primitive(line: str) -> Primitive | None:
    fields = line.split(",")
    if "exec" not in fields[:-9]:
        return None
    kind, implementation, *rest = fields[fields.index("exec") + 2 :]
    # From the end: an implementation's name may hold a comma, the last fields may not.
    _, memories, attributes, _, problem, ms = rest[-6:]
    found = tuple(Memory(*m.groups()) for word in memories.split() if (m := _MEMORY.match(word)))
    present = tuple(m for m in found if m.dtype != "undef")
    return Primitive(kind, implementation, present, attributes.strip(), problem, float(ms))


def _operator(line: str) -> Operator | None:
    match = _OPERATOR.match(line)
    if not match:
        return None
    hours, minutes, seconds, kind, inputs, outputs = match.groups()
    when = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return Operator(kind, _variables(inputs), _variables(outputs), when)


def _variables(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found = _VARIABLE.findall(text)
    return tuple((name, tuple(int(n) for n in shape.split(",") if n.strip())) for name, shape in found)
