"""Every stage killed, and with a full or read-only disk: a small part of the campaign, which `make kill` runs whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cases
import trial
from campaign import Campaign

pytestmark = pytest.mark.integration

QUICK = ("dataset", "ilsvrc2012", "preprocess", "weights")  # without Paddle: a second each
SLOW = tuple(name for name in cases.CASES if name not in QUICK)


@pytest.fixture(scope="module")
def campaign(request, inputs, tmp_path_factory) -> Campaign:
    if request.param == "benchmark":
        request.getfixturevalue("tester")
    return Campaign(cases.CASES[request.param], inputs, tmp_path_factory.mktemp(request.param) / "home", twice=False)


@pytest.mark.parametrize("campaign", QUICK, indirect=True)
def test_a_stage_killed_again_and_again_comes_to_the_same_end_and_leaves_nothing_half(campaign):
    campaign.random_kills(3)
    assert campaign.tally.wrong == []
    assert campaign.tally.tried["group"] + campaign.tally.tried["parent"] == 3
    assert campaign.tally.tried["ends compared"] >= 1


@pytest.mark.parametrize("campaign", SLOW, indirect=True)
def test_a_stage_of_paddle_that_was_killed_comes_to_the_same_end(campaign):
    campaign.random_kills(1)
    assert campaign.tally.wrong == [] and campaign.tally.tried["ends compared"] >= 1


@pytest.mark.parametrize("campaign", QUICK, indirect=True)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_stage_killed_at_a_call_that_changes_the_disk_comes_to_the_same_end(campaign, strace, call):
    campaign.begin(old=True)
    number = {"write": 2, "fsync": 1}[call]
    ended = campaign.home.run(trial.killing(call, number))
    assert ended.code in (-9, 137), ended.err
    campaign.look(ended, old=True, kept=0, where=call)
    campaign.finish(old=True, where=call)
    assert campaign.tally.wrong == []


@pytest.mark.parametrize("campaign", QUICK, indirect=True)
def test_a_full_disk_is_an_error_that_loses_nothing_and_with_room_the_stage_goes_on(campaign, root):
    campaign.full_disks(sizes=2, inodes=2)
    assert campaign.tally.wrong == [] and campaign.tally.tried["disk"] >= 2 and campaign.tally.tried["inodes"] >= 1


@pytest.mark.parametrize("campaign", ["preprocess"], indirect=True)
def test_a_place_that_cannot_be_written_to_is_an_error_and_stays_as_it_is(campaign, root):
    campaign.read_only()
    assert campaign.tally.wrong == [] and campaign.tally.tried["read-only"] == 4


def test_the_campaign_finds_a_stage_that_breaks_its_promises(inputs, tmp_path):
    """An artifact that is damaged, one byte more, and a file that is left over: each must be told."""
    campaign = Campaign(cases.CASES["weights"], inputs, tmp_path / "home", twice=False)
    campaign.begin(old=False)
    done = campaign.home.run()
    assert done.code == 0 and campaign.tally.wrong == []
    weights = campaign.home.path / "weights/MobileNetV1"
    with open(weights / "ORIGIN.md", "a") as file:
        file.write("x")
    (weights.parent / ".MobileNetV1.tmp-x").mkdir()
    (weights.parent / ".MobileNetV1.tmp-x/weights.npz").write_bytes(b"half")
    campaign.look(done, old=False, kept=0, where="here")
    campaign.same_end("here")
    for words in (
        "not whole: weights/MobileNetV1/manifest.json: ORIGIN.md is not what it says",
        "weights/MobileNetV1 is neither the one before nor the new one",
        "the end is not the same: ['weights/.MobileNetV1.tmp-x/weights.npz', 'weights/MobileNetV1/ORIGIN.md']",
    ):
        assert any(words in said for said in campaign.tally.wrong), words
