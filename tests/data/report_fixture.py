"""FIXTURE: results as `inv benchmark` would write them. Invented numbers of a realistic size; nothing was measured."""

from qat8.older_python import zip_strict
from qat8.profiling.record import Operand, PrimitiveRow, Profile, Step
from qat8.results import (
    AccuracyGate,
    Artifact,
    Check,
    Comparison,
    Environment,
    Latency,
    PartialBatch,
    Peak,
    Results,
    Run,
    SubsetAccuracy,
)
from qat8.statistics import bootstrap_interval, median, paired_difference_interval, paired_ratios, wilson_interval

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
OPERATIONS = {"MobileNetV1": 1_140_000_000, "ResNet50": 8_200_000_000}  # an image's, so that there is a limit to draw
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
        latency_percentiles_ms=[ms * (0.97 + 0.0004 * p + 0.29 * (p / 100) ** 30) for p in range(101)],
        measured_batches=500 // batch,
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
        speedup_interval=bootstrap_interval(
            [b / a for a, b in zip_strict(fp32.repetitions, int8.repetitions)],
        ),
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
        limits={"cpu_quota": None, "memory_limit_bytes": 8 * 2**30},
        load_average=[0.1, 0.2, 0.3],
        libraries={"libpaddle.so": "ef" * 32},
        onednn={
            "version": "3.2.1",
            "isa": "Intel AVX-512 with Intel DL Boost",
            "kernels": {"MobileNetV1": ["jit_int8"]},
        },
        peak=Peak(fp32_flops_per_second_core=2.4e11, int8_ops_per_second_core=9.4e11, detail="FIXTURE"),
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
        gates=[make_gate(model) for model in models if model == "MobileNetV1"],
        operations_per_image={model: OPERATIONS[model] for model in models if model in OPERATIONS},
    )


def make_gate(model):
    words = "0.00 points of top-1 (95 % interval -13.49 to +13.49) on 20 images of 'labelled': a drop of 0.5 is less"
    return AccuracyGate(
        model=model,
        max_top1_drop=0.005,
        subset="labelled",
        images=20,
        top1_diff=0.0,
        interval=paired_difference_interval(0, 0, 20),
        outcome="undecided",
        detail=words,
    )


def make_profile(model="MobileNetV1", layers=14):
    """Layers of falling length."""

    def step(i):
        operands = {role: Operand(dtype=t, layout="acdb") for role, t in (("src", "u8"), ("wei", "s8"), ("dst", "u8"))}
        row = PrimitiveRow(kind="convolution", kernel="brgconv_1x1:avx512_core_vnni", problem="mb1", operands=operands,
                           attributes="", ms=0.2 - 0.01 * i, operations=10**8)  # fmt: skip
        return Step(index=i, operator="fused_conv2d", layer=f"conv2d_{i}.w_0", saved=[f"{i} conv2d"],
                    input_shape=[1, 3, 8, 8], output_shape=[1, 3, 8, 8], primitives=[row], outside_ms=0.01)  # fmt: skip

    return Profile(
        schema=1, model=model, precision="int8", directory="data/models", batch_size=1, threads=1, cpus=[0], cpu=CPU,
        paddle="2.6.2", onednn="3.2.1", images_repeated=False, runs_ms=[2.2, 2.1, 2.3], logged_runs_ms=[2.4],
        before_ms=0.1, steps=[step(i) for i in range(layers)], left=[],
    )  # fmt: skip


def _default_subsets(model):
    if model != "MobileNetV1":
        return [make_subset(model, "all", trained=False, labels="none used", counts=(120, None, None, 118))]
    return [
        make_subset(model, "all", labels="foolbox's and ours"),
        make_subset(model, "labelled", trained=False, labels="foolbox's file names"),
        make_subset(model, "ours"),
    ]
