"""Text that is read: configuration, hosts, results; and the compact file of latencies."""

from __future__ import annotations

import math
import random
import struct
import zlib
from pathlib import Path

import mutations
import numpy as np
from attempts import Ending, Kind, command_line
from mutations import damaged, json_text

from kinds.common import GOLDEN, REPO, one_of
from qat8.older_python import zip_strict

YAML_ODD = [
    "seed: 2024-13-45", "seed: !!int x", "seed: !!python/object/apply:os.system [id]", "seed: 0x" + "f" * 5000,
    "seed: " + "9" * 5000, "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in
                                                   zip_strict("abcdefgh", "bcdefghi")) + "quantization: *i",
    "seed: " + "[" * 3000, "{" * 3000, "- " * 3000, "seed: &s [*s]", "quantization: &q {q: *q}", "? [a]\n: 1",
    "seed: .nan", "momentum: .inf", "seed: 1e400", "seed: !!binary '%'", "seed: !!timestamp x", "!!set {seed}",
    "seed: !!float ''", "LearningRate: 3", "LearningRate: [1]", "quantization: 3", "1: 2", "null: 2", "true: 1",
    "seed: 99999999999999999999", "batch_size: 1e3", "quantization: {quantize_op_types: [3]}", "\x00", "\ufeffseed: 1",
    "seed: \x1b[31m", "quantize_op_types: &t [conv2d, *t]", "--- 1\n--- 2", "%YAML 9.9\n---\nseed: 1", "seed: !x 1",
    "loader: {workers: true}", "validation: {label_list: [1]}", "<<: [1]", "<<: {seed: 3}", "seed: 1:30:00",
]  # fmt: skip


def _yaml(r: random.Random, directory: Path) -> Path:
    default = (REPO / "src/qat8/config.yaml").read_bytes()
    path = directory / "config.yaml"
    if r.random() < 0.4:
        content = r.choice(YAML_ODD).encode("utf-8", "surrogatepass")
    elif r.random() < 0.5:
        content = damaged(default, r)
    else:
        import yaml

        values = mutations.changed(yaml.safe_load(default), r)
        content = yaml.dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    return path


def _configuration(path: Path) -> Ending:
    from qat8 import config

    return command_line(lambda _: config.load(path) and None)


def _override(path: Path) -> Ending:
    """The same text as a value on the command line."""
    from qat8 import config

    text = path.read_bytes().decode("utf-8", "surrogateescape").partition(": ")[2]
    return command_line(lambda _: config.load(None, {"seed": text, "quantization.not_quant_pattern": text}) and None)


def _results_seeds() -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in GOLDEN.glob("results-*.json")}


def _report(path: Path) -> Ending:
    from qat8.stages import report

    report.REPORTS_DIR = path.parent / "reports"
    ending = command_line(report.main, path)
    outside = [p for p in path.parent.iterdir() if p.name not in ("reports", path.name)]
    page = "".join(p.read_text(errors="replace") for p in path.parent.glob("reports/*/report.html"))
    if outside or Path("/tmp/qat8-escaped").exists():
        return Ending(ending.code, ending.said, f"wrote outside of its directory: {outside}")
    if "<script>alert(1)" in page:
        return Ending(ending.code, ending.said, "a script in the page")
    return ending


def _compare(path: Path) -> Ending:
    from qat8.stages import compare

    whole = GOLDEN / path.name
    pair = (path, whole) if zlib.crc32(path.read_bytes()) % 2 else (whole, path)
    return command_line(compare.main, *pair, "--force")


def _history(path: Path) -> Ending:
    from qat8.stages import history

    return command_line(history.main, path.parent, f"--output-dir={path.parent / 'history'}", "--all")


def _latencies_seed() -> bytes:
    times = np.cumsum(np.full(50, 1000, "<i8"))
    body = struct.pack("<8sIIQq", b"QAT8LAT\0", 1, 1, 50, 10**12) + times.tobytes()
    body += (times + 5).tobytes() + (times + 900).tobytes()
    return body + struct.pack("<I", zlib.crc32(body))


def _hostile_latencies(content: bytes, r: random.Random) -> bytes:
    content = damaged(content, r)
    return content[:-4] + struct.pack("<I", zlib.crc32(content[:-4])) if r.random() < 0.7 else content


def _latencies(path: Path) -> Ending:
    from qat8 import latencies

    def main(_: list[str]) -> None:
        queries = latencies.load(path)
        if len(queries):
            values = [queries.percentile_us(p) for p in (0, 50, 99, 100)] + [float(queries.waits_us.max())]
            assert all(map(math.isfinite, values))

    return command_line(main)


def _toml(path: Path) -> Ending:
    from qat8.containers import hosts

    return command_line(lambda _: hosts.select("clx1", path) and None)


HOSTS = b'[clx1]\nurl = "ssh://user@clx1"\ncpus = "0-23"\n\n[clx2]\nurl = "tcp://10.0.0.2:2376"\n'


def texts() -> list[Kind]:
    results, latencies = one_of(_results_seeds(), json_text), {"q.latencies": _latencies_seed()}
    return [
        Kind("config.yaml", _yaml, _configuration, (2,), 1000, 100, group="configuration"),
        Kind("--set", _yaml, _override, (2,), 500, 30, group="configuration"),
        Kind("hosts.toml", one_of({"hosts.toml": HOSTS}), _toml, (2, 3), 500, 30, group="configuration"),
        Kind("compare", results, _compare, (3, 7), 1000, 60, group="results"),
        Kind("report", results, _report, (2, 3), 150, 4, group="results"),
        Kind("history", results, _history, (3,), 150, 4, group="results"),
        Kind("latencies", one_of(latencies, _hostile_latencies), _latencies, (3,), 1000, 60, group="latencies"),
    ]
