"""The raw times of a scenario's queries, as `sample_tester --latencies_file` writes them.

tester/latency_file.h documents the format.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qat8.errors import DataError

MAGIC = b"QAT8LAT\0"
VERSION = 1
_HEAD = struct.Struct("<8sIIQq")  # magic, version, images of a query, queries, origin in ns
_CRC = struct.Struct("<I")
COLUMNS = 3


@dataclass(frozen=True)
class Queries:
    """One entry per query in int64 nanoseconds on CLOCK_MONOTONIC, which all processes of a machine share."""

    images_per_query: int
    arrival_ns: np.ndarray
    start_ns: np.ndarray
    end_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.arrival_ns)

    @property
    def latencies_us(self) -> np.ndarray:
        """From arrival to completion, in microseconds."""
        return (self.end_ns - self.arrival_ns) / 1000

    @property
    def waits_us(self) -> np.ndarray:
        """From arrival to the start of the prediction, in microseconds: the time in the queue."""
        return (self.start_ns - self.arrival_ns) / 1000

    def percentile_us(self, percent: float) -> float:
        """Nearest rank: the smallest latency that at least `percent` per cent of the queries do not exceed.

        Raises:
            DataError: no queries.
        """
        if not len(self):
            raise DataError("no query was measured: no percentile")
        return float(np.percentile(self.latencies_us, percent, method="inverted_cdf"))


def load(path: Path) -> Queries:
    """Read a latencies file.

    Raises:
        DataError: not there, not such a file, of another version, truncated or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as e:
        raise DataError(f"{path}: {e.strerror}", "a file of `sample_tester --latencies_file`") from e
    if len(content) < _HEAD.size + _CRC.size or content[:8] != MAGIC:
        raise DataError(f"{path}: not a latencies file", "a file of `sample_tester --latencies_file`")
    _, version, images, count, origin = _HEAD.unpack_from(content)
    if version != VERSION:
        raise DataError(f"{path}: version {version}", f"version {VERSION}", "measure again with this tester")
    size = _HEAD.size + 8 * COLUMNS * count + _CRC.size
    if len(content) != size:
        raise DataError(f"{path}: {len(content)} bytes", f"{size} for {count} queries: the file is truncated")
    if _CRC.unpack(content[-4:])[0] != zlib.crc32(content[:-4]):
        raise DataError(f"{path}: damaged, its checksum does not fit", next_step="measure again")
    columns = np.frombuffer(content, "<i8", COLUMNS * count, _HEAD.size).reshape(COLUMNS, count) + origin
    return Queries(images, *columns)
