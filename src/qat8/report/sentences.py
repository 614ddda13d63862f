"""What a report says in words; every sentence follows from the figures of the run.

Backticks mark what is to be typed; the page sets it as code.
"""

from __future__ import annotations

from qat8 import tutorial
from qat8.profiling.record import Profile
from qat8.report import figures, text
from qat8.report.figures import SpeedRow, TesterRow
from qat8.results import Results, SubsetAccuracy, reasons

NOTHING_BELOW = 100  # images; fewer decide not only no half point, but nothing

OPEN_DIVISION = (
    "Quantization-aware training retrains the model, so by MLPerf's rules these results are “Open”, not “Closed”: "
    "they do not compare with submissions that quantize without retraining."
)
ON_IMAGENET = "An accuracy that decides, on ImageNet's 50,000 validation images (PATH holds val/ and val_list.txt)"
ON_IMAGENET_COMMANDS = [
    "inv preprocess --local --data-dir=PATH --label-list=val_list.txt --output-file=val.bin",
    "inv benchmark --data-file=val.bin",
    "inv report",
]
OTHER_MACHINES = (
    f"The tutorial's rows are from {tutorial.SOURCE}: other machines ({tutorial.GOLD_6271.name} with AVX-512 VNNI, "
    f"{tutorial.GOLD_6148.name} without it), another version of Paddle, one thread. Compare the ratios, not the "
    f"images/s. Their FP32 column was not measured with their INT8 column; it comes from another document: "
    f"{tutorial.FP32_SOURCE}."
)
ACCURACY_ELSEWHERE = (
    f"The tutorial's accuracies are from {tutorial.SOURCE}: ImageNet's validation images and other weights. "
    "Compare the differences, not the percentages."
)


def setting(row: SpeedRow) -> str:
    """`1 thread, batch 50`"""
    instances = f"{text.count(row.instances, 'instance')} of " if row.instances > 1 else ""
    return f"{instances}{text.count(row.threads, 'thread')}, batch {row.batch_size}"


def configuration(row: SpeedRow) -> str:
    return f"{text.tester(row.tester)}, {setting(row)}"


def cpu(results: Results) -> str:
    return str(results.environment.cpu.get("model") or "an unnamed CPU")


def cpu_with_signature(results: Results) -> str:
    """Tells two generations of one name apart, where the run says it."""
    signature = results.environment.cpu.get("signature")
    return cpu(results) + (f" ({signature})" if signature else "")


def banners(results: Results) -> list[str]:
    """What a reader must know before any figure."""
    found = []
    if results.quick:
        found.append(
            "Quick run: few repetitions and short measurements, good for a look, not for a claim. "
            "Run `inv benchmark` without `--quick` for figures to quote."
        )
    checks = results.environment.validity
    failed = [check for check in checks if check.word == "INVALID"]
    if failed:
        why = "; ".join(f"{check.check} ({check.detail})" if check.detail else check.check for check in failed)
        found.append(f"INVALID: {len(failed)} of {text.count(len(checks), 'check')} failed: {why}.")
    if not checks:
        found.append("Validity unknown: this run recorded no checks of the machine.")
    return found


def verdict(results: Results) -> str:
    """`: VALID, 2 warnings`; empty where nothing was checked."""
    words = [check.word for check in results.environment.validity]
    if not words:
        return ""
    warnings = f", {text.count(words.count('warning'), 'warning')}" if "warning" in words else ""
    return f": {'INVALID' if 'INVALID' in words else 'VALID'}{warnings}"


def validity(results: Results) -> list[str]:
    words = [check.word for check in results.environment.validity]
    if not words:
        return []
    failed, warned = words.count("INVALID"), words.count("warning")
    parts = [f"{failed} of {text.count(len(words), 'check')} failed" if failed else "no check failed"]
    parts += [f"{warned} warn of what may move the figures"] if warned else []
    said = f"This run is {'INVALID' if failed else 'VALID'}: {text.listed(parts)}."
    return [f"{said} docs/trust.md explains each check and its limit."]


def limits(results: Results) -> list[str]:
    peak = results.environment.peak
    if not peak or not results.operations_per_image:
        return []
    counted = text.listed(f"{model} {operations / 1e9:.2f}" for model, operations in
                          results.operations_per_image.items())  # fmt: skip
    how = f" ({peak.detail})" if peak.detail else ""
    return [
        f"The limit of direct sums is the measured peak of a core{how} times the cores, over the billions of "
        f"operations of an image ({counted}). Memory and small layers keep programs below it; only one that "
        "multiplies less, as qat8's engine does in INT8 3 x 3 convolutions (docs/performance.md), passes it."
    ]


def profile(found: Profile) -> str:
    return (
        f"{found.model}, {found.precision.upper()}: `inv profile` measured {text.fixed(found.total_ms, 2)} ms for a "
        f"batch of {found.batch_size} with {text.count(found.threads, 'thread')}, of which "
        f"{text.fixed(found.share(found.inside_ms) * 100, 0)} % lie in oneDNN's primitives."
    )


