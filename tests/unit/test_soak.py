"""What a soak judges: made-up curves, and real processes that leak on purpose."""

import sys
from pathlib import Path

import numpy as np
import pytest

from qat8.errors import StageError, UsageError, VerificationError
from qat8.older_python import zip_strict
from qat8.soak import judge, plot, watch
from qat8.soak.record import Process, Sample, Soak
from qat8.soak.sampling import sample
from qat8.stages import soak

MIB = 2**20
STAND_IN = Path(__file__).resolve().parents[1] / "data/stand_in.py"


def samples(anonymous, fds=9, threads=2) -> list[Sample]:
    """One every 5 s."""
    fds, threads = np.broadcast_to(fds, len(anonymous)), np.broadcast_to(threads, len(anonymous))
    return [Sample(seconds=5.0 * i, anonymous=int(a), rss=int(a) + 50 * MIB, pss=None, fds=int(f), threads=int(t))
            for i, (a, f, t) in enumerate(zip_strict(anonymous, fds, threads))]  # fmt: skip


def grew(*args, warm=100.0, **kwargs) -> set[str]:
    return {g.quantity for g in judge.judge(samples(*args, **kwargs), warm) if not g.ok}


NOISE = np.random.default_rng(1).normal(0, 0.3 * MIB, 360)
STEPS = np.arange(360)


def test_a_curve_that_rises_while_it_is_warmed_up_and_stays_is_flat():
    assert grew(200 * MIB + NOISE + np.minimum(STEPS, 20) * 5 * MIB) == set()


def test_two_mib_in_half_an_hour_are_found_in_noise_of_a_third_of_one():
    assert grew(200 * MIB + NOISE + STEPS / 360 * 2.5 * MIB) == {"anonymous", "rss"}


def test_one_step_in_the_middle_is_found_although_both_halves_are_flat():
    assert grew(200 * MIB + NOISE + np.where(STEPS > 180, 3 * MIB, 0)) == {"anonymous", "rss"}


def test_one_wild_sample_is_no_leak():
    wild = 200 * MIB + NOISE
    wild[300] += 500 * MIB
    assert grew(wild) == set()


def test_memory_that_is_given_back_is_no_leak():
    assert grew(400 * MIB + NOISE - STEPS / 360 * 100 * MIB) == set()


def test_files_and_threads_that_pile_up_are_found_one_by_one():
    flat = np.full(360, 200 * MIB)
    assert grew(flat, fds=9 + STEPS // 100) == {"fds"}
    assert grew(flat, threads=2 + STEPS // 320) == set()  # one, so late that most of the last third has not seen it
    assert grew(flat, threads=2 + STEPS // 150) == {"threads"}


def test_too_few_samples_give_no_verdict():
    assert judge.judge(samples(np.full(8, MIB)), 0) == []


# Real processes.


def watched(what: str, seconds: float = 1.5) -> Process:
    command = [sys.executable, str(STAND_IN), str(seconds), what]
    (found,) = watch.watch({what: command}, {}, seconds, every=0.1)
    return found


@pytest.mark.parametrize(
    ("what", "grown"),
    [("nothing", set()), ("memory", {"anonymous", "rss"}), ("files", {"fds"}), ("threads", {"threads"})],
)
def test_a_program_that_leaks_is_found_by_what_it_leaks(what, grown):
    found = watched(what)
    bad = {g.quantity for g in found.growth if not g.ok}
    assert bad >= grown and (grown or not bad)
    assert what in ("threads", "memory") or bad == grown  # a thread's stack is memory, too
    assert found.batches > 20 and found.warm_seconds >= 0.2 * 1.5


def test_a_program_that_ends_badly_ends_the_soak_and_the_others():
    commands = {w: [sys.executable, str(STAND_IN), "20" if w == "nothing" else "2", w] for w in ("nothing", "death")}
    with pytest.raises(StageError, match="it broke"):
        watch.watch(commands, {}, 20, every=0.1)
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(STAND_IN).encode() in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_soak_that_was_too_short_to_judge_is_no_success():
    with pytest.raises(VerificationError, match="more --minutes"):
        watched("nothing", seconds=0.5)


def test_a_process_that_is_gone_has_no_sample():
    assert sample(2**22 + 1, 0.0) is None


# The command line and the picture.


@pytest.mark.parametrize("text", ["0", "1-", "2-64", "x", "", "1-0"])
def test_a_batch_size_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="batch-sizes"):
        soak._sizes(text)


def test_a_range_of_batch_sizes_is_one_process_that_changes_them():
    assert soak._sizes("1-64") == ["--batch_size=64", "--vary_batch"]
    assert soak._sizes("50") == ["--batch_size=50"]


def made(**more) -> Soak:
    curve = samples(200 * MIB + NOISE + STEPS / 360 * 5 * MIB)
    process = Process(name="cpp, batch 50", command=["t"], warm_seconds=100, rounds=9, batches=9, images=450,
                      samples=curve, growth=judge.judge(curve, 100), **{"other_class": 0} | more)  # fmt: skip
    return Soak(run_id="1", created="2026", command=["inv", "soak"], seconds=1800, every_seconds=5,
                cpu="Made up", versions={}, git_commit=None, model="M", model_sha256="0", data="val.bin",
                processes=[process])  # fmt: skip


def test_what_grew_is_named_with_its_figures():
    assert made().growing[0].startswith("cpp, batch 50: anonymous grew by ") and "limit 1,0" in made().growing[0]


def test_classes_that_change_more_than_rounding_does_are_named():
    assert made().changing == []
    assert made(other_class=10).changing == ["cpp, batch 50: 10 of 450 images got another class than the first time"]


def test_the_picture_names_every_process_and_its_growth():
    found = plot.pictures(made())
    assert found["soak.png"].startswith(b"\x89PNG")
    assert "cpp, batch 50: +" in found["soak.svg"].decode() and "Made up" in found["soak.svg"].decode()
