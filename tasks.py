"""Invoke tasks, one for each stage: the signature is the command line, the docstring its help; no logic here."""

import sys
from pathlib import Path

from invoke import Collection, task
from invoke.parser import Argument
from invoke.tasks import Task

from qat8 import artifacts, config, signals
from qat8.runner import flags, run

if Path(sys.argv[0]).name in ("inv", "invoke"):  # its own process: between stages, too, a signal ends it by one line
    signals.leave_at_once()

RUNTIME = {"runtime": "where it runs: local (this machine's Python) or docker (a container)"}


class Verbatim(str):
    """A flag's name that Invoke leaves as it is: it would turn LearningRate.base_lr into LearningRate.base-lr."""

    def lstrip(self, *_):
        return self

    rstrip = lstrip

    def replace(self, *_):
        return self


class TrainTask(Task):
    """`inv train` takes every key of config.yaml as a flag of its own."""

    def get_arguments(self, ignore_unknown_help=None):
        dotted = [name for name in config.leaf_names() if "." in name]
        extra = [Argument(names=(Verbatim(n),), kind=str, help="config.yaml") for n in dotted]
        named = [a for a in super().get_arguments(ignore_unknown_help) if a.name != "dotted"]
        return [*named, *extra]


@task(help=RUNTIME | {"ilsvrc2012": "ImageNet's validation set instead", "archive": "your ILSVRC2012_img_val.tar",
                      "url": "fetch the archive from here"})  # fmt: skip
def dataset(c, output_dir="", ilsvrc2012=False, archive="", url="", runtime="local"):
    """Make the embedded data set: 20 labelled photographs and 100 of ours, in the tutorial's layout."""
    run("dataset", flags(output_dir=output_dir, ilsvrc2012=ilsvrc2012, archive=archive, url=url), runtime)


@task(help=RUNTIME | {"file": "weights of another tool (docs/weights.md)", "weights_sha256": "what --file must have",
                      "allow_unused": "although arrays of --file have no use here",
                      "backbone_only": "the last layer starts at random"})  # fmt: skip
def weights(c, model="MobileNetV1", file="", weights_sha256="", allow_unused=False, backbone_only=False, random=False,
            output_dir="", runtime="local"):  # fmt: skip
    """Import pretrained weights: real ImageNet weights that ship in a package, or a file of another tool."""
    run("weights", flags(model=model, file=file, weights_sha256=weights_sha256, allow_unused=allow_unused,
                         backbone_only=backbone_only, random=random, output_dir=output_dir), runtime)  # fmt: skip


@task(help=RUNTIME | {"local": "the images are yours, in --data-dir", "format": "qat8 or raw (the tutorial's layout)",
                      "on_missing": "stop or skip", "dtype": "float32 or uint8",
                      "fast": "JPEG draft mode: other pixels, fingerprinted",
                      "scheduler": "HOST:PORT of a Dask scheduler"})  # fmt: skip
def preprocess(c, local=False, data_dir="", label_list="", output_file="", data_dim=224, model="MobileNetV1",
               normalisation="", format="qat8", dtype="float32", on_missing="stop", classes=1000, workers=0, fast=False,
               scheduler="", runtime="local"):  # fmt: skip
    """Turn photographs into the binary data file; without --local the embedded data set's."""
    run("preprocess", flags(fast=fast, scheduler=scheduler, local=local, data_dir=data_dir, label_list=label_list,
                            output_file=output_file, data_dim=data_dim, model=model, normalisation=normalisation,
                            format=format, dtype=dtype,
                            on_missing=on_missing, classes=classes, workers=workers or None), runtime)  # fmt: skip


@task(klass=TrainTask, iterable=["set"], help=RUNTIME | {
    "set": "KEY=VALUE of config.yaml, may be repeated", "nproc": "processes on this machine that train together",
    "hosts": "addresses of all machines that do, by comma; start the same command on each",
    "node_rank": "place of this machine in --hosts", "port": "where they find each other on the first of them",
})  # fmt: skip
def train(c, model="MobileNetV1", pretrained_model="", data="imagenet", data_dir="", save_float32_qat_dir="",
          max_iters="", num_epochs="", batch_size="", config_file="", nproc="", hosts="", node_rank="", port="",
          set=None, strategy="qat", runtime="local", **dotted):  # fmt: skip
    """Train quantization-aware: FP32 weights -> FP32 model and float32 QAT model."""
    run("train", flags(model=model, pretrained_model=pretrained_model, data=data, data_dir=data_dir,
                       save_float32_qat_dir=save_float32_qat_dir, max_iters=max_iters, num_epochs=num_epochs,
                       batch_size=batch_size, config_file=config_file, nproc=nproc, hosts=hosts, node_rank=node_rank,
                       port=port, set=set, strategy=strategy)
        + [f"--{name}={value}" for name, value in dotted.items() if value is not None], runtime)  # fmt: skip


