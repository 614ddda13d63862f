"""Batches of training images, made ahead of the training; the same bytes by threads as by any number of processes.

Threads of this process serve a small list: nothing to start, nothing to copy, and Pillow decodes without the
interpreter's lock. They decode a batch when it is asked for. For a long list processes decode the coming batches while
the network computes, into shared memory.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, shared_memory

import numpy as np

from qat8 import signals
from qat8.errors import MachineError, QatError
from qat8.training.augmentation import Recipe
from qat8.training.images import Entry, Images, column

_THREADS = 2
_AHEAD = 2  # batches that each process may be ahead
_SMALL = 1000  # images up to which processes are not worth their start (about a second)
_CPUS_PER_WORKER = 8  # decoding an image takes a small part of what training on it takes


@dataclass(frozen=True)
class Batch:
    """images float32 [n, 3, H, W]; labels int64 [n, 1]; `share`: part of the whole batch of all processes, 0 to 1."""

    images: np.ndarray
    labels: np.ndarray
    share: float


def workers(setting: int | str, images: Images) -> int:
    """The number of processes that `loader.workers` means; 0: threads of this process."""
    if setting != "auto":
        return int(setting)
    if len(images.train) < _SMALL:
        return 0
    return max(1, len(os.sched_getaffinity(0)) // _CPUS_PER_WORKER)


class Loader:
    """`rank` of `size` gets every size-th image of each batch, so that together they see what one process would see.

    `images` of a batch from processes are valid until the next batch is asked for.
    """

    def __init__(self, images: Images, batch_size: int, workers: int = 0, rank: int = 0, size: int = 1) -> None:
        self.images, self.batch_size, self._rank, self._size = images, batch_size, rank, size
        self._source = (
            _Processes(images.recipe, -(-batch_size // size), workers) if workers else _Threads(images.recipe)
        )

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exc) -> None:
        self._source.close()

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """One epoch's batches from the `first` on.

        Raises:
            DataError: an image that cannot be read; it is named.
            MachineError: a process of the loader was killed.
        """
        order = self.images.order(epoch)
        starts = range(first * self.batch_size, len(order), self.batch_size)
        parts = (self._part([int(i) for i in order[s : s + self.batch_size]]) for s in starts)
        for (chosen, share), pixels in self._source.batches(parts, self.images.train, epoch):
            yield Batch(pixels, column([self.images.train[i][1] for i in chosen]), share)

    def endless(self, epoch: int) -> Iterator[Batch]:
        """Batches of the epochs from `epoch` on."""
        for e in itertools.count(epoch):
            yield from self.epoch(e)

    def _part(self, chosen: list[int]) -> tuple[list[int], float]:
        """A process for which the last batch has no image gets the first once more, with no weight."""
        mine = chosen[self._rank :: self._size]
        return mine or chosen[:1], len(mine) / len(chosen)


Part = tuple[list[int], float]
Made = Iterator[tuple[Part, np.ndarray]]


class _Threads:
    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._pool = recipe, ThreadPoolExecutor(_THREADS)

    def batches(self, parts: Iterator[Part], entries: list[Entry], epoch: int) -> Made:
        for part in parts:
            yield part, np.stack(list(self._pool.map(lambda i: self._recipe(entries[i][0], i, epoch), part[0])))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Processes:
    """A ring of slots in shared memory: a process fills one, the training reads it, then it is free again."""

    def __init__(self, recipe: Recipe, images: int, workers: int) -> None:
        side = recipe.preprocessing.crop
        self._shape = (images, 3, side, side)
        self._bytes = int(np.prod(self._shape)) * 4
        self._slots = workers * _AHEAD + 1  # one more: the one that the training reads
        try:
            self._memory = shared_memory.SharedMemory(create=True, size=self._slots * self._bytes)
        except OSError as e:
            raise MachineError(f"no shared memory for {self._slots} batches ({e.strerror})", "room in /dev/shm",
                               "fewer --loader.workers, or 0") from e  # fmt: skip
        # Not forked: this process has Paddle's threads, which a fork would leave without their owners.
        self._pool = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _start, (recipe, self._memory.name, self._shape)
        )

    def batches(self, parts: Iterator[Part], entries: list[Entry], epoch: int) -> Made:
        waiting: collections.deque[tuple[Part, int, Future]] = collections.deque()
        slots = itertools.cycle(range(self._slots))
        try:
            for part in parts:
                slot = next(slots)
                images = [(entries[i][0], i) for i in part[0]]
                with signals.held():  # the first one starts the processes
                    waiting.append((part, slot, self._pool.submit(_fill, slot, images, epoch)))
                if len(waiting) == self._slots - 1:
                    yield self._take(*waiting.popleft())
            while waiting:
                yield self._take(*waiting.popleft())
        except BrokenProcessPool:
            raise MachineError("a process that reads training images was killed", "memory for all of them",
                               "fewer --loader.workers, then run again: it goes on") from None  # fmt: skip
        finally:  # a slot must not be written by a batch that nobody waits for any more
            for *_, future in waiting:
                future.cancel()
            for *_, future in waiting:
                with contextlib.suppress(BaseException):
                    future.result()

    def _take(self, part: Part, slot: int, future: Future) -> tuple[Part, np.ndarray]:
        if failed := future.result():
            raise failed
        view = np.ndarray(self._shape, np.float32, self._memory.buf, slot * self._bytes)
        return part, view[: len(part[0])]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        with contextlib.suppress(BufferError):  # a view that the last batch still has; the name is removed all the same
            self._memory.close()
        self._memory.unlink()


# In the processes.

_recipe: Recipe
_slots: np.ndarray
_memory: shared_memory.SharedMemory


def _start(recipe: Recipe, memory: str, shape: tuple[int, ...]) -> None:
    global _recipe, _slots, _memory
    signals.worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _recipe, _memory = recipe, shared_memory.SharedMemory(memory)
    count = _memory.size // (int(np.prod(shape)) * 4)
    _slots = np.ndarray((count, *shape), np.float32, _memory.buf)


def _end_with_parent() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _fill(slot: int, images: list[tuple], epoch: int) -> QatError | None:
    try:
        for row, (path, index) in enumerate(images):
            _slots[slot, row] = _recipe(path, index, epoch)
    except QatError as e:
        return e
    return None
