"""The telling part of what Paddle throws; tester/paddle_error.cc does the same in C++."""

from __future__ import annotations

MAX_LENGTH = 400


def brief(text: str) -> str:
    """The one or two sentences in the pages of stack trace that Paddle throws: the summary and its hint."""
    lines = [line.strip() for line in text.rpartition("Error Message Summary:")[2].splitlines()]
    found = ""
    for line in lines:
        hint = line.startswith("[Hint:")
        if not line.strip("-") or (found and not hint):
            continue
        sentence = line.rpartition(" (at /")[0] or line
        found += " " * bool(found) + sentence
        if hint:
            break
    return (found[:MAX_LENGTH] + "..." if len(found) > MAX_LENGTH else found) or "Paddle gave no reason"