@task(help=RUNTIME | {"check_data": "data file on which INT8 must name the same classes as QAT",
                      "strategy": "qat or ptq: which model of inv train",
                      "max_drop": "points of top-1 that INT8 may lose; the fewest layers stay in FP32 for it",
                      "reduce_range": "for CPUs without VNNI: auto, true or false",
                      "fp32_model": "reference of --max-drop"})  # fmt: skip
def convert(c, model="MobileNetV1", qat_model_path="", int8_model_save_path="", quantized_ops="conv2d,pool2d,fc",
            check_data="", min_agreement=0.98, max_drop="", fp32_model="", strategy="qat", reduce_range="",
            runtime="local"):  # fmt: skip
    """Convert a float32 QAT model to a oneDNN INT8 model."""
    run("convert", flags(model=model, qat_model_path=qat_model_path, int8_model_save_path=int8_model_save_path,
                         quantized_ops=quantized_ops, check_data=check_data, min_agreement=min_agreement,
                         max_drop=max_drop, fp32_model=fp32_model, strategy=strategy,
                         reduce_range=reduce_range), runtime)  # fmt: skip


@task(help=RUNTIME)
def export(c, model="MobileNetV1", fp32_model="", int8_model="", runtime="local"):
    """Write the FP32 and the INT8 model as files of our own engine, with INT8 weights."""
    run("export", flags(model=model, fp32_model=fp32_model, int8_model=int8_model), runtime)


@task(help=RUNTIME | {"threads": "by comma; all: every CPU", "quick": "short; the results say so",
                      "max_top1_drop": "points that INT8 may lose (exit 7)", "strict": "exit 7 when INVALID",
                      "mlflow": "URI of a store to log the run to",
                      "reuse": "do nothing when the same was measured before", "memory": "limit of the container: 8g",
                      "numa": "NUMA node of the container", "hosts": "names of hosts.toml or Docker contexts",
                      "host_timeout": "seconds after which a silent host is given up",
                      "precisions": "fp32,int8; bf16 may be added (docs/int8.md)",
                      "peers": "also other engines: openvino,onnxruntime,torch (docs/peers.md)",
                      "image": "image of the container", "scenario": "also single-stream, offline, server, by comma",
                      "target_latency_ms": "of server: what p99 must not exceed", "sweep": "all instances x cores",
                      "instances": "also so many processes at once; auto: as many as fit"})  # fmt: skip
def benchmark(c, models="MobileNetV1", fp32_model="", int8_model="", data_file="", testers="", precisions="", peers="",
              threads="", batch_sizes="", cpus="", repetitions=5, min_seconds=3.0, warmup=2, quick=False,
              scenario="", target_latency_ms="", duration="", min_queries="", instances="", cores_per_instance="",
              sweep=False, max_top1_drop="", strict=False, mlflow="", reuse=False, output="", image="", numa="",
              memory="", hosts="", host_timeout="",
              runtime="local"):  # fmt: skip
    """Measure FP32 against INT8: models x testers x threads x batch sizes -> one results file."""
    if peers:  # their models, of the same weights
        run("peers", flags(models=models, peers=peers, fp32_model=fp32_model), runtime)
    run("benchmark", flags(models=models, fp32_model=fp32_model, int8_model=int8_model, data_file=data_file,
                           testers=testers, precisions=precisions, peers=peers, threads=threads,
                           batch_sizes=batch_sizes, cpus=cpus, repetitions=repetitions, min_seconds=min_seconds,
                           warmup=str(warmup), quick=quick, reuse=reuse, output=output, scenario=scenario,
                           target_latency_ms=target_latency_ms, duration=duration, min_queries=min_queries,
                           instances=instances, cores_per_instance=cores_per_instance, sweep=sweep,
                           max_top1_drop=max_top1_drop, strict=strict, mlflow=mlflow),
        runtime, image=image, cpus=cpus, numa=numa, memory=memory, hosts=hosts,
        host_timeout=host_timeout)  # fmt: skip


@task(help={"data_dir": "data set whose train_list.txt to calibrate with"})
def peers(c, models="MobileNetV1", peers="", fp32_model="", data_dir=""):
    """Convert and quantize FP32 models for other engines: OpenVINO, ONNX Runtime, PyTorch."""
    run("peers", flags(models=models, peers=peers, fp32_model=fp32_model, data_dir=data_dir))


