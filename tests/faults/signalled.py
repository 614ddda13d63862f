"""Ctrl-C, kill and a closed terminal at random moments: one line, the right exit code, nothing left, and it goes on.

    python tests/faults/signalled.py [--stages=train,benchmark] [--times=20] [--output=data/signals]

Every program gets each of SIGINT, SIGTERM and SIGHUP so many times, half of them alone and half with its whole process
group. Before its first handler is there (about a tenth of a second) Python's own interpreter ends it, and there is
nothing to test yet.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cases
import trial
from campaign import Campaign
from cases import CASES, REPO, STAGE, Case
from rich.console import Console
from rich.table import Table
from trial import Ended

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE = 0.5  # seconds within which what belongs to a run must be gone, too
BUILD_TIMES = 3  # compiling takes long


class Program(Case):
    """`argv` is the whole command, not a stage's."""

    def command(self, home: Path, inputs: Path) -> list[str]:
        return [word.format(home=home, inputs=inputs) for word in self.argv]


def tester(name: str, *command: str, model: str = "int8") -> Case:
    flags = [f"--infer_model={{inputs}}/models/Tiny/{model}", "--infer_data={inputs}/val.bin", "--batch_size=4",
             "--min_seconds=0.5", "--json={home}/run.json"]  # fmt: skip
    return Program(name, [*command, *flags], ["run.json"], cases.nothing, lambda home: None)


def measuring(name: str, *flags: str) -> Case:
    common = ["benchmark", "--models=Tiny", "--data-file={home}/val.bin", "--threads=1", "--batch-sizes=4",
              "--repetitions=1", "--min-seconds=0.05", "--warmup=0", "--max-top1-drop=100"]  # fmt: skip
    return Case(name, [*common, *flags], ["results/RUN.json"], cases.earlier_results, lambda home: None)


def working(name: str, target: str, *argv: str) -> Case:
    return Case(name, list(argv), [target], cases.earlier_results, lambda home: None)


BUILD = REPO / "tester/build"
MORE = {case.name: case for case in (
    tester("sample_tester", str(BUILD / "sample_tester")),
    tester("engine_tester", str(BUILD / "engine_tester"), model="engine/int8.qat8"),
    tester("sample_tester.py", sys.executable, "-W", "ignore", str(REPO / "tester/sample_tester.py")),
    measuring("benchmark-python", "--testers=python"),
    measuring("benchmark-engine", "--testers=cpp,engine"),
    measuring("benchmark-instances", "--testers=cpp", "--instances=2", "--duration=0.3"),
    Case("train-nproc", [*CASES["train"].argv, "--nproc=2"], CASES["train"].targets, cases.nothing, lambda home: None),
    Case("train-loader", [*CASES["train"].argv, "--set=loader.workers=1"], CASES["train"].targets, cases.nothing,
         lambda home: None),
    working("profile", "profile", "profile", "--model=Tiny", "--data-file={home}/val.bin", "--batch-size=4",
            "--iterations=2", "--output-dir={home}/profile"),
    working("sensitivity", "sensitivity", "sensitivity", "--model=Tiny", "--data-file={home}/val.bin",
            "--output-dir={home}/sensitivity"),
    working("soak", "soak", "soak", "--model=Tiny", "--data-file={home}/val.bin", "--batch-sizes=1-4",
            "--minutes=0.04", "--every=0.1", "--output-dir={home}/soak"),
    Program("inv", [str(Path(sys.executable).with_name("inv")), "report", "--results={inputs}/results.json",
                    "--output-dir={home}/report"], ["report"], cases.nothing, lambda home: None),
    Case("build-tester", ["build_tester", "--build-dir={home}/build"], ["build/sample_tester"], cases.nothing,
         lambda home: None),
)}  # fmt: skip
ALL = CASES | MORE


