"""Who works on the chunks: this process, the cores of this machine, or the workers of a Dask cluster.

Each takes an iterator of chunks and yields what is done, in the order in which it is: the bytes do not depend on it,
because every image has its row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from qat8 import signals
from qat8.errors import MachineError
from qat8.preprocessing import work
from qat8.preprocessing.listing import Chunk
from qat8.preprocessing.work import Done, Target
from qat8.processes import ends_with_parent

AHEAD = 2  # chunks per worker that are handed out: what is under way stays small whatever the number of images


def serial(chunks: Iterable[Chunk], target: Target) -> Iterator[Done]:
    for chunk in chunks:
        yield work.preprocess(chunk, target)


def processes(chunks: Iterable[Chunk], target: Target, workers: int) -> Iterator[Done]:
    """One process per core.

    Raises:
        MachineError: a worker was killed, for want of memory as a rule.
    """
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(ends_with_parent(),)) as pool:
        try:
            waiting = iter(chunks)
            running: set[Future] = set()
            while True:
                room = workers * AHEAD - len(running)
                for chunk in itertools.islice(waiting, room):
                    with signals.held():  # the first one starts the processes
                        running.add(pool.submit(work.preprocess, chunk, target))
                if not running:
                    return
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(ready, key=lambda f: f.exception() is not None):  # what is done counts
                    yield future.result()
        except BrokenProcessPool:
            hint = "give it memory, or fewer --workers; what is done is kept"
            raise MachineError("a decoding process was killed", next_step=hint) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # nobody writes any more when the lock is given back
            raise


def _begin(end_with_parent: Callable[[], None]) -> None:
    """A parent that is killed takes its workers along."""
    signals.worker()
    end_with_parent()
