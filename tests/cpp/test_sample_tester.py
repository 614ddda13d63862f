"""The two testers on real models: the same accuracy to the last image, the tutorial's lines, two passes."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from qat8.datafile import Reader
from qat8.older_python import zip_strict
from qat8.results import Latency

both = pytest.mark.parametrize("which", ["cpp", "python"])
IMAGES = 37


def vnni() -> bool:
    return "avx512_vnni" in Path("/proc/cpuinfo").read_text()


def nearest_rank(values: list[float], percent: int) -> float:
    """The definition itself: the smallest value that at least `percent` per cent of the values do not exceed."""
    return min(v for v in values if 100 * sum(w <= v for w in values) >= percent * len(values))


@pytest.mark.parametrize("kind", ["raw", "float32", "uint8"])
def test_both_testers_predict_the_same_class_for_every_image(run, models, data, kind):
    flags = {"infer_model": models / "plain", "infer_data": data[kind], "batch_size": 10, "data_dim": 32}
    cpp, python = run("cpp", **flags), run("python", **flags)
    assert (cpp.code, python.code) == (0, 0), cpp.err + python.err
    assert cpp.json.predictions == python.json.predictions
    assert len(set(cpp.json.predictions)) >= 3, "the model says the same of all images: nothing was compared"
    assert (cpp.json.top1, cpp.json.top5) == (python.json.top1, python.json.top5)
    assert 0 < cpp.json.top5 < 1
    for field in ("images", "measured_images", "measured_batches", "fingerprint", "paddle_version", "infer_data"):
        assert getattr(cpp.json, field) == getattr(python.json, field), field
    assert (cpp.json.tester, python.json.tester) == ("cpp", "python")


def test_top_1_counts_the_labels_that_were_predicted(run, models, data):
    done = run("cpp", infer_model=models / "plain", infer_data=data["uint8"])
    with Reader(data["uint8"]) as reader:
        hits = sum(int(p) == int(label) for p, label in zip_strict(done.json.predictions, reader.labels))
    assert done.json.top1 == hits / IMAGES


def test_all_layouts_of_the_data_file_give_the_same_predictions(run, models, data):
    flags = {"infer_model": models / "plain", "data_dim": 32}
    results = [run("cpp", infer_data=file, **flags).json for file in data.values()]
    assert all(r.predictions == results[0].predictions for r in results)


@pytest.mark.parametrize("layout", ["combined", "separate"])
@both
def test_upstreams_model_layouts_are_read(run, models, data, which, layout):
    expected = run(which, infer_model=models / "plain", infer_data=data["uint8"]).json.predictions
    assert run(which, infer_model=models / layout, infer_data=data["uint8"]).json.predictions == expected


@both
def test_of_equal_scores_the_lower_class_ranks_first(run, models, data, which):
    done = run(which, infer_model=models / "equal_scores", infer_data=data["float32"], batch_size=10)
    with Reader(data["float32"]) as reader:
        labels = reader.labels
    assert done.json.predictions == [0] * IMAGES
    assert done.json.top1 == np.count_nonzero(labels == 0) / IMAGES
    assert done.json.top5 == np.count_nonzero(labels < 5) / IMAGES


@both
def test_standard_output_has_the_tutorials_lines_and_the_figures_of_the_json(run, models, data, which):
    done = run(which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=10)
    j, lines = done.json, done.lines
    assert lines[0] == f"Model: {models / 'plain'}"
    assert lines[1] == "====== num of threads: 1 ======"
    assert lines[2] == "====== batch size: 10, iterations: 3"
    batch = re.fullmatch(r"====== batch latency: ([\d.]+)ms, number of samples: 30", lines[3])
    sample = re.fullmatch(r", sample latency: ([\d.]+)ms, fps: ([\d.]+) ======", lines[4])
    assert float(batch.group(1)) == pytest.approx(j.latency_ms.mean, abs=0.001)
    assert float(sample.group(1)) == pytest.approx(1000 / j.images_per_second, abs=0.0001)
    assert float(sample.group(2)) == pytest.approx(j.images_per_second, abs=0.01)
    assert lines[5] == f"Top1 acc {j.top1:.4f}"
    assert lines[6] == f"Top5 acc {j.top5:.4f}"
    assert f"threads alive: {j.threads_alive}, busy: {j.threads_busy}" in lines


@both
def test_the_last_partial_batch_counts_for_accuracy_and_not_for_speed(run, models, data, which):
    j = run(which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=10).json
    assert (j.images, len(j.predictions)) == (IMAGES, IMAGES)
    assert (j.measured_images, j.measured_batches, len(j.latencies_ms)) == (30, 3, 3)
    assert j.partial_batch.images == 7 and j.partial_batch.latency_ms > 0


@both
def test_a_file_without_a_full_batch_is_measured_on_its_partial_batch(run, models, data, which):
    done = run(which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=100)
    j = done.json
    assert (j.batch_size, j.images, j.measured_images, j.measured_batches) == (100, IMAGES, IMAGES, 1)
    assert (j.partial_batch.images, j.partial_batch.latency_ms) == (IMAGES, j.latencies_ms[0])


@both
@pytest.mark.parametrize(("iterations", "images"), [(0, 37), (-1, 37), (2, 20), (4, 37), (99, 37)])
def test_iterations_are_batches_and_at_most_those_of_the_file(run, models, data, which, iterations, images):
    j = run(which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=10, iterations=iterations).json
    assert (j.images, len(j.predictions)) == (images, images)
    assert (j.partial_batch is None) == (images == 20)


@both
def test_min_seconds_goes_on_for_speed_and_leaves_accuracy_alone(run, models, data, which):
    flags = {"infer_model": models / "plain", "infer_data": data["uint8"], "batch_size": 10, "warmup_size": 2}
    short, long = run(which, **flags).json, run(which, min_seconds=0.2, **flags).json
    assert short.measured_batches == 3
    assert sum(long.latencies_ms) >= 200 > sum(long.latencies_ms[:-1])
    assert long.measured_images == 10 * len(long.latencies_ms) == 10 * long.measured_batches
    assert (long.images, long.top1, long.top5, long.predictions) == (37, short.top1, short.top5, short.predictions)
    assert (long.partial_batch.images, long.warmup_size) == (7, 2)


@both
def test_the_summary_is_that_of_the_latencies(run, models, data, which):
    j = run(which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=2).json
    values = j.latencies_ms
    p50, p90, p99 = (nearest_rank(values, percent) for percent in (50, 90, 99))
    mean = j.latency_ms.mean
    assert mean == pytest.approx(np.mean(values))
    assert j.latency_ms == Latency(mean=mean, p50=p50, p90=p90, p99=p99, min=min(values), max=max(values))
    assert j.images_per_second == pytest.approx(j.measured_images / sum(values) * 1000)


@both
def test_num_threads_reaches_the_predictor(run, models, data, which):
    flags = {"infer_model": models / "plain", "infer_data": data["uint8"], "batch_size": 30, "min_seconds": 0.2}
    seen = []
    for _ in range(3):  # on a machine that others use a thread may wait for nine tenths of the time
        one, three = (run(which, num_threads=n, **flags).json for n in (1, 3))
        assert three.threads_alive == one.threads_alive + 2
        assert one.threads_busy <= 1 and three.threads_busy <= 3
        seen.append((one.threads_busy, three.threads_busy))
        if seen[-1][0] == 1 < seen[-1][1]:
            return
    pytest.fail(f"busy threads of 1 and of 3: {seen}")


@both
def test_the_json_says_which_cpus_the_kernel_allows(run, models, data, which):
    cpu = min(os.sched_getaffinity(0))
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        env = {"KMP_AFFINITY": "granularity=fine,compact,1,0"}
        assert run(which, infer_model=models / "plain", infer_data=data["uint8"], env=env).json.affinity == [cpu]
    finally:
        os.sched_setaffinity(0, allowed)
    j = run(which, infer_model=models / "plain", infer_data=data["uint8"], env=env).json
    assert j.affinity == sorted(allowed)


@both
def test_memory_does_not_grow_with_the_size_of_the_data_file(run, models, tmp_path, which):
    images = 20_000
    file = tmp_path / "large.bin"
    with open(file, "wb") as f:  # sparse: all pixels and labels are 0
        f.write(images.to_bytes(8, "little"))
        f.truncate(8 + images * (3 * 32 * 32 * 4 + 8))
    assert file.stat().st_size > 240e6
    flags = {"infer_model": models / "plain", "infer_data": file, "data_dim": 32, "batch_size": 100}
    few, all_ = run(which, iterations=10, **flags).json, run(which, **flags).json
    assert (few.images, all_.images) == (1000, images)
    assert all_.peak_rss_bytes - few.peak_rss_bytes < 20e6


@both
def test_the_models_own_accuracy_layer_is_averaged_over_images(run, models, data, which):
    plain = run(which, infer_model=models / "plain", infer_data=data["float32"], batch_size=10).json
    layer = run(
        which, infer_model=models / "accuracy", infer_data=data["float32"], batch_size=10, with_accuracy_layer="true"
    ).json
    assert layer.predictions == []
    assert (layer.images, layer.measured_images) == (IMAGES, 30)
    assert layer.top1 == pytest.approx(plain.top1, abs=1e-6)
    assert layer.top5 == pytest.approx(plain.top5, abs=1e-6)


def test_both_testers_average_the_accuracy_layer_alike(run, models, data):
    flags = {"infer_model": models / "accuracy", "infer_data": data["uint8"], "with_accuracy_layer": "true"}
    cpp, python = run("cpp", batch_size=8, **flags).json, run("python", batch_size=8, **flags).json
    assert (cpp.top1, cpp.top5) == (python.top1, python.top5)


@both
def test_a_model_that_does_not_match_the_accuracy_flag_is_refused_by_naming_the_flag(fails, models, data, which):
    plain = {"infer_model": models / "plain", "infer_data": data["uint8"], "with_accuracy_layer": "true"}
    fails(which, 4, "(image)", "as --with_accuracy_layer=true says", "next: --with_accuracy_layer=false", **plain)
    layer = {"infer_model": models / "accuracy", "infer_data": data["uint8"]}
    fails(which, 4, "(image, label)", "next: --with_accuracy_layer=true", **layer)


def test_online_int8_predicts_alike_in_both_testers(run, models, data):
    flags = {"infer_model": models / "qat", "infer_data": data["uint8"], "int8_online": "true"}
    cpp, python = run("cpp", **flags), run("python", **flags)
    assert cpp.json.predictions == python.json.predictions
    assert len(set(cpp.json.predictions)) >= 3


@pytest.mark.parametrize("which", ["cpp_profiler", "python"])
def test_the_profile_names_the_primitives_and_adds_up_to_the_measured_time(run, models, data, which):
    done = run(
        which, infer_model=models / "plain", infer_data=data["uint8"], batch_size=10, warmup_size=3, use_profile="true"
    )
    title = done.lines.index("Operators (oneDNN primitives of the measured batches):")
    rows = [line.rsplit(None, 3) for line in done.lines[title + 2 : -1]]
    convolutions = sum(int(count) for name, count, _, _ in rows if name.startswith("convolution "))
    assert convolutions == 2 * 3, "two convolutions in three measured batches; warm-up and partial batch do not count"
    name, rest, share = done.lines[-1].rsplit(None, 2)
    assert name == "(outside oneDNN)" and float(share[:-1]) < 100
    total = sum(float(ms) for _, _, ms, _ in rows) + float(rest)
    assert total == pytest.approx(sum(done.json.latencies_ms), abs=0.01)
    assert done.lines[0].startswith("Model: ") and not any("onednn_verbose" in line for line in done.lines)


@pytest.mark.skipif(not vnni(), reason="this CPU has no AVX-512 VNNI")
@pytest.mark.parametrize("which", ["cpp_profiler", "python"])
def test_the_profile_shows_that_online_int8_really_runs_in_int8(run, models, data, which):
    flags = {"infer_model": models / "qat", "infer_data": data["uint8"], "use_profile": "true"}

    def convolutions(**more) -> list[str]:
        return [line for line in run(which, **flags, **more).lines if line.startswith("convolution ")]

    assert all("vnni" in line for line in convolutions(int8_online="true"))
    assert not any("vnni" in line for line in convolutions())
