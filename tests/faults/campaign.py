"""Disturb a stage again and again, and hold what it leaves against what it must be.

After every kill: nothing that is published is damaged, and in each artifact's place lies the one before or the new one,
whole. After the next run that ends by itself: the same files with the same bytes as without a kill, and nothing else.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cases
import trial
from cases import Case, State
from small_disk import mounted, remount, used
from trial import BUSY, Ended, Home

from qat8.console import Bar

KILLED = (-9, 137)


@dataclass
class Tally:
    """What was tried on a stage, and what was wrong; `wrong` stays empty when the promises hold."""

    stage: str
    seconds: float = 0.0  # of a run that nothing disturbs
    tried: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Campaign:
    """The disturbances of one stage, in `path`, which is emptied; `states` holds its two beginnings by name."""

    def __init__(self, case: Case, inputs: Path, path: Path, seed: int = 8, twice: bool = True) -> None:
        self.case, self.home, self.random = case, Home(case, inputs, path), random.Random(f"{seed} {case.name}")
        self.tally = Tally(case.name)
        self._saved = path.with_name(f"{path.name}-wrong")
        self.old, self.end = self._undisturbed(2 if twice else 1)

    def _undisturbed(self, times: int) -> tuple[State, State]:
        """The end that every disturbed run must come to, always the same; an older artifact is kept as a beginning."""
        ends = []
        for _ in range(times):
            self.home.fresh()
            done, self._writes = self.home.watched()
            assert done.code == 0, done.err
            ends.append(self.home.state())
        self.tally.seconds = done.at
        first, last = ends[0], ends[-1]
        assert first == last, [name for name in first | last if first.get(name) != last.get(name)]
        assert all(cases.published(self.case, first).values()), "a target is not there"
        self.case.spoil(self.home.path)
        self.home.keep()
        return self.home.state(), first

    def begin(self, old: bool) -> None:
        self.home.back() if old else self.home.fresh()

    # Kills at random moments.

    def random_kills(self, count: int) -> None:
        """Run after run in the same home, each killed, until one ends by itself; then from a beginning again.

        Four of five moments lie between the first change of the disk and the end, for most of a run changes nothing.
        """
        longest = self.tally.seconds
        old = False
        self.begin(old)
        bar = Bar(f"{self.case.name}: kills", count)
        while bar.done < count:
            parent, written = self.random.random() < 0.5, self.random.random() < 0.8
            kept = self.case.kept(self.home.path)
            ended = self.home.killed(self.random.uniform(0, self._writes if written else longest), written, parent)
            if ended.code in KILLED:
                self.tally.tried["parent" if parent else "group"] += 1
                bar.advance()
                self.look(ended, old, kept)
                if self.random.random() < 0.9:
                    continue
                self.finish(old)  # what cannot be gone on with, as a benchmark, would hardly ever end else
            else:
                self._finished(ended, kept)
            old = not old if self.random.random() < 0.7 else False
            self.begin(old)
        self.finish(old)

    # Kills at each system call that changes the disk.

    def kills_at_calls(self, most: int) -> None:
        """`most`: calls at most; of a kind with more of them an even part."""
        points = self._points(most)
        bar = Bar(f"{self.case.name}: calls", len(points))
        for n, (call, number) in enumerate(points):
            bar.advance()
            old = n % 2 == 1
            self.begin(old)
            ended = self.home.run(trial.killing(call, number))
            if ended.code == 0:  # from an older artifact fewer calls are made
                self.tally.tried["call not reached"] += 1
                self.same_end(f"{call} {number} not reached")
                continue
            self.tally.tried["call"] += 1
            if ended.code not in KILLED:  # a child of the stage was killed: a failure that it tells
                self._require_told(ended, f"child killed at {call} {number}", codes=(5, 6))
            self.look(ended, old, 0, f"{call} {number}")
            self.finish(old, f"{call} {number}")

    def _points(self, most: int) -> list[tuple[str, int]]:
        self.home.fresh()
        log = self.home.path.with_name(f"{self.home.path.name}.strace")
        ended, counts = trial.calls(self.home, log)
        log.unlink()
        assert ended.code == 0, ended.err
        share = {call: min(count, 6) for call, count in counts.items()}  # the rare ones all; of the others an even part
        while sum(share.values()) < most and any(share[c] < counts[c] for c in counts):
            for call in counts:
                share[call] = min(counts[call], share[call] + 1)
        points = []
        for call, count in sorted(counts.items()):
            n = share[call]
            points += [(call, 1 + round(i * (count - 1) / max(n - 1, 1))) for i in range(n)]
        points = sorted(set(points))
        return [points[i * len(points) // most] for i in range(most)] if len(points) > most else points

    # A clock that is wrong, and files whose times are.

    def odd_times(self) -> None:
        """Killed in one century, gone on with in another, ended now; then every file's time is long ago or to come."""
        for n, (then, later) in enumerate((("2001-01-01", "2090-01-01"), ("2090-01-01", "2001-01-01"))):
            old = bool(n)
            self.begin(old)
            call = self.random.choice(["fsync", "write"])
            ended = self.home.run([*trial.killing(call, self.random.randint(1, 4)), "faketime", then])
            self.look(ended, old, 0, f"clock of {then}")
            ended = self.home.run(["faketime", later])
            self.tally.tried["clock"] += 2
            self._finished(ended, 0, f"clock of {later}")
            for years in (-40, 60):
                for path in self.home.path.rglob("*"):
                    moment = path.lstat().st_mtime + years * 365 * 86400
                    os.utime(path, (moment, moment), follow_symlinks=False)
                self.finish(old, f"files of {years} years ago" if years < 0 else f"files of {years} years to come")
                self.tally.tried["clock"] += 1

    # A place that cannot be written to.

    def read_only(self) -> None:
        """Mounted read-only, and without the permission: told, nothing changed, and gone on with when it can be."""
        no_rights = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override"]
        for old in (False, True):
            for how in ("read-only mount", "no permission"):
                with mounted(self.home.path):
                    self.begin(old)
                    before = self.home.state()
                    if how == "no permission":
                        self._permit(0o555)
                        ended = self.home.run(no_rights)
                        self._permit(0o755)
                    else:
                        remount(self.home.path, "ro")
                        ended = self.home.run()
                        remount(self.home.path, "rw")
                    self.tally.tried["read-only"] += 1
                    self._require_told(ended, how, codes=(5,))
                    if self.home.state() != before:
                        self._wrong(how, "something changed")
                    self.finish(old, how)

    def _permit(self, mode: int) -> None:
        for path in [self.home.path, *self.home.path.rglob("*")]:
            if path.is_dir() and not path.is_symlink() and path.name != "tmp":
                path.chmod(mode)

    # A full disk: `home` is the mount point of a tmpfs.

    def full_disks(self, sizes: int, inodes: int) -> None:
        """The disk ends at `sizes` places between nothing and enough, then at `inodes` numbers of files."""
        for old in (False, True):
            with mounted(self.home.path):
                self.begin(old)
                bytes_before, files_before = used(self.home.path)
                peak_bytes, peak_files = self._peak()
            bar = Bar(f"{self.case.name}: disks", sizes // 2 + inodes // 2)
            pages = max((peak_bytes - bytes_before) // 4096, 1)
            places = sorted({round(i * pages / max(sizes // 2 - 1, 1)) for i in range(sizes // 2)})
            for place in places:
                bar.advance()
                self._full(old, "disk", f"size={max(bytes_before + 4096 * place, 4096)}", f"{place} of {pages} pages")
            files = peak_files - files_before
            for place in sorted({round(i * files / max(inodes // 2 - 1, 1)) for i in range(inodes // 2)}):
                bar.advance()
                self._full(old, "inodes", f"nr_inodes={files_before + place}", f"{place} of {files} files")

    def _peak(self) -> tuple[int, int]:
        """Bytes and inodes that a run takes at most."""
        process = self.home.start()
        seen = [used(self.home.path)]
        while process.poll() is None:
            seen.append(used(self.home.path))
            try:
                process.wait(0.003)
            except subprocess.TimeoutExpired:
                continue
        process.communicate()
        return max(b for b, _ in seen), max(i for _, i in seen)

    def _full(self, old: bool, kind: str, limit: str, where: str) -> None:
        with mounted(self.home.path):
            self.begin(old)
            remount(self.home.path, limit)
            ended = self.home.run()
            self.tally.tried[kind if ended.code else f"{kind} enough"] += 1
            if ended.code:
                self._require_told(ended, f"{kind}, {where}", codes=(5,))
            self.look(ended, old, 0, f"{kind}, {where}")
            remount(self.home.path, "size=1g,nr_inodes=100000")
            self.finish(old, f"{kind}, {where}")

    # What must hold.

    def look(self, ended: Ended, old: bool, kept: int, where: str = "") -> None:
        """After a disturbance."""
        where = where or f"kill {sum(self.tally.tried.values())} after {ended.at:.2f} s"
        if ended.code is None:
            self._wrong(where, "hangs")
        for survivor in ended.survivors:
            self._wrong(where, f"lives on: {survivor}")
        for said in cases.broken(self.home.path):
            self._wrong(where, f"not whole: {said}")
        seen, before = self.home.state(), self.old if old else {}
        allowed = [cases.published(self.case, s) for s in (before, self.end)]
        for target, found in cases.published(self.case, seen).items():
            gone_again = self.case.vanishes and not found
            if not gone_again and found not in [a[target] for a in allowed] and "RUN" not in target:
                self._wrong(where, f"{target} is neither the one before nor the new one: {sorted(found)}")
        self._work_is_kept(ended, kept, where)

    def _work_is_kept(self, ended: Ended, kept: int, where: str) -> None:
        """The run said that it goes on with at least what was on the disk before it, and its start destroyed none."""
        said = re.search(self.case.told, ended.out) if self.case.told else None
        if said and int(said[1]) < kept:
            self._wrong(where, f"goes on with {said[1]}, {kept} were done")

    def finish(self, old: bool, where: str = "") -> None:
        """A run that nobody disturbs any more comes to the same end."""
        kept = self.case.kept(self.home.path)
        self._finished(self.home.run(), kept, where)

    def _finished(self, ended: Ended, kept: int, where: str = "") -> None:
        where = where or f"after kill {sum(self.tally.tried.values())}"
        if ended.code == BUSY:
            self._wrong(where, f"the lock of a killed run holds: {ended.err}")
        elif ended.code != 0:
            self._wrong(where, f"ends with {ended.code}: {ended.err[-600:]}")
        else:
            if kept and self.case.told and not re.search(f"{self.case.told}| up to date", ended.out):
                self._wrong(where, f"{kept} were done, and nothing is said of going on: {ended.out[:300]}")
            self._work_is_kept(ended, kept, where)
            self.same_end(where)
        self.tally.tried["ends compared"] += 1

    def same_end(self, where: str) -> None:
        seen = self.home.state()
        if other := [name for name in seen | self.end if seen.get(name) != self.end.get(name)]:
            self._wrong(where, f"the end is not the same: {other}")
        for said in cases.broken(self.home.path):
            self._wrong(where, f"at the end not whole: {said}")

    def _require_told(self, ended: Ended, where: str, codes: tuple[int, ...]) -> None:
        """A failure has its exit code and one line that says error, not a traceback."""
        lines = ended.err.splitlines()
        if ended.code not in codes or not lines or not lines[-1].startswith("error: ") or "Traceback" in ended.err:
            self._wrong(where, f"exit code {ended.code}, said: {ended.err[-600:]}")

    def _wrong(self, where: str, what: str) -> None:
        if not self.tally.wrong:  # the first state is kept to be looked at
            shutil.rmtree(self._saved, ignore_errors=True)
            shutil.copytree(self.home.path, self._saved, symlinks=True)
        self.tally.wrong.append(f"{self.case.name}, {where}: {what}")
