"""`make test`: two pytest processes at once, the containers' tests and all the others; one where there is one CPU.

The containers' tests wait for images, engines and hosts most of their time, and share nothing with the others but the
sources, which nobody changes. The others share `tester/build` and stay in one process. With arguments: one pytest with
those.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CONTAINERS = TESTS / "docker"


def groups() -> list[list[str]]:
    """Arguments of each pytest; the first one is watched while it runs."""
    if len(os.sched_getaffinity(0)) == 1:
        return [[str(TESTS)]]
    return [[str(TESTS), f"--ignore={CONTAINERS}"], [str(CONTAINERS)]]


def together(commands: list[list[str]]) -> int:
    """Run all at once, the first on this terminal; the others' output comes behind it. The first exit code but 0.

    A signal is theirs, who have engines and containers to put away: Ctrl-C reaches them anyway, SIGTERM is passed on.
    """
    with contextlib.ExitStack() as files:
        printed = [files.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        processes = [subprocess.Popen(commands[0])]
        processes += [subprocess.Popen(c, stdout=o, stderr=subprocess.STDOUT) for c, o in zip(commands[1:], printed)]
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda number, _: [process.send_signal(number) for process in processes])
        codes = [processes[0].wait()]
        for process, output in zip(processes[1:], printed):
            codes.append(process.wait())
            output.seek(0)
            print(output.read().decode(errors="replace"), end="", flush=True)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    wanted = [sys.argv[1:]] if sys.argv[1:] not in ([], ["tests"]) else groups()
    sys.exit(together([[sys.executable, "-m", "pytest", *words] for words in wanted]))
