"""The testers' soak: every batch size in turn, nothing kept; and that a leak in a real tester is found."""

import json
import subprocess

import pytest

from qat8.soak import watch

SECONDS = 4.0
# What a leak in Paddle would be: every Run keeps something, and computes all the same.
LEAK = """
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
bool paddle_infer::Predictor::Run() {
  using Real = bool (*)(Predictor*);
  static const Real real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "_ZN12paddle_infer9Predictor3RunEv"));
  std::memset(std::malloc(40000), 1, 40000);
  return real(this);
}
"""


@pytest.fixture
def soak(commands, models, data):
    def command(tester: str, model=None, **flags) -> list[str]:
        given = {"infer_model": model or models / "plain", "infer_data": data["uint8"], "scenario": "soak", **flags}
        return [*commands[tester], *(f"--{name}={value}" for name, value in given.items())]

    return command


def test_a_round_is_every_batch_size_once_and_all_images_keep_their_class(soak, tmp_path):
    out = tmp_path / "soak.json"
    done = subprocess.run([*soak("cpp", duration=0.5, batch_size=9), "--vary_batch", f"--json={out}"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["rounds"] >= 1 and 0 <= found["batches"] - 9 * found["rounds"] < 9
    assert found["images"] >= 45 * found["rounds"] and found["other_class"] == 0
    assert found["pool_images"] == 37 and done.stdout.splitlines()[0].startswith("soak: ")


def test_a_soak_ends_with_the_round_even_when_its_time_is_over(soak, tmp_path):
    out = tmp_path / "soak.json"
    subprocess.run([*soak("cpp", duration=0, batch_size=9, json=out), "--vary_batch"], check=True, capture_output=True)
    assert json.loads(out.read_text())["rounds"] == 1


@pytest.mark.parametrize(
    "flag", ["min_queries=5", "latencies_file=x", "warmup_size=1", "iterations=3", "min_seconds=1"]
)
def test_flags_that_a_soak_has_no_use_for_are_refused(soak, flag):
    done = subprocess.run([*soak("cpp"), f"--{flag}"], capture_output=True, text=True)
    assert done.returncode == 2 and flag.partition("=")[0] in done.stderr and done.stderr.count("\n") == 1


def test_varying_batches_without_a_soak_are_refused(commands, models, data):
    flags = [f"--infer_model={models / 'plain'}", f"--infer_data={data['uint8']}", "--vary_batch"]
    for more in ([], ["--scenario=offline"]):
        done = subprocess.run([*commands["cpp"], *flags, *more], capture_output=True, text=True)
        assert done.returncode == 2 and "--vary_batch without --scenario" in done.stderr


def test_the_memory_of_a_tester_that_changes_batch_sizes_is_flat_and_a_leak_in_it_is_found(soak, preload):
    command = [*soak("cpp", duration=SECONDS, batch_size=16), "--vary_batch"]
    leaking = ["env", *(f"{name}={value}" for name, value in preload(LEAK).items()), *command]
    flat, leak = watch.watch({"flat": command, "leak": leaking}, {"OMP_NUM_THREADS": "1"}, SECONDS, every=0.2)
    assert [g.quantity for g in flat.growth if not g.ok] == [], flat.growth
    assert {g.quantity for g in leak.growth if not g.ok} == {"anonymous", "rss"}
    assert flat.rounds >= 2 and flat.other_class == leak.other_class == 0