class Signals(Campaign):
    """As the campaign of the kills, with other things that must hold after each disturbance."""

    def _undisturbed(self, times: int):
        if self.case.name in CASES:
            return super()._undisturbed(times)
        self.home.fresh()
        done = self.home.run()  # what is measured is never the same twice: here the files' names must be
        assert done.code == 0, done.err
        self.tally.seconds = done.at
        end = self.home.state()
        assert all(cases.published(self.case, end).values()), f"a target is not there: {sorted(end)}"
        return {}, end

    def same_end(self, where: str) -> None:
        if self.case.name in CASES:
            super().same_end(where)
        elif missing := {name for name in self.end if not name.startswith("build/")} - self.home.state().keys():
            self._wrong(where, f"the end is not the same: {sorted(missing)}")

    def signals(self, times: int, numbers: tuple[signal.Signals, ...] = SIGNALS) -> None:
        """Run after run in the same home, each ended, until one ends by itself; then from the beginning again."""
        for number in numbers:
            self.home.fresh()
            while self.tally.tried[number.name] < times:
                ended = self._ended(number, group=self.random.random() < 0.5)
                if ended.code == 0 and not ended.sent:
                    self._finished(ended.run, 0)
                    self.home.fresh()
                    continue
                self.tally.tried[number.name] += 1
                self._require_well(ended, number)
            self.finish(old=False)

    def _ended(self, number: signal.Signals, group: bool) -> Sent:
        mark, start = uuid.uuid4().hex, time.monotonic()
        process = self.home.start(mark=mark)
        while process.poll() is None and not catches(process.pid):
            time.sleep(0.002)
        sent = False
        try:
            process.wait(self.random.uniform(0, self.tally.seconds))
        except subprocess.TimeoutExpired:
            sent = True
            os.killpg(process.pid, number) if group else process.send_signal(number)
        try:
            out, err = process.communicate(timeout=trial.LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            self._wrong(f"{number.name} after {time.monotonic() - start:.1f} s", "hangs")
        at = time.monotonic() - start
        return Sent(Ended(process.returncode, out, err, at, trial.survivors(mark, AT_ONCE)), sent, group)

    def _require_well(self, ended: Sent, number: signal.Signals) -> None:
        run = ended.run
        where = f"{number.name} {'to the group' if ended.group else 'alone'}, ended after {run.at:.2f} s"
        if run.code not in (0, 128 + number):  # 0: it came when all was done
            self._wrong(where, f"exit code {run.code}: {run.err[-600:]}")
        lines = run.err.splitlines()
        if run.code and (len(lines) != 1 or not lines[0].startswith("error: ")):
            self._wrong(where, f"said: {run.err[-900:]}")
        for survivor in run.survivors:
            self._wrong(where, f"lives on: {survivor}")
        left = [p.name for p in self.home.path.rglob("*") if ".tmp" in p.name or p.parent.name == "tmp"]
        if left:
            self._wrong(where, f"left: {left}")
        for said in cases.broken(self.home.path):
            self._wrong(where, f"not whole: {said}")


class Sent:
    """A run, whether a signal was sent to it at all, and whether to its group."""

    def __init__(self, run: Ended, sent: bool, group: bool) -> None:
        self.run, self.code, self.sent, self.group = run, run.code, sent, group


def catches(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM by now."""
    try:
        caught = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return False
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def make_inputs(directory: Path) -> None:
    cases.make_inputs(directory)
    export = [sys.executable, str(STAGE), "export", "--model=Tiny"]
    done = subprocess.run(export, env={**os.environ, "QAT8_DATA": str(directory)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="signalled.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--stages", default=",".join(ALL), help="by comma (default: all)")
    parser.add_argument("--times", type=int, default=20, help="of each signal, per stage (%(default)s)")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--output", default=str(REPO / "data/signals"), help="directory (%(default)s)")
    args = parser.parse_args(argv)
    for number in SIGNALS:  # what a shell's background or nohup ignores, the programs would ignore, too
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="qat8-faults-") as directory:
        inputs = Path(directory) / "inputs"
        make_inputs(inputs)
        for name in args.stages.split(","):
            campaign = Signals(ALL[name], inputs, Path(directory) / "home", args.seed)
            campaign.signals(min(args.times, BUILD_TIMES) if name == "build-tester" else args.times)
            (output / f"{name}.json").write_text(json.dumps({**vars(campaign.tally), "seed": args.seed}) + "\n")
            for said in campaign.tally.wrong:
                print(f"WRONG {said}", flush=True)
            print(f"{name}: {dict(campaign.tally.tried)}, {len(campaign.tally.wrong)} wrong", flush=True)
    return table(output)


def table(output: Path) -> int:
    """Print all that was counted; 1 when anything was wrong."""
    shown, total, wrong = Table("Program", *(s.name for s in SIGNALS), "Wrong", title="Ended runs"), Counter(), 0
    for file in sorted(output.glob("*.json")):
        record = json.loads(file.read_text())
        tried, wrong = Counter(record["tried"]), wrong + len(record["wrong"])
        shown.add_row(record["stage"], *(str(tried[s.name]) for s in SIGNALS), str(len(record["wrong"])))
        total.update(tried)
    shown.add_row("all", *(str(total[s.name]) for s in SIGNALS), str(wrong))
    Console(width=100).print(shown)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
