"""Build the container image that stages run in: from the locked wheels, or (--source) from Paddle's source."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qat8 import artifacts, cli
from qat8.console import say, step
from qat8.containers import build, contents, engine, images, upstream
from qat8.containers.container import Spec, output
from qat8.dependencies import locks
from qat8.errors import MachineError, UsageError, VerificationError

DOCKER = artifacts.REPOSITORY / "docker"
# In the checkout whatever QAT8_DATA says: it is part of the build's context.
WHEELS = artifacts.REPOSITORY / "data" / "downloads" / "wheels"
# The second one is for the wheel's oneDNN (tester/cmake/engine.cmake).
TESTERS = ("/opt/qat8/tester/build/sample_tester", "/opt/qat8/tester/build/engine_tester")


def main(argv: list[str]) -> None:
    args = _parser().parse_args(argv)
    pins = images.load()
    given = [f"--{n}" for n in ("paddle-ref", "paddle-git", "paddle-sha256", "slim-git", "profiler")
             if getattr(args, n.replace("-", "_"))]  # fmt: skip
    if given and not args.source:
        raise UsageError(f"{', '.join(given)} without --source", "inv build.image --source")
    snapshot = args.apt_snapshot or pins.base.apt_snapshot
    if snapshot and not re.fullmatch(images.SNAPSHOT, snapshot):
        raise UsageError(f"--apt-snapshot {snapshot!r}", "the URI of a snapshot that ends in a date, YYYYMMDDTHHMMSSZ")
    build.require_only_sources()
    args.paddle_git, *keys = upstream.without_credentials(args.paddle_git)
    args.slim_git, key = upstream.without_credentials(args.slim_git)
    with engine.connect() as client, upstream.store([*keys, key]) as credentials:
        base = build.base_image(client, args.base_image, pins)
        wheels()
        start = time.perf_counter()
        if args.source:
            tag, arguments, labels = args.tag or images.SOURCE_TAG, *_source(args, pins, credentials)
        else:
            tag, arguments, labels = args.tag or images.WHEEL_TAG, {}, {}
        kind = "source" if args.source else "wheel"
        labels |= build.common_labels(artifacts.sha256(images.FILE)) | {
            "qat8.base": base,
            "qat8.apt": snapshot or "the base image's own sources",
        }
        extra = [f"--secret=id=git-credentials,src={credentials}"] if credentials else []
        with step(f"building {tag} on {base}"):
            build.run(DOCKER / f"Dockerfile.{kind}", tag, _common(base, pins, snapshot) | arguments, labels,
                      artifacts.DATA / "logs" / f"build-{kind}.log",
                      extra=[*extra, *(["--no-cache"] if args.no_cache else [])])  # fmt: skip
        built = verify(client, tag, pins.wheel.max_bytes, args.source)
        bom = artifacts.DATA / "images" / f"{tag.replace(':', '-').replace('/', '-')}.cdx.json"
        with artifacts.atomic_file(bom) as temporary:
            temporary.write_text(json.dumps(contents.sbom(client, tag, built), indent=1) + "\n")
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
    parser.flag("apt-snapshot", default="", help="dated snapshot of Debian's archive (empty: docker/images.toml's)")
    parser.flag("tag", default="", help=f"name of the image (empty: {images.WHEEL_TAG} or {images.SOURCE_TAG})")
    return parser


def _common(base: str, pins: images.Images, snapshot: str) -> dict[str, str]:
    return {
        "BASE_IMAGE": base, "RUN_PACKAGES": " ".join(pins.base.run_packages), "COMPILER": pins.base.compiler,
        "BUILD_PACKAGES": " ".join(pins.base.build_packages), "APT_SNAPSHOT": snapshot,
    }  # fmt: skip


def _source(args, pins: images.Images, credentials: Path | None) -> tuple[dict[str, str], dict[str, str]]:
    """The build's arguments and the image's labels for a ref of Paddle."""
    name = args.paddle_ref or pins.source.default
    ref = pins.ref(name)
    flags = [f.replace("-DWITH_PROFILER=OFF", "-DWITH_PROFILER=ON") if args.profiler else f
             for f in (*pins.source.cmake_flags, *ref.extra_flags)]  # fmt: skip
    git, slim = (
        upstream.origin(args.paddle_git or pins.source.paddle_git),
        upstream.origin(args.slim_git or pins.source.slim_git),
    )
    paddle_ref, paddle_now = upstream.resolve(git, ref.names or [name], credentials)
    slim_ref, slim_now = upstream.resolve(slim, [ref.slim_ref], credentials)
    paddle_commit = _commit(f"Paddle {paddle_ref}", ref, ref.commit, paddle_now, args.paddle_git)
    slim_commit = _commit(f"PaddleSlim {slim_ref}", ref, ref.slim_commit, slim_now, args.slim_git)
    arguments = {
        "PADDLE_GIT": git, "PADDLE_REF": paddle_ref, "PADDLE_COMMIT": paddle_commit,
        "PADDLE_SHA256": args.paddle_sha256, "SLIM_GIT": slim, "SLIM_REF": slim_ref, "SLIM_COMMIT": slim_commit,
        "INSTALL_FLAG": ref.install_flag, "LIBRARY": ref.library,
        "BYTES_PER_JOB": str(pins.source.bytes_per_job), "CMAKE_FLAGS": " ".join(flags),
        "PATCHES": " ".join(ref.patches), "USE_PROFILER": "ON" if args.profiler else "OFF",
        "SOURCE_PACKAGES": " ".join(pins.base.source_packages),
    }  # fmt: skip
    labels = {"paddle.git": git, "paddle.ref": paddle_ref, "paddle.commit": paddle_commit, "slim.git": slim,
              "slim.ref": slim_ref, "slim.commit": slim_commit}  # fmt: skip
    return arguments, {f"qat8.{name}": value or "told after the fetch" for name, value in labels.items()}


def _commit(what: str, ref: images.Ref, pinned: str, now: str, elsewhere: str) -> str:
    """The commit to expect: the pinned one; else, which is said, the one that the ref is now.

    The pins are upstream's: another repository (`elsewhere`) says which commit the ref is there.
    """
    if pinned and not elsewhere:
        return pinned
    why = "it comes from another place than upstream" if elsewhere else ref.unpinned
    say(f"{what} is not pinned, because {why}: " + (f"commit {now}" if now else "its commit is told after the fetch"))
    return now


def wheels() -> None:
    """Fetch every wheel of the lock for the image's Python, by the host's own pip; what is there is not fetched again.

    Raises:
        MachineError: pip could not; its last line says why.
    """
    lock, python = artifacts.REPOSITORY / locks.RUNTIME.file, images.load().base.python
    stamp = WHEELS.with_name("wheels.sha256")
    if stamp.is_file() and stamp.read_text() == artifacts.sha256(lock) and WHEELS.is_dir():
        return
    WHEELS.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    with step("fetching the wheels of requirements.txt"), tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write(locks.text_for(locks.RUNTIME, python))
        wanted.flush()
        more = [f"--python-version={python}", f"--dest={WHEELS}", f"--requirement={wanted.name}"]
        done = subprocess.run([*pip, *more], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise MachineError(f"pip could not fetch the wheels: {lines[-1] if lines else 'no message'}",
                           next_step="check the network, then run again")  # fmt: skip
    with artifacts.atomic_file(stamp) as temporary:
        temporary.write_text(artifacts.sha256(lock))


def verify(client, tag: str, max_bytes: int, source: bool = False) -> dict[str, str]:
    """The testers start in the image as stages run there, and the image is not larger than it may be. Returns the
    commits that the fetches of a source build have recorded.

    Raises:
        VerificationError: it is not so.
    """
    size = client.images.get(tag).attrs["Size"]
    if size > max_bytes:
        raise VerificationError(f"image {tag} has {size:,} bytes", f"at most {max_bytes:,} (docker/images.toml)")
    for program in TESTERS[: 1 if source else None]:
        code, *said = _output(client, tag, [program, "--help"])
        if code:
            last = ("".join(said).strip().splitlines() or ["no message"])[-1]
            raise VerificationError(f"{program} does not start in {tag}: {last}")
    if not source:
        return {}
    origin = json.loads(_output(client, tag, ["cat", "/opt/paddle/origin.json"])[1])
    say("  " + ", ".join(f"{name} {value}" for name, value in origin.items()))
    return {"qat8.paddle.commit": origin["commit"], "qat8.slim.commit": origin["slim"]}


def _output(client, tag: str, command: list[str]) -> tuple[int, str, str]:
    return output(client, Spec(image=tag, command=command, run_id=f"verify-{os.getpid()}", name="verify"))


if __name__ == "__main__":
    cli.run(main)
