"""Damage and malice, by seed: the same number gives the same file."""

from __future__ import annotations

import copy
import json
import random
import struct

EXTREMES = {1: (0, 1, 0x7F, 0x80, 0xFF), 2: (0, 1, 0x7FFF, 0x8000, 0xFFFF), 4: (0, 1, 2**31 - 1, 2**31, 2**32 - 1),
            8: (0, 1, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1)}  # fmt: skip
FORMS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
DEEP = 100_000  # brackets within each other: beyond any recursion limit
VALUES = [None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.5, 1e-300, 1e308, float("nan"),
          float("inf"), "", "x", "../../../tmp/qat8-escaped", "/etc/passwd", "a\nb", "\x1b[31mred\x07", "\x00",
          "[bold]x[/bold]", "[/]", "$\\frac$", "<script>alert(1)</script>", "{{ 7 * 7 }}", "\ud800", "9" * 5000,
          "x" * 100_000, [], {}, [None], [[]], {"": {}}]  # fmt: skip


def damaged(content: bytes, r: random.Random, others: list[bytes] = ()) -> bytes:
    """One to three changes, as a disk, a cut transfer or somebody makes them."""
    data = bytearray(content)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        data = bytearray(r.choice(_CHANGES)(data, r, others))
    return bytes(data)


def _range(data: bytearray, r: random.Random) -> tuple[int, int]:
    start = r.randrange(len(data) + 1)
    return start, min(len(data), start + r.choice((1, 4, 16, 64, 512, 4096, len(data))))


def _flip(data, r, _):
    for _ in range(r.choice((1, 1, 2, 8, 64))):
        if data:
            data[_near_start(data, r)] ^= 1 << r.randrange(8)
    return data


def _near_start(data, r) -> int:
    """Half of all changes go to the first 256 bytes, where headers are."""
    return r.randrange(min(len(data), 256) if r.random() < 0.5 else len(data))


def _number(data, r, _):
    size = r.choice((1, 2, 4, 8))
    if len(data) >= size:
        at = min(_near_start(data, r), len(data) - size)
        at -= at % size if r.random() < 0.5 else 0
        data[at : at + size] = struct.pack(FORMS[size], r.choice(EXTREMES[size]))
    return data


def _truncate(data, r, _):
    return data[: r.choice((0, 1, len(data) - 1, r.randrange(len(data) + 1), r.randrange(len(data) + 1)))]


def _extend(data, r, _):
    return data + r.randbytes(r.choice((1, 8, 100, 5000)))


def _fill(data, r, _):
    start, end = _range(data, r)
    data[start:end] = bytes([r.choice((0, 0, 0xFF, 0x41))]) * (end - start)
    return data


def _cut(data, r, _):
    start, end = _range(data, r)
    del data[start:end]
    return data


def _double(data, r, _):
    start, end = _range(data, r)
    return data[:end] + data[start:]


def _splice(data, r, others):
    other = r.choice(others) if others else bytes(data)
    start, end = _range(bytearray(other), r)
    at = r.randrange(len(data) + 1)
    return data[:at] + other[start:end] + data[at + (end - start) * r.randrange(2) :]


_CHANGES = [_flip, _flip, _number, _number, _truncate, _extend, _fill, _cut, _double, _splice]


def changed(value, r: random.Random):
    """A JSON value with one to three members of a wrong type or an impossible value, missing, more, or doubled."""
    value = copy.deepcopy(value)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return r.choice(VALUES)
        container, key = r.choice(places)
        what = r.random()
        if what < 0.7:
            container[key] = _another(container[key], r)
        elif what < 0.8:
            del container[key]
        elif isinstance(container, dict):
            container[str(r.choice(VALUES))[:50] if what < 0.9 else f"{key}x"] = r.choice(VALUES)
        else:
            container.insert(key, copy.deepcopy(container[key]))
    return value


def _another(value, r: random.Random):
    """Of the same type in half of the cases: that gets past a check of types."""
    if isinstance(value, bool):
        return r.choice((not value, *VALUES))
    if isinstance(value, (int, float)) and r.random() < 0.6:
        return r.choice((0, -1, -value, value * 1000, value // 3, 1e308, 1e-300, 2**40, float("nan"), float("inf")))
    if isinstance(value, str) and r.random() < 0.6:
        return r.choice([v for v in VALUES if isinstance(v, str)] + [value + "x", value[:-1], value[::-1]])
    if isinstance(value, list) and r.random() < 0.6:
        return r.choice(([], value[:1], value * 2, value[::-1]))
    return copy.deepcopy(r.choice(VALUES))


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def json_text(content: bytes, r: random.Random) -> bytes:
    """A JSON file: damaged as text in a third of the cases, else whole JSON of other members."""
    how = r.random()
    if how < 0.3:
        return damaged(content, r)
    if how < 0.33:
        return b"[" * DEEP + b"]" * DEEP * r.randrange(2)
    if how < 0.36:
        return b'{"a":' * DEEP + b"1" + b"}" * DEEP
    text = json.dumps(changed(json.loads(content), r))
    return text.encode("utf-8", "surrogatepass")
