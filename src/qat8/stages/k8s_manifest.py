"""Write the manifest of a Kubernetes Job that runs the benchmark: `kubectl create -f` starts it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from qat8 import artifacts, cli
from qat8.console import say
from qat8.containers import kubernetes
from qat8.errors import UsageError

VNNI = "feature.node.kubernetes.io/cpu-cpuid.AVX512VNNI"  # Node Feature Discovery's label


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="k8s_manifest", description=__doc__)
    parser.flag("image", default=None, required=True, help="the image as the cluster pulls it")
    parser.flag("cpus", type=cli.positive_int, default=4, help="CPUs, whole ones")
    parser.flag("memory", default="8Gi", help="memory, as Kubernetes writes it")
    parser.flag("claim", default="qat8-data", help="PersistentVolumeClaim with the content of data/")
    parser.flag("any-node", default=False, help="nodes without AVX-512 VNNI, too")
    parser.flag("output", default=str(artifacts.DATA / "k8s" / "benchmark.yaml"), help="the file to write")
    args, others = parser.parse_known_args(argv)
    if not re.fullmatch(r"[1-9]\d*(Ki|Mi|Gi|Ti)?", args.memory):
        raise UsageError(f"--memory {args.memory!r}", "such as 8Gi")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", args.claim):
        raise UsageError(f"--claim {args.claim!r}", "a name in Kubernetes: small letters, digits, - and .")
    selector = {} if args.any_node else {VNNI: "true"}
    manifest = kubernetes.job(args.image, others, args.cpus, args.memory, args.claim, selector)
    with artifacts.atomic_file(Path(args.output)) as temporary:
        temporary.write_text(yaml.safe_dump(manifest, sort_keys=False))
    say(f"manifest: {artifacts.shown(Path(args.output))}; start it with kubectl create -f")


if __name__ == "__main__":
    cli.run(main)
