"""Ours against the peers: ratios of paired repetitions, and whether they were given the same weights and run INT8."""

from __future__ import annotations

from qat8 import manifests, peers
from qat8.benchmarking.measure import Measured
from qat8.benchmarking.plan import BF16, Cell, Plan
from qat8.older_python import zip_strict
from qat8.results import Check, PeerComparison
from qat8.statistics import paired_ratios
from qat8.tester_run import TesterRun

SAME_WEIGHTS = 0.98  # of the images FP32 must name the same class for; rounding may turn a close one


def comparisons(plan: Plan, measured: Measured) -> list[PeerComparison]:
    """Every tester of ours against every peer, in each precision that both run."""
    found = []
    for group in plan.groups():
        theirs = [cell for cell in group if cell.tester in plan.peers]
        ours = [cell for cell in group if cell.tester not in plan.peers]
        found += [_compare(measured, our, their, p) for our in ours for their in theirs for p in plan.precisions
                  if (their, p) in measured]  # fmt: skip
    return found


def _compare(measured: Measured, ours: Cell, theirs: Cell, precision: str) -> PeerComparison:
    mine, other = measured[ours, precision], measured[theirs, precision]
    ratio = paired_ratios([run.images_per_second for run in mine], [run.images_per_second for run in other])
    known = mine[0].top1 is not None and other[0].top1 is not None
    return PeerComparison(
        model=ours.model, precision=precision, peer=theirs.tester, tester=ours.tester, threads=ours.threads,
        batch_size=ours.batch_size, ratio=ratio.median, ratio_min=ratio.min, ratio_max=ratio.max,
        top1_diff=mine[0].top1 - other[0].top1 if known else None, agreement=_agreement(mine[0], other[0]),
    )  # fmt: skip


def _agreement(a: TesterRun, b: TesterRun) -> float:
    same = sum(x == y for x, y in zip_strict(a.predictions, b.predictions))
    return same / max(len(a.predictions), 1)


def checks(plan: Plan, measured: Measured) -> list[Check]:
    """Per model and peer: its FP32 model computes what ours does, and its INT8 model runs in INT8."""
    found = comparisons(plan, measured)
    result = []
    for model in plan.models:
        for peer in plan.peers:
            agreement = min(c.agreement for c in found if (c.model, c.peer, c.precision) == (model, peer, "fp32"))
            detail = f"{model}: {peer} in FP32 names the same class as Paddle on {agreement:.1%} of the images"
            result.append(Check(check="peer weights", ok=agreement >= SAME_WEIGHTS, detail=detail))
            result.append(_int8(model, peer))
    return result + _bf16(measured)


def _int8(model: str, peer: str) -> Check:
    manifest = manifests.read(peers.directory(model, peer, "int8"))
    quantized, total = manifest["int8_convolutions"]
    detail = f"{model}: {peer} runs {quantized} of {total} convolutions in INT8"
    return Check(check="peer int8 kernels", ok=total > 0 and quantized == total, detail=detail)


def _bf16(measured: Measured) -> list[Check]:
    """Of the graphs that a peer's processes compiled for BF16; of a cell the repetitions are alike."""
    found = {}
    for (cell, precision), runs in measured.items():
        if precision == BF16 and cell.tester in peers.NAMES:
            found.setdefault((cell.model, cell.tester), []).extend(run.bf16_convolutions for run in runs)
    worst = {key: min(pairs, key=lambda pair: pair[0] / max(pair[1], 1)) for key, pairs in found.items()}
    return [
        Check(check="peer bf16 kernels", ok=ran == total > 0,
              detail=f"{model}: {peer} runs {ran} of {total} convolutions in BF16")
        for (model, peer), (ran, total) in worst.items()
    ]  # fmt: skip