def headline(results: Results, rows: list[SpeedRow], model: str) -> str:
    row = figures.headline_row(rows, model)
    parts = [_speed_clause(results, row, model)]
    subset = figures.largest_subset(results, model)
    if subset:
        share = text.percent(subset.agreement, subset.images)
        parts.append(f"names the same class as FP32 on {share} of {subset.images:,} photographs")
    decisive = [subset for subset in figures.subsets(results, model) if figures.decides(subset)]
    if decisive:
        parts.append(_loss_clause(max(decisive, key=lambda subset: subset.images)))
    said = f"{parts[0]}, and {text.listed(parts[1:])}." if parts[1:] else f"{parts[0]}."
    # A sentence is copied without the banner above it.
    return f"{said} The run is INVALID: not to be quoted." if reasons(results.environment.validity) else said


def _speed_clause(results: Results, row: SpeedRow | None, model: str) -> str:
    if row is None:
        return f"{model}: INT8 and FP32 were not measured side by side"
    compared = row.comparison
    where = f"on {cpu(results)}, {setting(row)} ({text.tester(row.tester)} tester)"
    ratio = text.ratio_in_words(compared.speedup)
    if compared.speedup_min > 1:
        return f"{model} is {ratio} times faster in INT8 {where}"
    if compared.speedup_max < 1:
        return f"{model} is slower in INT8, at {ratio} times FP32's speed, {where}"
    ends = f"{text.ratio(compared.speedup_min)} to {text.ratio(compared.speedup_max)}"
    return f"{model} is neither faster nor slower in INT8 (ratio {ends}) {where}"


def _loss_clause(subset: SubsetAccuracy) -> str:
    change = figures.difference(subset.top1)
    verb = "loses" if change <= 0 else "gains"
    size = text.points(abs(change), subset.images).lstrip("+")
    return f"{verb} {size} points of top-1 on {subset.images:,} photographs that were not used in training"


def testers(rows: list[TesterRow]) -> list[str]:
    """What was measured about C++ against Python; nothing is said beyond that."""
    if not rows:
        return ["C++ against Python: not measured in pairs here, so nothing is claimed."]
    differ = [row for row in rows if row.differ]
    criterion = "all repetitions agree about which one is faster and their median differs by 1 % or more"
    if not differ:
        return [f"C++ and Python do not differ in speed here: in none of {text.count(len(rows), 'pair')} {criterion}."]
    return [f"C++ and Python differ in speed in {len(differ)} of {text.count(len(rows), 'pair')}: there {criterion}."]


def accuracy(results: Results) -> list[str]:
    """Notes below the accuracy table: what each subset can and cannot say."""
    notes = []
    for name in dict.fromkeys(subset.subset for subset in results.accuracy):
        notes.append(_subset_note([subset for subset in results.accuracy if subset.subset == name]))
    notes += _agreement_notes(results)
    for model in figures.models(results):
        whole = figures.whole_run(results, model)
        if whole and not whole.testers_agree:
            notes.append(f"{model}: the testers did not count the same accuracy; see results.csv.")
    return [*notes, OPEN_DIVISION]


def _subset_note(rows: list[SubsetAccuracy]) -> str:
    """One sentence about a subset, over all models that were measured on it."""
    first = rows[0]
    name = f"“{first.subset}” ({text.count(first.images, 'image')})"
    intervals = [figures.top1_interval(row, precision) for row in rows for precision in ("fp32", "int8")]
    known = [ends for ends in intervals if ends]
    if not known:
        return f"{name}: accuracy {text.NOT_MEASURED} (no labels, or weights that were not trained)."
    labels = f"labels: {first.labels}"
    if first.used_in_training:
        return f"{name}: used in training, so its top-1 is no accuracy estimate; {labels}."
    widest = text.width(max(known, key=lambda ends: ends[1] - ends[0]))
    if all(figures.decides(row) for row in rows):
        return f"{name}: the widest 95 % interval is {widest} points; {labels}."
    what = "nothing" if first.images < NOTHING_BELOW else "no difference of 0.5 points"
    return f"{name}: these images decide {what}, their 95 % interval is {widest} points wide; {labels}."


def _agreement_notes(results: Results) -> list[str]:
    notes = []
    for model in figures.models(results):
        subset = figures.largest_subset(results, model)
        if subset:
            same = round(subset.agreement * subset.images)
            notes.append(
                f"{model}: the finer figure, which needs no labels, is how often INT8 names FP32's class: "
                f"{same:,} of {subset.images:,} images, {text.percent(subset.agreement, subset.images)} "
                f"(95 % interval {text.interval(subset.agreement_interval, subset.images)})"
                f"{'; images used in training are among them, which flatters it.' if subset.used_in_training else '.'}"
            )
    return notes