@task(help=RUNTIME | {"results": "results file (default: the newest)", "beside": "a second run's results file"})
def report(c, results="", output_dir="", beside="", runtime="local"):
    """Write the report of a results file: Markdown, HTML, CSV, plots; beside the tutorial's tables."""
    run("report", flags(results=results, output_dir=output_dir, beside=beside), runtime)


@task(help=RUNTIME | {"data_file": "preprocessed images to measure on"})
def sensitivity(c, model="MobileNetV1", data_file="", qat_model_path="", fp32_model="",
                quantized_ops="conv2d,pool2d,fc", output_dir="", runtime="local"):  # fmt: skip
    """Measure what quantizing each layer alone costs in accuracy."""
    run("sensitivity", flags(model=model, data_file=data_file, qat_model_path=qat_model_path, fp32_model=fp32_model,
                             quantized_ops=quantized_ops, output_dir=output_dir), runtime)  # fmt: skip


@task(help=RUNTIME | {"precision": "int8, fp32, qat or bf16", "cpus": "CPUs to pin to"})
def profile(c, model="MobileNetV1", precision="int8", model_path="", batch_size=50, num_threads=1, cpus="",
            iterations=10, warmup=2, data_file="", output_dir="", runtime="local"):  # fmt: skip
    """Show where a model's time goes: each operator with its kernel, types, time; reorders; what is not INT8."""
    run("profile", flags(model=model, precision=precision, model_path=model_path, batch_size=batch_size,
                         num_threads=num_threads, cpus=cpus, iterations=iterations, warmup=warmup,
                         data_file=data_file, output_dir=output_dir), runtime, cpus=cpus)  # fmt: skip


@task(
    help={
        "batch_sizes": "by comma; 1-64: every size of them in turn",
        "testers": "cpp, engine, by comma",
        "instances": "processes of each tester and batch size; all at once",
        "every": "seconds between samples",
    }
)
def soak(c, model="MobileNetV1", precision="", model_path="", data_file="", testers="cpp", batch_sizes="1,50,1-64",
         instances=1, num_threads=1, minutes=30.0, every=5.0, output_dir=""):  # fmt: skip
    """Let testers work for long and say whether their memory, open files and threads stay flat."""
    run("soak", flags(model=model, precision=precision, model_path=model_path, data_file=data_file, testers=testers,
                      batch_sizes=batch_sizes, instances=instances, num_threads=num_threads, minutes=minutes,
                      every=every, output_dir=output_dir))  # fmt: skip


@task(help=RUNTIME | {"fix": "print the commands that steady this host", "apply": "run them",
                      "restore": "put back what --apply changed"})  # fmt: skip
def doctor(c, fix=False, apply=False, restore=False, runtime="local"):
    """Say what this host can do, and what would make its figures better."""
    run("doctor", flags(fix=fix, apply=apply, restore=restore), runtime)


@task(help={"a": "results file, before", "b": "results file, after",
      "max_regression": "per cent; a loss beyond it ends with 7", "metric": "of the gate: ratio, int8, fp32 or bf16",
      "min_change": "per cent; less is called noise", "force": "unlike machines, INVALID runs"})  # fmt: skip
def compare(c, a, b, max_regression=5.0, metric="ratio", min_change=2.0, force=False):
    """Compare two results files: what changed beyond noise; exit code 7 for a regression."""
    run("compare", [a, b, *flags(max_regression=str(max_regression), metric=metric, min_change=str(min_change),
                                 force=force)])  # fmt: skip


@task(help={"directory": "of results files, e.g. data/results", "model": "only this one", "all": "every configuration"})
def history(c, directory, output_dir="", model="", all=False):
    """Plot INT8/FP32 over the commits of a directory of results."""
    run("history", [directory, *flags(output_dir=output_dir, model=model, all=all)])


@task(help={"output": "file (default: docs/schema)"})
def schema(c, output=""):
    """Write the JSON Schema of results files."""
    run("schema", flags(output=output))


@task(help={"upgrade": "every package to the newest version that fits", "package": "only these, by comma",
            "find_links": "directory with torch's CPU build: the peers' lock, too"})  # fmt: skip
def lock(c, upgrade=False, package="", find_links=""):
    """Resolve and hash the requirements anew, and say what moved."""
    run("lock", flags(upgrade=upgrade, package=package, find_links=find_links))


@task(help={"service": "pypi (the index's advisories) or osv", "url": "where OSV's interface is, e.g. a mirror"})
def audit(c, service="pypi", url=""):
    """Ask for known vulnerabilities of every locked package; exit code 7 where there is one."""
    run("audit", flags(service=service, url=url))


