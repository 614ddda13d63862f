"""FIXTURE: results as `inv benchmark` would write them. Invented numbers of a realistic size; nothing was measured."""

from qat8.results import (
    Artifact,
    Check,
    Comparison,
    Environment,
    Latency,
    PartialBatch,
    Results,
    Run,
    SubsetAccuracy,
)
from qat8.statistics import median, paired_ratios, wilson_interval

CPU = "FIXTURE CPU 9000 (not a measurement)"
# images/s of FP32 and INT8, one thread, batch 50; other settings are scaled from it.
SPEEDS = {
    "MobileNetV1": (166.0, 476.0),
    "MobileNetV2": (214.0, 569.0),
    "ResNet50": (26.8, 102.7),
    "ResNet101": (13.6, 53.9),
    "VGG16": (6.6, 19.3),
    "VGG19": (5.2, 15.8),
}
SETTINGS = [(1, 50), (1, 1), (2, 50), (2, 1)]  # threads, batch size
WOBBLE = (1.0, 0.985, 1.012, 0.994, 1.021)
COUNTS = {"all": (120, 111, 109, 117), "labelled": (20, 16, 16, 19), "ours": (100, 95, 93, 98)}


def make_run(model, precision, tester, threads, batch, top1=0.925, top5=0.975):
    base = SPEEDS[model][precision == "int8"] * (1.8 if threads == 2 else 1) * (0.87 if batch == 1 else 1)
    shift = 1 if precision == "fp32" else -1
    wobble = WOBBLE if tester == "cpp" else WOBBLE[::-1]
    repetitions = [base * (1 + shift * (w - 1)) for w in wobble]
    speed = median(repetitions)
    ms = 1000 * batch / speed
    return Run(
        model=model,
        precision=precision,
        tester=tester,
        threads=threads,
        batch_size=batch,
        images=120,
        images_per_second=speed,
        latency_ms=Latency(mean=ms, p50=ms * 0.99, p90=ms * 1.02, p99=ms * 1.11, min=ms * 0.97, max=ms * 1.3),
        top1=top1,
        top5=top5,
        peak_rss_bytes=412_000_000,
        repetitions=repetitions,
        threads_alive=threads + 1,
        threads_busy=threads,
        cpus=list(range(threads)),
        init_ms=310.5,
        partial_batch=PartialBatch(images=20, latency_ms=ms * 0.4) if batch == 50 else None,
        command=[
            *("build/tester/sample_tester", f"--infer_model=data/models/{model}/{precision}"),
            *("--infer_data=data/dataset/embedded/val.bin", f"--batch_size={batch}", f"--num_threads={threads}"),
        ],
    )


def make_comparison(fp32, int8):
    ratio = paired_ratios(int8.repetitions, fp32.repetitions)
    top1 = None if fp32.top1 is None else int8.top1 - fp32.top1
    top5 = None if fp32.top5 is None else int8.top5 - fp32.top5
    return Comparison(
        model=fp32.model,
        tester=fp32.tester,
        threads=fp32.threads,
        batch_size=fp32.batch_size,
        speedup=ratio.median,
        speedup_min=ratio.min,
        speedup_max=ratio.max,
        top1_diff=top1,
        top5_diff=top5,
    )


def make_subset(model, name, trained=True, labels="ours, by eye from a model's proposals", counts=None):
    """`counts`: images, FP32 right, INT8 right, same class; right is None where nothing is labelled."""
    n, fp32, int8, same = counts or COUNTS[name]
    right = {"fp32": fp32, "int8": int8}
    return SubsetAccuracy(
        model=model,
        subset=name,
        images=n,
        labels=labels,
        used_in_training=trained,
        top1={p: None if k is None else k / n for p, k in right.items()},
        top1_interval={p: None if k is None else wilson_interval(k, n) for p, k in right.items()},
        agreement=same / n,
        agreement_interval=wilson_interval(same, n),
    )


def make_environment(validity=()):
    return Environment(
        cpu={
            "model": CPU,
            "flags": ["fpu", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni"],
            "vnni": True,
            "sockets": 1,
            "smt": False,
            "governor": "performance",
            "caches": {"L1d": "48K", "L2": "1M", "L3": "32M"},
        },
        memory_bytes=24 * 2**30,
        os={"name": "Debian GNU/Linux 12", "kernel": "6.1.0-fixture"},
        container=True,
        versions={"python": "3.11.9", "paddlepaddle": "2.6.2", "paddleslim": "2.6.0", "oneDNN": "3.2.1"},
        git_commit="0123456789abcdef0123456789abcdef01234567",
        variables={"KMP_AFFINITY": "granularity=fine,compact,1,0", "OMP_NUM_THREADS": "1"},
        validity=list(validity) or [Check(check="governor", ok=True, detail="performance")],
    )


def make_results(models=("MobileNetV1",), testers=("cpp", "python"), validity=(), quick=False, accuracy=None):
    """MobileNetV1 has trained weights; the other models are measured for speed only, as in the real project."""
    pairs = []
    for model in models:
        top = (0.925, 0.975) if model == "MobileNetV1" else (None, None)
        for threads, batch in SETTINGS:
            for tester in testers:
                fp32 = make_run(model, "fp32", tester, threads, batch, *top)
                int8 = make_run(model, "int8", tester, threads, batch, top[0] and 109 / 120, top[1])
                pairs.append((fp32, int8))
    if accuracy is None:
        accuracy = [subset for model in models for subset in _default_subsets(model)]
    return Results(
        schema=1,
        run_id="20260101T120000-fixture",
        created="2026-01-01T12:00:00Z",
        quick=quick,
        runtime="local",
        command=["inv", "benchmark", "--model=MobileNetV1", "--data-file=data/dataset/embedded/val.bin"],
        environment=make_environment(validity),
        models={
            model: {p: Artifact(path=f"data/models/{model}/{p}", sha256="ab" * 32) for p in ("fp32", "int8")}
            for model in models
        },
        data=Artifact(path="data/dataset/embedded/val.bin", sha256="cd" * 32),
        runs=[run for pair in pairs for run in pair],
        comparisons=[make_comparison(*pair) for pair in pairs],
        accuracy=accuracy,
    )


def _default_subsets(model):
    if model != "MobileNetV1":
        return [make_subset(model, "all", trained=False, labels="none used", counts=(120, None, None, 118))]
    return [
        make_subset(model, "all", labels="foolbox's and ours"),
        make_subset(model, "labelled", trained=False, labels="foolbox's file names"),
        make_subset(model, "ours"),
    ]
