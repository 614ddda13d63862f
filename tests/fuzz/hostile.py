"""The whole campaign of hostile files, `make fuzz`: libFuzzer on the C++ readers, changed files on everything else.

    python tests/fuzz/hostile.py [--executions=N] [--seconds=N] [--share=1.0] [--only=NAME,..] [--json=FILE] [--keep]

A table on the terminal, the same as JSON in build/fuzz/report.json. Exit code 7 when anything was found: the files are
in build/fuzz/finds. `--keep` puts what libFuzzer learned into corpus/, minimised.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
BUILD, CORPUS = REPO / "build" / "fuzz", HERE / "corpus"
PACKAGES = "clang-14 libclang-rt-14-dev"
EXECUTIONS, SECONDS = 1_500_000, 150  # of each target: what comes first ends it
LARGEST = 16384  # bytes of an input


@dataclass
class Fuzzed:
    target: str
    executions: int = 0
    per_second: int = 0
    seconds: float = 0.0
    corpus_files: int = 0
    corpus_bytes: int = 0
    coverage: int = 0  # edges
    peak_bytes: int = 0
    finds: list[str] = field(default_factory=list)


def main(argv: list[str]) -> None:
    import kinds
    import seeds

    from qat8 import cli
    from qat8.errors import UsageError

    parser = cli.Parser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.flag("executions", type=cli.count, default=EXECUTIONS, help="of each C++ target, 0: none")
    parser.flag("seconds", type=cli.positive_int, default=SECONDS, help="of each C++ target at most")
    parser.flag("share", type=float, default=1.0, help="of the cases of the kinds of files")
    parser.flag("only", default="", help="these C++ targets and groups of kinds, by comma")
    parser.flag("json", default=str(BUILD / "report.json"), help="where the figures go")
    parser.flag("keep", default=False, help="put the inputs that reach something new into tests/fuzz/corpus")
    args = parser.parse_args(argv)
    only = set(filter(None, args.only.split(",")))
    known = {*seeds.TARGETS, *kinds.MODULES}
    if only - known or not args.share > 0:
        raise UsageError(f"--only={args.only} --share={args.share}", f"some of {', '.join(sorted(known))}; over 0")
    start = time.monotonic()
    fuzzed = _fuzz(args, only) if args.executions else []
    tried: list = []
    _record(args.json, start, fuzzed, tried)
    for report in _try(args.share, only):
        tried.append(report)
        _record(args.json, start, fuzzed, tried)  # after each kind: a campaign that is interrupted has its figures
    _print(fuzzed, tried)
    _verdict(fuzzed, tried, args.json)


def _record(path: str, start: float, fuzzed: list[Fuzzed], tried: list) -> None:
    record = {
        "schema": 1, "machine": platform.machine(), "seconds": round(time.monotonic() - start, 1),
        "executions": sum(f.executions for f in fuzzed), "cases": sum(report.cases for report in tried),
        "cpp": [asdict(f) for f in fuzzed], "files": [report.row() for report in tried],
    }  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(record, indent=1) + "\n")


# C++: libFuzzer, AddressSanitizer, UndefinedBehaviorSanitizer.


def configure(build: Path, *options: str) -> list[str]:
    """Build the targets in `build`; their names.

    Raises:
        MachineError: no compiler, or it failed.
    """
    from qat8.errors import MachineError

    wheel = importlib.util.find_spec("paddle")
    more = [f"-DPADDLE_WHEEL={wheel.submodule_search_locations[0]}"] if wheel else []
    for command in (
        ["cmake", "-S", HERE, "-B", build, *options, *more],
        ["cmake", "--build", build, "--parallel", "2"],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise MachineError(f"the fuzz targets cannot be built: {(done.stderr or done.stdout)[-1500:]}")
    return sorted(p.name.removeprefix("fuzz_") for p in build.glob("fuzz_*") if os.access(p, os.X_OK) and p.is_file())


def unpacked(target: str, directory: Path) -> Path:
    """The kept corpus of a target as files."""
    place = directory / target
    place.mkdir(parents=True, exist_ok=True)
    if (CORPUS / f"{target}.zip").is_file():
        with zipfile.ZipFile(CORPUS / f"{target}.zip") as archive:
            archive.extractall(place)
    return place


def _fuzz(args, only: set[str]) -> list[Fuzzed]:
    from qat8.errors import MachineError

    compiler = next((p for name in ("clang++", "clang++-14") if (p := shutil.which(name))), None)
    if compiler is None:
        raise MachineError("no clang++, which libFuzzer comes with", PACKAGES, f"apt-get install {PACKAGES}")
    import seeds

    targets = [
        t for t in configure(BUILD, "-DLIBFUZZER=ON", f"-DCMAKE_CXX_COMPILER={compiler}") if t in only or not only
    ]
    seeds.write(BUILD / "seeds")
    fuzzed = []
    for target in targets:
        print(f"{target}: at most {args.executions:,} executions or {args.seconds} s ...", flush=True)
        fuzzed.append(_run(target, args.executions, args.seconds))
        if args.keep:
            _keep(target)
    return fuzzed


def _run(target: str, executions: int, seconds: int) -> Fuzzed:
    work = BUILD / "work" / target
    work.mkdir(parents=True, exist_ok=True)
    finds = BUILD / "finds"
    finds.mkdir(exist_ok=True)
    command = [BUILD / f"fuzz_{target}", f"-runs={executions}", f"-max_total_time={seconds}", f"-max_len={LARGEST}",
               "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={finds}/{target}-", "-print_final_stats=1",
               work, unpacked(target, BUILD / "kept"), BUILD / "seeds" / target]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace")
    result = Fuzzed(target, seconds=round(time.monotonic() - start, 1))
    said = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
    result.executions = int(said.get("number_of_executed_units", 0))
    result.per_second = int(said.get("average_exec_per_sec", 0))
    result.peak_bytes = int(said.get("peak_rss_mb", 0)) << 20
    last = re.findall(r"cov: (\d+) ft: \d+ corp: (\d+)/(\d+)(b|Kb|Mb)", done.stderr)
    if last:
        result.coverage, result.corpus_files = int(last[-1][0]), int(last[-1][1])
        result.corpus_bytes = int(last[-1][2]) * {"b": 1, "Kb": 1 << 10, "Mb": 1 << 20}[last[-1][3]]
    if done.returncode:
        telling = [
            line
            for line in done.stderr.splitlines()
            if "ERROR" in line or "runtime error" in line or "unexpected" in line
        ]
        result.finds = telling[:5] or done.stderr.splitlines()[-5:]
    return result


def _keep(target: str) -> None:
    """The smallest set of inputs that reaches all that the work and the kept ones reach."""
    with tempfile.TemporaryDirectory() as name:
        merged = Path(name)
        sources = [BUILD / "work" / target, unpacked(target, BUILD / "kept"), BUILD / "seeds" / target]
        command = [BUILD / f"fuzz_{target}", "-merge=1", f"-max_len={LARGEST}", merged, *sources]
        subprocess.run(list(map(str, command)), capture_output=True, check=True)
        CORPUS.mkdir(exist_ok=True)
        with zipfile.ZipFile(CORPUS / f"{target}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(merged.iterdir()):
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


# Everything else.


def _try(share: float, only: set[str]) -> Iterator:
    import attempts
    import kinds

    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    scratch = Path(tempfile.mkdtemp(prefix="qat8-fuzz-", dir=memory))
    try:
        for module in kinds.MODULES:
            if only and module not in only:
                continue
            for kind in kinds.of(module):
                cases = range(max(1, round(kind.cases * share)))
                print(f"{kind.group}, {kind.name}: {len(cases):,} cases ...", flush=True)
                yield attempts.run(kind, cases, scratch, BUILD / "finds")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _print(fuzzed: list[Fuzzed], tried: list) -> None:
    from rich import box
    from rich.table import Table

    from qat8.console import console

    if fuzzed:
        table = Table(box=box.SIMPLE_HEAD, title="C++ readers under libFuzzer, AddressSanitizer and UBSan")
        for name in ("Target", "Executions", "Per second", "Corpus", "Edges", "Peak MB", "Finds"):
            table.add_column(name, justify="left" if name == "Target" else "right")
        for f in fuzzed:
            corpus = f"{f.corpus_files}, {f.corpus_bytes / 1024:.0f} KB"
            table.add_row(f.target, f"{f.executions:,}", f"{f.per_second:,}", corpus, str(f.coverage),
                          str(f.peak_bytes >> 20), str(len(f.finds)))  # fmt: skip
        console.print(table)
    table = Table(box=box.SIMPLE_HEAD, title="Changed files: exit codes and how often")
    for name in ("Kind", "Cases", "Taken (0)", "Refused", "Slowest s", "Peak MB", "Finds"):
        table.add_column(name, justify="left" if name in ("Kind", "Refused") else "right")
    for report in tried:
        refused = ", ".join(f"{code}: {n}" for code, n in sorted(report.ends.items(), key=str) if code != 0)
        table.add_row(report.kind, f"{report.cases:,}", f"{report.ends[0]:,}", refused, f"{report.slowest_seconds:.1f}",
                      str(report.peak_bytes >> 20), str(len(report.finds)))  # fmt: skip
    console.print(table)


def _verdict(fuzzed: list[Fuzzed], tried: list, where: str) -> None:
    """
    Raises:
        VerificationError: a file did what no file may do.
    """
    from qat8.console import say
    from qat8.errors import VerificationError

    said = [f"{f.target}: {line}" for f in fuzzed for line in f.finds]
    said += [f"{r.kind}, case {find['case']}: {find['find']}" for r in tried for find in r.finds]
    say(f"{sum(f.executions for f in fuzzed):,} executions, {sum(r.cases for r in tried):,} files: {where}")
    if said:
        for line in said[:20]:
            say(f"  {line}")
        raise VerificationError(
            f"{len(said)} finds: {said[0]}", "clear errors alone", f"see {where} and {BUILD / 'finds'}"
        )


if __name__ == "__main__":
    home = tempfile.mkdtemp(prefix="qat8-fuzz-data-")
    os.environ["QAT8_DATA"] = home  # before qat8 reads it: never into the user's data/
    sys.path.insert(0, str(HERE))
    from qat8.cli import run

    try:
        run(main)
    finally:
        shutil.rmtree(home, ignore_errors=True)
