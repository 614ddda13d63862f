"""The tables of docs/performance.md, from the results files that they stand for.

`PYTHONPATH=src python tests/unit/published_tables.py` prints them; test_published_results.py compares.
"""

from __future__ import annotations

from pathlib import Path

from qat8 import results, tutorial
from qat8.report import text
from qat8.statistics import paired_ratios

REPO = Path(__file__).resolve().parents[2]
MODELS = ("MobileNetV1", "MobileNetV2", "ResNet50", "ResNet101", "VGG16", "VGG19")
PUBLISHED = {"six_models": MODELS, "six_models_zen4": MODELS, "four_models_zen4": MODELS[:4]}
FILES = tuple(REPO / f"docs/results/{name}.json" for name in PUBLISHED)
PEERS = {peer: text.TESTERS[peer] for peer in ("openvino", "onnxruntime", "torch")}
ENGINES = {"cpp": "Paddle", "engine": "our engine", **PEERS}
BATCHES = (1, 50)


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def speeds(found: results.Results, model: str, batch: int) -> dict[tuple[str, str], results.Run]:
    return {(run.tester, run.precision): run for run in found.runs if (run.model, run.batch_size) == (model, batch)}


def ratio(found: results.Results, model: str, engine: str, batch: int) -> str:
    """INT8 over FP32 of one engine: the median of the paired ratios."""
    run = speeds(found, model, batch)
    return f"{paired_ratios(run[engine, 'int8'].repetitions, run[engine, 'fp32'].repetitions).median:.2f}"


def speed_table(found: results.Results, batch: int) -> list[str]:
    """images/s, FP32 / INT8 (INT8 over FP32); bold: the fastest INT8 of the row."""
    lines = [row("model", *ENGINES.values(), "engine INT8 over Paddle FP32", "tutorial (6271, batch 50)"),
             "|---|" + "---|" * len(ENGINES) + "--:|--:|"]  # fmt: skip
    for model in dict.fromkeys(run.model for run in found.runs):
        run = speeds(found, model, batch)
        best = max(ENGINES, key=lambda e: run[e, "int8"].images_per_second)
        cells = []
        for engine in ENGINES:
            fp32, int8 = (f"{run[engine, p].images_per_second:.1f}" for p in ("fp32", "int8"))
            cells.append(f"{fp32} / {f'**{int8}**' if engine == best else int8} ({ratio(found, model, engine, batch)})")
        over = run["engine", "int8"].images_per_second / run["cpp", "fp32"].images_per_second
        lines.append(row(model, *cells, f"{over:.2f}", f"{tutorial_ratio(model):.2f}"))
    return lines


def tutorial_ratio(model: str) -> float:
    return tutorial.performance(model)[tutorial.GOLD_6271].ratio


def lead_table(found: results.Results) -> list[str]:
    """The engine's INT8 over each peer's, the range of the paired repetitions."""
    heads = [f"{ENGINES[peer]}, batch {batch}" for peer in PEERS for batch in BATCHES]
    lines = [row("model", *heads), "|---|" + "---|" * len(heads)]
    for model in dict.fromkeys(run.model for run in found.runs):
        ranges = {(p.peer, p.batch_size): f"{p.ratio_min:.2f} to {p.ratio_max:.2f}" for p in found.peers
                  if (p.model, p.tester, p.precision) == (model, "engine", "int8")}  # fmt: skip
        lines.append(row(model, *(ranges[peer, batch] for peer in PEERS for batch in BATCHES)))
    return lines


def tables(path: Path) -> list[list[str]]:
    found = results.load(path)
    return [*(speed_table(found, batch) for batch in BATCHES), lead_table(found)]


if __name__ == "__main__":
    print("\n\n".join("\n".join(table) for file in FILES for table in tables(file)))
