"""Build the C++ tester with cmake: against the installed wheel, or an inference distribution (--paddle-root)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from qat8 import artifacts, cli, environment
from qat8.console import say
from qat8.errors import MachineError

SOURCE = artifacts.REPOSITORY / "tester"


def main(argv: list[str]) -> None:
    parser = cli.Parser(prog="build_tester", description="build tester/build/sample_tester")
    parser.flag("paddle-root", default="", help="inference distribution to build against (empty: the installed wheel)")
    parser.flag("use-profiler", default=False, help="build with --use_profile")
    parser.flag("build-dir", default=str(SOURCE / "build"), help="where to build")
    args = parser.parse_args(argv)
    if missing := environment.missing_tools():
        raise MachineError(f"not installed: {', '.join(missing)}", next_step=f"apt-get install {' '.join(missing)}")
    build = Path(args.build_dir)
    options = [
        "-DUSE_GPU=OFF", f"-DPADDLE_ROOT={args.paddle_root}", f"-DUSE_PROFILER={'ON' if args.use_profiler else 'OFF'}",
        f"-DPADDLE_PYTHON={sys.executable}",
    ]  # fmt: skip
    with artifacts.exclusive(build):
        _run("cmake", ["cmake", "-S", str(SOURCE), "-B", str(build), *options])
        _run("make", ["cmake", "--build", str(build), "--parallel", str(len(os.sched_getaffinity(0)))])
    say(f"C++ tester: {artifacts.shown(build / 'sample_tester')}")
    if (build / "engine_tester").is_file():
        say(f"the same on our own engine: {artifacts.shown(build / 'engine_tester')}")


def _run(what: str, command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        telling = (
            [line for line in lines if "error" in line.lower() or line.startswith("no ")] or lines or ["no message"]
        )
        raise MachineError(f"{what} failed: {telling[0]}", next_step="its messages stand above")


if __name__ == "__main__":
    cli.run(main)
