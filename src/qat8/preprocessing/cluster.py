"""The workers of a Dask cluster, for a data set that one machine takes too long for.

A chunk travels as the images' files and comes back as pixels, uint8: workers need no view of the disk, and this machine
alone writes. What limits it is the network: about 110 kB there and 150 kB back for a photograph of ImageNet.
Dask's scheduler believes everybody who reaches it: a network that is yours, or Dask's TLS settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from qat8 import __version__, imaging
from qat8.errors import DataError, MachineError, QatError, UsageError
from qat8.older_python import zip_strict
from qat8.preprocessing import work
from qat8.preprocessing.listing import Chunk
from qat8.preprocessing.pools import AHEAD
from qat8.preprocessing.work import Done, Target

SECONDS_TO_CONNECT = 10


def cluster(chunks: Iterable[Chunk], target: Target, scheduler: str) -> Iterator[Done]:
    """Like `pools.processes`.

    Raises:
        UsageError: Dask is not installed.
        MachineError: no scheduler, no worker, or workers whose decoder is another one: their bytes would differ.
        DataError: an image that is missing or unreadable; it is named.
    """
    try:
        from distributed import Client, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError:
        hint = ".venv/bin/pip install --no-deps --require-hashes -r requirements-dask.txt"
        raise UsageError("--scheduler without Dask", "the optional packages", hint) from None
    try:
        client = Client(scheduler, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as e:
        raise MachineError(f"{scheduler}: no Dask scheduler ({e})", next_step="dask scheduler, dask worker") from e
    with client:
        threads = _require_same_decoder(client, scheduler)
        waiting, pending = iter(chunks), {}
        running = as_completed(loop=client.loop)

        def hand_out(count: int) -> None:
            for chunk in itertools.islice(waiting, count):
                contents = [imaging.read(path) for path in chunk.paths]
                names = [str(path) for path in chunk.paths]
                future = client.submit(decode, contents, names, target.spec, pure=False)
                pending[future.key] = chunk
                running.add(future)

        hand_out(threads * AHEAD)
        try:
            for future in running:
                pixels, fault = future.result()
                if fault:
                    raise DataError(*fault)
                yield work.store(pending.pop(future.key), pixels, target)
                hand_out(1)
        except KilledWorker as e:
            raise MachineError(
                f"Dask's workers died of a chunk: {e}", next_step="see their logs; what is done is kept"
            ) from e


def decode(
    contents: list[bytes], names: list[str], spec: imaging.Preprocessing
) -> tuple[list[np.ndarray], tuple | None]:
    """On the worker: uint8 [3, H, W] of each file, or the fault of the first that is no image."""
    try:
        return [imaging.preprocess_bytes(c, Path(n), spec) for c, n in zip_strict(contents, names)], None
    except QatError as e:
        return [], (e.fact, e.expected, e.next_step)


def versions() -> tuple:
    """What the bytes depend on."""
    return __version__, PIL.__version__, features.version("libjpeg_turbo"), np.__version__


def _require_same_decoder(client, scheduler: str) -> int:
    """The workers' threads, all in all."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise MachineError(f"{scheduler}: no worker", "at least one", f"on each machine: dask worker {scheduler}")
    try:
        found = client.run(versions)
    except ModuleNotFoundError as e:
        raise MachineError(f"a worker of {scheduler} has no {e.name}", "qat8 installed on each") from e
    for worker, theirs in found.items():
        if theirs != versions():
            raise MachineError(f"{worker} has qat8, Pillow, libjpeg-turbo, NumPy {theirs}", f"{versions()}, as here",
                               "make setup there, with the same requirements.txt")  # fmt: skip
    return sum(worker["nthreads"] for worker in workers.values())