@task(help={"check": "write nothing; exit code 7 when the page is not up to date"})
def licences(c, check=False):
    """Write docs/licences.md, and refuse a licence that is not allowed."""
    run("licences", flags(check=check))


@task(name="tester", help={"paddle_root": "inference distribution (default: the installed wheel)"})
def build_tester(c, paddle_root="", use_profiler=False):
    """Build the C++ tester."""
    run("build_tester", flags(paddle_root=paddle_root, use_profiler=use_profiler))


@task(name="image", help={"source": "from Paddle's source, not from the wheel", "tag": "the image's name",
                          "base_image": "image to build upon (default: docker/images.toml)",
                          "paddle_ref": "a ref that docker/images.toml has a row for", "profiler": "with the profiler",
                          "paddle_git": "URL of a mirror, or a tarball", "slim_git": "so for PaddleSlim",
                          "apt_snapshot": "dated snapshot of Debian's archive"})  # fmt: skip
def build_image(c, source=False, base_image="", tag="", paddle_ref="", paddle_git="", paddle_sha256="", slim_git="",
                apt_snapshot="", profiler=False, no_cache=False):  # fmt: skip
    """Build the container image that --runtime=docker uses."""
    run("build_image", flags(source=source, base_image=base_image, tag=tag, paddle_ref=paddle_ref,
                             paddle_git=paddle_git, paddle_sha256=paddle_sha256, slim_git=slim_git,
                             apt_snapshot=apt_snapshot, profiler=profiler, no_cache=no_cache))  # fmt: skip


@task(name="peers")
def build_peers(c):
    """Make the environment of the engines that `inv benchmark --peers` measures (1.6 GB)."""
    run("build_peers", [])


@task(name="compare")
def compare_images(c, a, b):
    """Name the files in which two images differ."""
    run("compare_images", [a, b])


@task(help={"command": "run this and leave", "cpus": "CPUs to pin to"})
def shell(c, command="bash", image="", cpus=""):
    """A shell in the image, with the mounts and limits of a stage's container."""
    run("shell", flags(command=command, image=image, cpus=cpus))


@task(name="manifest", help={"image": "as the cluster pulls it", "claim": "PersistentVolumeClaim with data/"})
def k8s_manifest(c, image, cpus=4, memory="8Gi", claim="qat8-data", models="MobileNetV1", output=""):
    """Write a Kubernetes Job that runs the benchmark."""
    run("k8s_manifest", flags(image=image, cpus=cpus, memory=memory, claim=claim, models=models, output=output))


@task(name="preprocess", help={"rounds": "times that every image is preprocessed in every way", "output": "JSON file",
                               "torchvision": "fetch it (8 MB) and measure it too; needs inv build.peers"})  # fmt: skip
def speed_preprocess(c, data_dir="", label_list="", model="MobileNetV1", rounds=5, torchvision=False, output=""):
    """Measure preprocessing on one core against a plain Pillow loop and torchvision."""
    run("preprocess_speed", flags(data_dir=data_dir, label_list=label_list, model=model, rounds=rounds,
                                  torchvision=torchvision, output=output))  # fmt: skip


@task(name="containers", help={"all": "those of tasks that still run, or ran on other machines, too"})
def clean_containers(c, all=False):
    """Remove the containers that killed runs left."""
    run("clean_containers", flags(all=all))


@task(help=RUNTIME)
def demo(c, runtime="local"):
    """The main job on the embedded data set and model, end to end; what is done already is not done again."""
    val = artifacts.shown(artifacts.EMBEDDED / "val.bin")
    run("build_tester" if runtime == "local" else "build_image", [])  # an image has the tester in it
    for stage, argv in (
        ("dataset", []), ("weights", []), ("preprocess", []), ("train", []), ("convert", [f"--check-data={val}"]),
        ("benchmark", ["--repetitions=3", "--min-seconds=1", "--reuse"]), ("report", []),
    ):  # fmt: skip
        run(stage, argv, runtime)


namespace = Collection(dataset, weights, preprocess, train, convert, export, peers, benchmark, report, compare, history,
                       profile, sensitivity, soak, doctor, schema, demo, shell, lock,
                       audit, licences)  # fmt: skip
namespace.add_collection(Collection("build", build_tester, build_image, build_peers, compare_images))
namespace.add_collection(Collection("k8s", k8s_manifest))
namespace.add_collection(Collection("speed", speed_preprocess))
namespace.add_collection(Collection("clean", clean_containers))
