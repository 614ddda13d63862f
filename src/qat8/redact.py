"""Passwords and tokens that stand in URLs are not recorded: manifests, results and reports are made to be passed on."""

from __future__ import annotations

import re

# Of an HTTP URL all that stands before the @ (a token may be the user's name); of others the password behind the name.
_HTTP, _OTHER = re.compile(r"(https?://)[^/\s@]+@"), re.compile(r"(\w+://[^/\s:@]+):[^/\s@]+@")


def text(words: str) -> str:
    """`https://me:token@host/x` -> `https://***@host/x`; everything else as it is."""
    return _OTHER.sub(r"\1:***@", _HTTP.sub(r"\1***@", words))


def command(argv: list[str]) -> list[str]:
    return [text(word) for word in argv]
