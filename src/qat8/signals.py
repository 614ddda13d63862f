"""Ctrl-C, SIGTERM and SIGHUP end a program of qat8 in the same way: one line, no process and no half-made file left.

They become an exception, so that every `finally` on the way does its work. A second one within two seconds is ignored:
a signal to a whole process group arrives twice, by itself and passed on by the parent. One later breaks off a clean-up
that hangs. The exit code is 128 + the signal. What the parent has had ignored (nohup, a shell's background) stays so.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import psutil

from qat8.errors import HUNG_UP, INTERRUPTED, TERMINATED

CODES = {signal.SIGHUP: HUNG_UP, signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
_WORDS = {signal.SIGHUP: "the terminal is gone", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_GO_ON = "run the same command again to go on"
IGNORE_SECONDS = 2.0
_END_SECONDS = 3.0  # for a child to end by itself
_AGAIN_SECONDS = 0.02
_PR_SET_CHILD_SUBREAPER = 36


class Ended(KeyboardInterrupt):
    """A signal asks the program to end. `number`: which; `code`: the exit code that says so."""

    def __init__(self, number: int) -> None:
        self.number, self.code = signal.Signals(number), CODES[signal.Signals(number)]
        super().__init__(f"{_WORDS[self.number]}; {_GO_ON}")


class _First:
    """The signal that ends this program: which, and when it came; whether it must wait."""

    number: int | None = None
    seconds = 0.0
    deferred = False
    waiting: int | None = None


def _ended(number: int, frame: FrameType | None) -> None:
    if _First.deferred:
        _First.waiting = number
        return
    if _importing(frame):
        _later(number)
        return
    if _First.number is not None and time.monotonic() - _First.seconds < IGNORE_SECONDS:
        return
    _First.number, _First.seconds = number, time.monotonic()
    raise Ended(number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported. A C extension that is stopped half-way may abort Python at its end."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _later(number: int) -> None:
    threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal within the block is felt at its end: for imports, in which libraries swallow exceptions."""
    outer, _First.deferred = _First.deferred, True
    try:
        yield
    finally:
        _First.deferred = outer
        number, _First.waiting = _First.waiting, _First.waiting if outer else None
        if number is not None and not outer:
            _ended(number, None)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Blocked by the kernel within the block, in this thread and in the processes that it starts: they begin with the
    signals blocked, and call `worker` or `leave_at_once` first. `deferred`, too: a library's thread (OpenBLAS has one
    from the import on) does not block them, and what the kernel gives to it Python handles here."""
    with deferred():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, CODES)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def worker() -> None:
    """In a process of a pool: Ctrl-C, which reaches the whole group, is for the parent, who ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)


def say(number: int) -> None:
    """The line of a program that `number` has ended, for one that could not say it."""
    os.write(2, f"error: {_WORDS[signal.Signals(number)]}; {_GO_ON}\n".encode())


def _leave(number: int, _) -> None:
    say(number)
    os._exit(CODES[signal.Signals(number)])


def leave_at_once() -> None:
    """While a program imports what it needs, which takes seconds: nothing is begun, so there is nothing to clean up.

    Who has started it may have `held` signals back until now. At its own end, when all is done and Python has put its
    handlers away, a signal no longer changes the exit code.
    """
    before = _install(_leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CODES)
    atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in before])


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Within the block a signal raises `Ended` in the main thread; when that leaves the block, no child lives on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, hook = _install(_ended), sys.unraisablehook
    _First.number = None
    sys.unraisablehook = lambda found: _again(found) or hook(found)
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what our children leave behind becomes ours to end
    try:
        yield
    except (KeyboardInterrupt, Exception) as e:
        if _First.number is None and not isinstance(e, KeyboardInterrupt):
            raise
        _end_descendants()
        if _First.number is not None:  # what comes now would only disturb the interpreter's own end
            before = dict.fromkeys(before, signal.SIG_IGN)
        if isinstance(e, KeyboardInterrupt):
            raise
        raise Ended(_First.number) from e  # what a library has made of ours (C code that raises its own in its place)
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _again(found) -> bool:
    """Whether Python has just swallowed an `Ended`, as it does with what is raised while an object is cleared away
    (`__del__`, a weak reference's callback): then the signal comes once more, a moment later."""
    if not isinstance(found.exc_value, Ended):
        return False
    _First.number = None
    _later(found.exc_value.number)
    return True


def renew() -> None:
    """Put our handlers back where a library has put its own over them behind Python's back (Paddle, for SIGTERM)."""
    for number in CODES:
        if callable(handler := signal.getsignal(number)) and threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


def received(error: KeyboardInterrupt) -> int:
    """The exit code that `error` stands for: stages word what they raise by themselves."""
    return CODES[_First.number] if _First.number is not None else getattr(error, "code", INTERRUPTED)


def _install(handler) -> dict[int, object]:
    """The handlers that were there; what is ignored stays so."""
    before = {number: signal.getsignal(number) for number in CODES}
    before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before


def _end_descendants() -> None:
    """Ask every process below this one to end, and then end those that do not."""
    alive = _descendants()
    for end in ("terminate", "kill"):
        for process in alive:
            with contextlib.suppress(psutil.Error):
                getattr(process, end)()
        psutil.wait_procs(alive, _END_SECONDS)
        alive = _descendants()  # those that were started meanwhile, too


def _descendants() -> list[psutil.Process]:
    """But for multiprocessing's tracker of shared memory, which ends when this process does."""
    found = []
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if not any("resource_tracker" in word for word in process.cmdline()):
                    found.append(process)
    return found
