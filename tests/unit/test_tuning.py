"""`inv doctor --fix`, `--apply`, `--restore` on a host of our own below kernel.ROOT: a virtual machine has none."""

import json
import re

import pytest

from qat8 import kernel, tuning
from qat8.stages import doctor

NO_TURBO = f"{kernel.CPUS}/intel_pstate/no_turbo"
GOVERNORS = [f"{kernel.CPUS}/cpu{n}/cpufreq/scaling_governor" for n in (0, 1)]
UNSTEADY = {NO_TURBO: "0", **dict.fromkeys(GOVERNORS, "powersave"), "proc/sys/kernel/numa_balancing": "1"}
STEADY = {NO_TURBO: "1", **dict.fromkeys(GOVERNORS, "performance"), "proc/sys/kernel/numa_balancing": "0"}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """`host()`: the settings as they are now; it starts as servers are delivered."""
    monkeypatch.setattr(kernel, "ROOT", tmp_path / "root")
    monkeypatch.setattr(tuning, "STATE", tmp_path / "state.json")
    for path, text in {**UNSTEADY, tuning.BOOT_ID: "first"}.items():
        (kernel.ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (kernel.ROOT / path).write_text(text + "\n")
    return lambda: {path: kernel.read(path) for path in UNSTEADY}


def test_fix_prints_commands_with_their_reasons_and_changes_nothing(host, ends):
    done = ends(doctor.main, "--fix")
    commands = [line for line in done.out if not line.startswith("#")]
    assert commands == [f"echo {wanted} | sudo tee /{path}" for path, wanted in STEADY.items()]
    assert any(line.startswith("# turbo: ") for line in done.out)
    assert host() == UNSTEADY and not tuning.STATE.exists()


def test_apply_sets_all_and_restore_puts_all_back(host, ends):
    done = ends(doctor.main, "--apply")
    assert done.code == 0 and host() == STEADY
    assert any(re.match(rf"/{NO_TURBO}: 0 -> 1 \(turbo", line) for line in done.out)
    assert "inv doctor --restore" in done.out[-1]
    done = ends(doctor.main, "--restore")
    assert done.code == 0 and host() == UNSTEADY and not tuning.STATE.exists()
    assert ends(doctor.main, "--restore").out == ["nothing to put back"]


def test_the_table_reminds_of_settings_that_are_still_changed(host, ends, monkeypatch):
    monkeypatch.setattr(doctor.environment, "docker_engine", lambda: None)
    assert not any("--restore" in line for line in ends(doctor.main).out)
    tuning.apply()
    assert any("inv doctor --restore" in line for line in ends(doctor.main).out)


def test_applied_twice_restore_still_puts_back_what_was_there_at_first(host):
    tuning.apply()
    (kernel.ROOT / GOVERNORS[0]).write_text("schedutil\n")  # something else has changed it since
    assert [setting.path for setting in tuning.apply()] == [GOVERNORS[0]]
    tuning.restore()
    assert host() == UNSTEADY


def test_a_steady_host_has_nothing_to_change(host, ends):
    tuning.apply()
    tuning.STATE.unlink()
    assert ends(doctor.main, "--apply").out == ["nothing to change"] and not tuning.STATE.exists()
    assert ends(doctor.main, "--fix").out[0].startswith("# nothing")


def test_after_a_restart_there_is_nothing_to_put_back(host, ends):
    tuning.apply()
    (kernel.ROOT / tuning.BOOT_ID).write_text("second\n")
    (kernel.ROOT / NO_TURBO).write_text("1\n")  # set by the new boot's own configuration
    assert ends(doctor.main, "--restore").out == ["nothing to put back"]
    assert kernel.read(NO_TURBO) == "1" and not tuning.STATE.exists()


def test_a_setting_that_cannot_be_written_is_named_and_what_was_changed_can_be_put_back(host, refused, monkeypatch):
    write = tuning.os.open

    def refuse(path, flags, *more):
        if str(path).endswith(GOVERNORS[1]) and flags & tuning.os.O_TRUNC:
            raise PermissionError(13, "Permission denied")
        return write(path, flags, *more)

    monkeypatch.setattr(tuning.os, "open", refuse)
    refused(doctor.main, 5, [f"/{GOVERNORS[1]}: Permission denied", "performance", "as root"], "--apply")
    assert host()[NO_TURBO] == "1"
    monkeypatch.setattr(tuning.os, "open", write)
    tuning.restore()
    assert host() == UNSTEADY


def test_a_setting_that_is_gone_is_an_error_and_no_new_file(host, refused):
    tuning.apply()
    (kernel.ROOT / GOVERNORS[1]).unlink()
    refused(doctor.main, 5, [GOVERNORS[1], "No such file"], "--restore")
    assert not (kernel.ROOT / GOVERNORS[1]).exists() and tuning.STATE.exists()


ELSEWHERE = [json.dumps({"boot": "first", "before": {p: "1"}}) for p in ("etc/x", "../etc/x", "sys/../etc/x", "")]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"boot": "first", "before": 3}', *ELSEWHERE])
def test_a_damaged_record_is_refused_and_kept(host, refused, text):
    tuning.STATE.write_text(text)
    refused(doctor.main, 3, ["state.json is damaged", "by hand"], "--restore")
    assert tuning.STATE.read_text() == text


def test_one_thing_at_a_time(host, refused):
    refused(doctor.main, 2, ["--fix and --apply", "one of them"], "--fix", "--apply")
    assert host() == UNSTEADY


def test_the_record_holds_the_old_values_before_anything_is_written(host, monkeypatch):
    def crash(path, value):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_write", crash)
    with pytest.raises(KeyboardInterrupt):
        tuning.apply()
    assert json.loads(tuning.STATE.read_text())["before"] == UNSTEADY


def test_a_virtual_machine_has_nothing_to_set(host, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "ROOT", tmp_path / "empty")
    assert tuning.changes() == []
