"""A repetition that something else disturbed is measured again: because of its conditions, never of its speed."""

import pytest

from qat8 import tester_run
from qat8.benchmarking import disturbance, measure
from qat8.benchmarking.plan import Cell
from qat8.tester_run import Conditions

QUIET = Conditions(seconds=1, cpu_seconds=1, other_load=0.01, elsewhere_load=1, steal=0.0, throttled_periods=0,
                   throttled_ms=0, thermal_events=None, swapped_pages=0,
                   major_faults=0, frequency_mhz=None)  # fmt: skip
CELL = Cell("M", "cpp", 1, 50)


@pytest.fixture
def measured(monkeypatch):
    """`measured(*conditions)`: what is kept when the runs go so one after the other, and how many were not used."""

    def run(*conditions: dict, spare: int = 9):
        left = [tester_run.TesterRun.model_construct(conditions=QUIET.model_copy(update=c), images_per_second=i)
                for i, c in enumerate(conditions)]  # fmt: skip
        monkeypatch.setattr(measure, "_run", lambda *_: left.pop(0))
        kept = measure._undisturbed(None, CELL, "int8", counter := measure._Spare(spare))
        return kept.images_per_second, kept.conditions.discarded, len(left), counter.left

    return run


def test_a_quiet_repetition_is_kept_as_it_is(measured):
    assert measured({}, {}) == (0, 0, 1, 9)


@pytest.mark.parametrize(
    "disturbed", [{"other_load": 0.06}, {"steal": 0.03}, {"throttled_periods": 1}, {"swapped_pages": 5}]
)
def test_a_disturbed_one_is_measured_again_until_it_is_quiet_and_the_number_is_told(measured, disturbed, capsys):
    assert measured(disturbed, disturbed, {}, {}) == (2, 2, 1, 7)
    (said,) = {line.strip() for line in capsys.readouterr().out.splitlines()}
    assert said == f"{CELL}, int8: {disturbance.of(QUIET.model_copy(update=disturbed))[0]}; measured again"


def test_what_is_disturbed_again_and_again_is_kept_for_the_checks_to_judge(measured):
    assert measured(*[{"steal": 0.5}] * 9) == (measure.MOST_AGAIN, measure.MOST_AGAIN, 9 - measure.MOST_AGAIN - 1, 6)
    assert measured({"steal": 0.5}, {}, spare=0) == (0, 0, 1, 0)


def test_load_on_other_cpus_and_what_the_machine_does_not_tell_disturb_nothing():
    nothing = dict.fromkeys(["other_load", "steal", "throttled_periods", "thermal_events", "swapped_pages"])
    assert disturbance.of(QUIET.model_copy(update=nothing | {"elsewhere_load": 1.0})) == []
