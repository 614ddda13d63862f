"""What Paddle may die of, tried in a child process first: its loaders follow what a model's file says.

A changed byte in a program file makes Paddle 2.6.2 follow a wild pointer in about one case of twenty, and the whole
process ends by a signal, without a word. A model whose files have the sums that its manifest states is what we wrote;
any other is used in a child first, whose death becomes an error.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from qat8 import artifacts, manifests
from qat8.errors import DataError, MachineError, ModelError, QatError

MEMORY, SECONDS = 4 << 30, 300.0  # that a trial may take beyond what its process has; more by eight times the files
_NO_MEMORY = 77  # exit code of the child
_AGAIN = "check where the model comes from; save or copy it again"
_FATAL = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_sound: set[tuple] = set()  # what was tried in this process, and has not changed since


def require_sound(model: Path, files: tuple[Path, ...], use: Callable[[], object]) -> None:
    """Refuse a model that is not what its manifest says, or that `use` (loading it, say) dies of.

    What `use` raises does not count: it will be raised again where it belongs.

    Raises:
        ModelError: damaged, or deadly.
        MachineError: more memory than any such model needs.
    """
    known = tuple((str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    if known in _sound:
        return
    if not vouched_for(model, files):
        _sound.add(known)  # in the child, so that it tries nothing again
        try:
            _try(str(model), use, MEMORY + 8 * sum(file.stat().st_size for file in files))
        except BaseException:
            _sound.discard(known)
            raise
    _sound.add(known)


def vouched_for(model: Path, files: tuple[Path, ...]) -> bool:
    """Whether the model's manifest has the sums of these files. It is no proof against who writes both.

    Raises:
        ModelError: it has another sum than one of them.
    """
    try:
        outputs = (manifests.read(model) or {}).get("outputs", {})
    except DataError as e:
        raise ModelError(e.fact, e.expected, e.next_step) from e
    for file in files:
        if file.name in outputs and artifacts.sha256(file) != outputs[file.name]:
            again = "make or copy the model again; if it is yours, remove its manifest.json"
            raise ModelError(f"{file} is damaged: the manifest beside it states another SHA-256", next_step=again)
    return all(file.name in outputs for file in files)


@contextlib.contextmanager
def blamed_on(model: Path, files: tuple[Path, ...]) -> Iterator[None]:
    """What goes wrong with a model that nobody vouches for is the model's fault, and not a bug of ours.

    Raises:
        ModelError: for whatever the block raises that is no error of its own kind.
    """
    try:
        yield
    except (QatError, MemoryError):
        raise
    except Exception as e:
        if vouched_for(model, files):
            raise
        raise ModelError(f"{model}: no model that this stage can use ({type(e).__name__}: {e})", "a model that `inv "
                         "train` or `inv convert` wrote") from e  # fmt: skip


def _try(what: str, use: Callable[[], object], memory: int) -> None:
    child = os.fork()
    if child == 0:
        _child(use, memory)
    status = _wait(child)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        raise ModelError(f"{what}: Paddle was not done with it after {SECONDS:.0f} s", "an undamaged model", _AGAIN)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        raise ModelError(f"{what}: Paddle crashed over it ({name})", "an undamaged model", _AGAIN)
    if os.WEXITSTATUS(status) == _NO_MEMORY:
        raise MachineError(f"{what}: Paddle asks for more than {memory >> 30} GiB for it", "an undamaged model", _AGAIN)


def _child(use: Callable[[], object], memory: int) -> None:
    """Never returns. What Paddle prints over its death is nobody's to read."""
    code = 0
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        own = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _limit(resource.RLIMIT_AS, own + memory)
        _limit(resource.RLIMIT_CORE, 0)
        for number in _FATAL:
            signal.signal(number, signal.SIG_DFL)  # not Paddle's handlers, which print pages
        use()
    except MemoryError:
        code = _NO_MEMORY
    except BaseException as e:
        code = _NO_MEMORY if "ResourceExhausted" in str(e) else 0
    finally:
        os._exit(code)


def _limit(what: int, most: int) -> None:
    """No more than `most`; a limit that holds already and is lower stays."""
    soft, hard = resource.getrlimit(what)
    lower = [limit for limit in (soft, hard, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(what, (min(lower), hard))


def _wait(child: int) -> int:
    deadline = time.monotonic() + SECONDS
    try:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
    except BaseException:  # Ctrl-C
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        raise
