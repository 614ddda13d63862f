"""A table of operators from oneDNN's own log, as profile.cc does.

The log belongs to the library, so Python needs no build option for it. (Config.enable_profile prints nothing in Paddle
2.6.2.)
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass

from qat8.errors import MachineError

_LIBC = ctypes.CDLL(None)  # oneDNN writes through C's stdout, which has a buffer of its own


@dataclass
class Row:
    calls: int = 0
    ms: float = 0.0


class Profiler:
    """Catches what goes to standard output between `start` and `stop`. Made with `on=False` it does nothing."""

    def __init__(self, on: bool) -> None:
        self.on, self.rows = on, defaultdict(Row)
        self._stdout: int | None = None

    def start(self) -> None:
        """Turn oneDNN's log on. Before Paddle is imported: oneDNN reads its environment once."""
        if not self.on:
            return
        os.environ["ONEDNN_VERBOSE"] = os.environ["DNNL_VERBOSE"] = "1"
        sys.stdout.flush()
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives until stop)
        except OSError as e:
            raise MachineError(f"--use_profile: cannot make a temporary file: {e.strerror}") from e
        self._stdout = os.dup(1)
        os.dup2(self._log.fileno(), 1)

    def collect(self, count: bool) -> None:
        """Take in what was logged since the last call; `count` False throws it away (warm-up)."""
        if self._stdout is None:
            return
        _LIBC.fflush(None)
        self._log.seek(0)
        for line in self._log.read().decode(errors="replace").splitlines():
            self._add(line, count)
        # Standard output shares the file's offset, so that it goes on at the start of the emptied file.
        self._log.seek(0)
        self._log.truncate()

    def _add(self, line: str, count: bool) -> None:
        fields = line.split(",")
        if fields[0] not in ("onednn_verbose", "dnnl_verbose"):
            print(line, file=sys.stderr)
        elif count and "exec" in fields[:-4]:
            # "exec", the engine, the kind of primitive, its implementation, ..., the milliseconds
            at = fields.index("exec")
            row = self.rows[f"{fields[at + 2]} {fields[at + 3]}"]
            row.calls += 1
            row.ms += float(fields[-1])

    def stop(self) -> None:
        """Give standard output back."""
        if self._stdout is None:
            return
        _LIBC.fflush(None)
        os.dup2(self._stdout, 1)
        os.close(self._stdout)
        self._stdout = None
        self._log.close()

    def table(self, measured_ms: float) -> list[str]:
        if not self.on:
            return []
        lines = ["Operators (oneDNN primitives of the measured batches):"]
        lines.append(f"{'primitive implementation':<52} {'count':>10} {'total ms':>12} {'share':>8}")
        rest = measured_ms - sum(row.ms for row in self.rows.values())
        for name, row in sorted(self.rows.items(), key=lambda item: -item[1].ms):
            lines.append(f"{name:<52} {row.calls:>10} {row.ms:>12.3f} {100 * row.ms / measured_ms:>7.2f}%")
        lines.append(f"{'(outside oneDNN)':<52} {'':>10} {rest:>12.3f} {100 * rest / measured_ms:>7.2f}%")
        return lines
