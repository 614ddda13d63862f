"""A shell, or a command, in the image: with the mounts, the user and the limits that a stage's container has."""

from __future__ import annotations

import os
import sys

from qat8 import cli
from qat8.console import say
from qat8.containers import build, engine, images, mounts, topology
from qat8.containers.container import Spec, most_memory
from qat8.runtimes.docker import variables


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="shell", description=__doc__)
    parser.flag("image", default="", help=f"image (empty: {images.WHEEL_TAG})")
    parser.flag("cpus", default="", help="CPUs to pin to (empty: all)")
    parser.flag("command", default="bash", help="what to run, by the image's sh")
    args = parser.parse_args(argv)
    tag, url = args.image or images.default_tag(), engine.address()
    with engine.connect(url) as client:
        found = engine.image(client, tag)
        cpus, nodes = topology.select(topology.of_engine(url, client.info()), args.cpus, "")
        memory = most_memory(client)
    facts = {"image": tag, "image_id": found.id, "run_id": f"shell-{os.getpid()}", "cpus": cpus, "nodes": nodes,
             "memory": None}  # fmt: skip
    spec = Spec(
        image=found.id, command=["sh", "-c", args.command], run_id=facts["run_id"], name="shell",
        environment=variables(cpus, facts, found.labels.get(build.REVISION, "")), binds=mounts.binds([]),
        workdir=os.getcwd(), cpus=cpus, memory=memory,
    )  # fmt: skip
    say(f"{tag}; data/ is writable, there is no network; leave it with exit")
    # The program, because a terminal is its work: it takes this process's place.
    program = build.program()[0]
    os.execve(program, [program, *arguments(spec, sys.stdin.isatty())], {**os.environ, "DOCKER_HOST": url})


def arguments(spec: Spec, terminal: bool) -> list[str]:
    """`docker run` with what `Spec.arguments` gives the SDK."""
    given = spec.arguments()
    flags = ["run", "--rm", "--interactive", *(["--tty"] if terminal else []), "--read-only", "--cap-drop=ALL"]
    flags += [f"--security-opt={option}" for option in given["security_opt"]]
    flags += [f"--tmpfs={path}:{options}" for path, options in given["tmpfs"].items()]
    flags += [f"--memory={spec.memory}", f"--memory-swap={spec.memory}"]
    flags += [f"--network={spec.network}", f"--user={given['user']}", f"--pids-limit={spec.pids}"]
    flags += [f"--workdir={spec.workdir}", *([f"--cpuset-cpus={given['cpuset_cpus']}"] if spec.cpus else [])]
    flags += [f"--label={name}={value}" for name, value in given["labels"].items()]
    flags += [f"--env={name}={value}" for name, value in spec.environment.items()]
    for bind in spec.binds:
        flags.append(f"--mount=type=bind,source={bind.path},target={bind.path}{'' if bind.writable else ',readonly'}")
    return [*flags, spec.image, *spec.command]


if __name__ == "__main__":
    cli.run(main)
