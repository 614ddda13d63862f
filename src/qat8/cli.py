"""What all command lines share: flags in both spellings, strict values, one-line failures, exit codes."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable

from qat8 import signals
from qat8.errors import MachineError, QatError, UsageError

_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}
LONGEST = 2000  # characters of an error line
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def strict_bool(text: str) -> bool:
    """`--flag`, `--flag=true`, `--flag=False`: upstream's `type=bool` took "False" for true."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def positive_int(text: str) -> int:
    return _int_from(text, 1, "a whole number from 1")


def count(text: str) -> int:
    return _int_from(text, 0, "a whole number from 0")


def _int_from(text: str, least: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose flags go by `--two-words` and, as in the tutorial, by `--two_words`."""

    def __init__(self, **kwargs) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def flag(self, name: str, **kwargs) -> None:
        """Add `--name` (words joined by `-`); a bool default makes it a strict boolean that may stand alone."""
        if isinstance(kwargs.get("default"), bool):
            kwargs |= {"type": strict_bool, "nargs": "?", "const": True, "metavar": "true|false"}
        spellings = dict.fromkeys([f"--{name}", f"--{name.replace('-', '_')}"])
        self.add_argument(*spellings, dest=name.replace("-", "_"), **kwargs)

    def error(self, message: str) -> None:
        raise UsageError(message, next_step=f"{self.prog} --help")


def run(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Run a stage and leave with its exit code; a failure is one line on stderr, a bug of ours too."""
    try:
        with signals.handled():
            main(sys.argv[1:] if argv is None else argv)
    except QatError as e:
        _fail(str(e), e.exit_code)
    except KeyboardInterrupt as e:
        _fail(str(e) or "interrupted; run the same command again to go on", signals.received(e))
    except MemoryError:
        _fail("out of memory; next: a smaller batch or file, or a machine with more", MachineError.exit_code)
    except Exception as e:
        if isinstance(e, OSError) and e.errno in _OF_THE_MACHINE:
            where = f"{e.filename}: " if e.filename else ""
            _fail(f"{where}{e.strerror}; next: make room or name another place, then run again", MachineError.exit_code)
        if os.environ.get("QAT8_DEBUG"):
            raise
        _fail(traceback.format_exc().strip().splitlines()[-1] + "; this is a bug of qat8: QAT8_DEBUG=1 shows where", 1)


def one_line(message: str) -> str:
    """What may come from a file, fit for a terminal: one line of printable characters, and no endless one."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text) - LONGEST} characters more)"


def _fail(message: str, code: int) -> None:
    sys.stdout.flush()
    print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
    sys.exit(code)
