"""Build the container image that stages run in: from the locked wheels, or (--source) from Paddle's source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from qat8 import artifacts, cli
from qat8.console import say, step
from qat8.containers import build, contents, engine, images, upstream
from qat8.containers.container import Container, Spec
from qat8.errors import MachineError, UsageError, VerificationError

DOCKER = artifacts.REPOSITORY / "docker"
# In the checkout whatever QAT8_DATA says: it is part of the build's context.
WHEELS = artifacts.REPOSITORY / "data" / "downloads" / "wheels"
TESTER = "/opt/qat8/tester/build/sample_tester"


def main(argv: list[str]) -> None:
    args = _parser().parse_args(argv)
    pins = images.load()
    given = [f"--{n}" for n in ("paddle-ref", "paddle-git", "paddle-sha256", "slim-git", "profiler")
             if getattr(args, n.replace("-", "_"))]  # fmt: skip
    if given and not args.source:
        raise UsageError(f"{', '.join(given)} without --source", "inv build.image --source")
    with engine.connect() as client:
        base = build.base_image(client, args.base_image, pins)
        wheels()
        start = time.perf_counter()
        if args.source:
            tag, arguments, labels = args.tag or images.SOURCE_TAG, *_source(args, pins)
        else:
            tag, arguments, labels = args.tag or images.WHEEL_TAG, {}, {}
        kind = "source" if args.source else "wheel"
        labels |= build.common_labels(artifacts.sha256(images.FILE)) | {"qat8.base": base}
        with step(f"building {tag} on {base}"):
            build.run(DOCKER / f"Dockerfile.{kind}", tag, _common(base, pins) | arguments, labels,
                      artifacts.DATA / "logs" / f"build-{kind}.log",
                      extra=["--no-cache"] if args.no_cache else [])  # fmt: skip
        verify(client, tag, pins.wheel.max_bytes, args.source)
        bom = artifacts.DATA / "images" / f"{tag.replace(':', '-').replace('/', '-')}.cdx.json"
        with artifacts.atomic_file(bom) as temporary:
            temporary.write_text(json.dumps(contents.sbom(client, tag), indent=1) + "\n")
        say(f"software bill of materials: {artifacts.shown(bom)}")
        size = client.images.get(tag).attrs["Size"]
        say(f"image {tag}: {size / 1e6:,.0f} MB, {time.perf_counter() - start:.1f} s")


def _parser() -> cli.Parser:
    parser = cli.Parser(prog="build_image", description=__doc__)
    parser.flag("source", default=False, help="build Paddle, PaddleSlim and the inference library from source")
    parser.flag("paddle-ref", default="", help="tag or branch of Paddle that docker/images.toml has a row for")
    parser.flag("paddle-git", default="", help="another URL to clone Paddle from, or a tarball of a checkout")
    parser.flag("paddle-sha256", default="", help="SHA-256 of the tarball")
    parser.flag("slim-git", default="", help="the same for PaddleSlim")
    parser.flag("profiler", default=False, help="-DWITH_PROFILER=ON for Paddle, -DUSE_PROFILER=ON for the tester")
    parser.flag("no-cache", default=False, help="build every step anew")
    parser.flag("base-image", default="", help="image to build upon (empty: the one that docker/images.toml pins)")
    parser.flag("tag", default="", help=f"name of the image (empty: {images.WHEEL_TAG} or {images.SOURCE_TAG})")
    return parser


def _common(base: str, pins: images.Images) -> dict[str, str]:
    return {
        "BASE_IMAGE": base, "RUN_PACKAGES": " ".join(pins.base.run_packages), "COMPILER": pins.base.compiler,
        "BUILD_PACKAGES": " ".join(pins.base.build_packages), "APT_SNAPSHOT": pins.base.apt_snapshot,
    }  # fmt: skip


def _source(args, pins: images.Images) -> tuple[dict[str, str], dict[str, str]]:
    """The build's arguments and the image's labels for a ref of Paddle."""
    name = args.paddle_ref or pins.source.default
    ref = pins.ref(name)
    flags = [f.replace("-DWITH_PROFILER=OFF", "-DWITH_PROFILER=ON") if args.profiler else f
             for f in (*pins.source.cmake_flags, *ref.extra_flags)]  # fmt: skip
    git, slim = (
        upstream.origin(args.paddle_git or pins.source.paddle_git),
        upstream.origin(args.slim_git or pins.source.slim_git),
    )
    # The pinned commit is upstream's: another repository is asked for the ref, and says which commit that is.
    commit = (not args.paddle_git and ref.commit) or upstream.commit(git, name)
    arguments = {
        "PADDLE_GIT": git, "PADDLE_REF": name, "PADDLE_COMMIT": commit, "PADDLE_SHA256": args.paddle_sha256,
        "SLIM_GIT": slim, "SLIM_REF": ref.slim_ref, "SLIM_COMMIT": upstream.commit(slim, ref.slim_ref),
        "INSTALL_FLAG": ref.install_flag, "LIBRARY": ref.library,
        "BYTES_PER_JOB": str(pins.source.bytes_per_job), "CMAKE_FLAGS": " ".join(flags),
        "PATCHES": " ".join(ref.patches), "USE_PROFILER": "ON" if args.profiler else "OFF",
        "SOURCE_PACKAGES": " ".join(pins.base.source_packages),
    }  # fmt: skip
    return arguments, {"qat8.paddle.ref": name, "qat8.paddle.git": git}


def wheels() -> None:
    """Fetch every wheel of the lock, by the host's own pip; what is there is not fetched again.

    Raises:
        MachineError: pip could not; its last line says why.
    """
    lock = artifacts.REPOSITORY / "requirements.txt"
    stamp = WHEELS.with_name("wheels.sha256")
    if stamp.is_file() and stamp.read_text() == artifacts.sha256(lock) and WHEELS.is_dir():
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    with step("fetching the wheels of requirements.txt"):
        done = subprocess.run([*pip, f"--dest={WHEELS}", f"--requirement={lock}"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise MachineError(f"pip could not fetch the wheels: {lines[-1] if lines else 'no message'}",
                           next_step="check the network, then run again")  # fmt: skip
    with artifacts.atomic_file(stamp) as temporary:
        temporary.write_text(artifacts.sha256(lock))


def verify(client, tag: str, max_bytes: int, source: bool = False) -> None:
    """The tester starts in the image as stages run there, and the image is not larger than it may be.

    Raises:
        VerificationError: it is not so.
    """
    size = client.images.get(tag).attrs["Size"]
    if size > max_bytes:
        raise VerificationError(f"image {tag} has {size:,} bytes", f"at most {max_bytes:,} (docker/images.toml)")
    code, said = _output(client, tag, [TESTER, "--help"])
    if code:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise VerificationError(f"the C++ tester does not start in {tag}: {last}")
    if source:
        origin = json.loads(_output(client, tag, ["cat", "/opt/paddle/origin.json"])[1])
        say("  " + ", ".join(f"{name} {value}" for name, value in origin.items()))


def _output(client, tag: str, command: list[str]) -> tuple[int, str]:
    pieces: list[bytes] = []
    spec = Spec(image=tag, command=command, run_id=f"verify-{os.getpid()}", name="verify")
    with Container(client, spec) as container:
        outcome = container.run(lambda out, err: pieces.append(out or err or b""))
    return outcome.code, b"".join(pieces).decode(errors="replace")


if __name__ == "__main__":
    cli.run(main)
