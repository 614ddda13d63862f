"""The peers' part of a report: the same weights and images in other engines, and who is ahead by how much."""

from __future__ import annotations

from qat8 import peers
from qat8.export import TESTER as ENGINE
from qat8.report import figures, text
from qat8.report.tables import Table
from qat8.results import PeerComparison, Results, Run

EVEN = "neither is ahead"
_SHORT = {"onnxruntime": "ONNX RT"}  # so that the table fits a terminal of 80 characters
HOW = (
    "Ratios are of paired repetitions: each engine ran in turn with the others, in a process of its own on the same "
    "pinned CPUs. INT8 of Paddle and of qat8's engine comes from quantization-aware training, that of the others from "
    "post-training quantization with the training images, as each engine's documentation has it (docs/peers.md)."
)


def _ours(results: Results) -> list[str]:
    """Ours that are shown beside the peers: qat8's engine where it ran, and one of Paddle's testers, the Python one
    where it ran, as the peers are fed from Python too. The peers are compared with the first."""
    testers = list(dict.fromkeys(run.tester for run in figures.ours(results).runs))
    paddles = [tester for tester in testers if tester != ENGINE]
    one = ["python"] if "python" in paddles else paddles[:1]
    return [ENGINE, *one] if ENGINE in testers else one


def _name(tester: str) -> str:
    if tester == ENGINE:
        return "qat8 engine"
    return text.tester(tester) if tester in peers.NAMES else "Paddle"


def comparisons(results: Results) -> list[PeerComparison]:
    """Of the first of ours with the peers."""
    return [c for c in results.peers if c.tester in _ours(results)[:1]]


def table(results: Results) -> Table:
    """Each peer below ours, setting by setting."""
    runs = {(r.model, r.tester, r.threads, r.batch_size, r.precision): r for r in results.runs if r.instances == 1}
    pairs = {(c.model, c.peer, c.threads, c.batch_size): c for c in comparisons(results) if c.precision == "int8"}
    settings: dict[tuple, list[PeerComparison]] = {}
    for pair in comparisons(results):
        settings.setdefault((pair.model, pair.threads, -pair.batch_size), []).append(pair)
    body = []
    for group in settings.values():
        for tester in [*_ours(results), *dict.fromkeys(c.peer for c in group)]:
            key = group[0].model, tester, group[0].threads, group[0].batch_size
            body.append(_row(runs[(*key, "fp32")], runs[(*key, "int8")], pairs.get(key)))
    ours = _reference(results)
    return Table(
        f"Images/s in each engine; right, {ours}'s INT8 over that engine's with its range, INT8's top-1",
        ("Model", "Engine", "Thr", "Batch", "FP32", "INT8", "INT8 x", "min-max", "Top-1"),
        body,
        labels=2,
    )


def bf16_table(results: Results) -> list[Table]:
    """Of the peers that ran in BF16, if any did."""
    runs = {(r.model, r.tester, r.threads, r.batch_size): r for r in results.runs if r.precision == "bf16"}
    body = []
    for c in comparisons(results):
        if c.precision == "bf16":
            ours, theirs = (runs[c.model, tester, c.threads, c.batch_size] for tester in (c.tester, c.peer))
            speeds = (text.speed(ours.images_per_second), text.speed(theirs.images_per_second))
            ends = f"{text.ratio(c.ratio_min)}-{text.ratio(c.ratio_max)}"
            names = (c.model, text.tester(c.peer), str(c.threads), str(c.batch_size))
            body.append((*names, *speeds, text.ratio(c.ratio), ends))
    reference = _reference(results)
    columns = ("Model", "Engine", "Thr", "Batch", f"{reference} BF16", "its BF16", "Ratio", "min-max")
    caption = f"BF16 in both engines: images/s, and {reference}'s over that engine's with its range"
    return [Table(caption, columns, body, labels=2)] if body else []


def _reference(results: Results) -> str:
    return _name(next(iter(_ours(results)), ""))


def _row(fp32: Run, int8: Run, pair: PeerComparison | None) -> tuple[str, ...]:
    """`pair` is None in our own rows."""
    name = _SHORT.get(int8.tester, _name(int8.tester))
    ratios = ("–", "–")
    if pair:
        ratios = (text.ratio(pair.ratio), f"{text.ratio(pair.ratio_min)}-{text.ratio(pair.ratio_max)}")
    speeds = (text.speed(fp32.images_per_second), text.speed(int8.images_per_second))
    top1 = "–" if int8.top1 is None else text.percent(int8.top1, int8.images)
    return (int8.model, name, str(int8.threads), str(int8.batch_size), *speeds, *ratios, top1)


def verdicts(results: Results) -> list[str]:
    """One sentence per model and setting: how far each peer's INT8 is ahead of ours or ours of it."""
    groups: dict[tuple, list[PeerComparison]] = {}
    for pair in comparisons(results):
        if pair.precision == "int8":
            groups.setdefault((pair.model, pair.threads, pair.batch_size), []).append(pair)
    return [_verdict(*setting, pairs) for setting, pairs in groups.items()]


def _verdict(model: str, threads: int, batch: int, pairs: list[PeerComparison]) -> str:
    where = f"{model}, INT8, {text.count(threads, 'thread')}, batch {batch}"
    said, ours = [], _name(pairs[0].tester)
    for pair in sorted(pairs, key=lambda p: p.ratio):
        peer = text.tester(pair.peer)
        if pair.ratio_max < 1:
            ends = f"{text.ratio(1 / pair.ratio_max)} to {text.ratio(1 / pair.ratio_min)}"
            said.append(f"{peer} is {text.ratio(1 / pair.ratio)} times as fast as {ours} ({ends})")
        elif pair.ratio_min > 1:
            ends = f"{text.ratio(pair.ratio_min)} to {text.ratio(pair.ratio_max)}"
            said.append(f"{ours} is {text.ratio(pair.ratio)} times as fast as {peer} ({ends})")
        else:
            ends = f"ratio {text.ratio(pair.ratio_min)} to {text.ratio(pair.ratio_max)}"
            said.append(f"of {ours} and {peer} {EVEN} ({ends})")
    return f"{where}: {'; '.join(said)}."


def engines(results: Results) -> str:
    """`OpenVINO 2026.4.1, NNCF 3.4.0; ONNX Runtime 1.32.0`"""
    return "; ".join(dict.fromkeys(run.engine for run in results.runs if run.engine))
