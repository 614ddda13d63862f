"""One container's life against a real engine, in the base image."""

from __future__ import annotations

import os
import re

import pytest

from qat8.containers import engine
from qat8.containers.container import Bind, Container
from qat8.errors import MachineError


@pytest.fixture
def run(client, ours):
    def call(spec):
        pieces = {"out": b"", "err": b""}

        def sink(out, err):
            pieces["out"] += out or b""
            pieces["err"] += err or b""

        with Container(client, spec) as container:
            outcome = container.run(sink)
        return outcome, pieces["out"].decode(), pieces["err"].decode()

    return call


def test_output_of_both_streams_and_the_exit_code_come_back(run, spec):
    outcome, out, err = run(spec("echo one; echo two >&2; echo three; exit 7"))
    assert (outcome.code, out, err) == (7, "one\nthree\n", "two\n")


def test_a_large_output_is_whole(run, spec):
    _, out, _ = run(spec("seq 1 200000"))
    assert out == "".join(f"{i}\n" for i in range(1, 200001))


def test_a_silent_container_outlasts_the_clients_timeout(engine_url, ours, spec):
    with engine.connect(engine_url, timeout=1) as client, Container(client, spec("sleep 3; echo done")) as container:
        pieces = []
        outcome = container.run(lambda out, err: pieces.append(out))
    assert (outcome.code, b"".join(pieces)) == (0, b"done\n")


def test_it_may_touch_nothing(run, spec):
    _, out, _ = run(spec(
        "grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; ls /sys/class/net; id -u; id -g;"
        "touch /etc/x /usr/x 2>&1; touch /tmp/x && echo tmp is writable;"
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null", user="1234:4321", pids=77))  # fmt: skip
    assert re.search(r"^CapEff:\s+0+$", out, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", out, re.MULTILINE)
    lines = out.splitlines()
    assert "eth0" not in lines and "lo" in lines
    assert lines[lines.index("1234") + 1] == "4321"
    assert out.count("Read-only file system") == 2
    assert lines[-2:] == ["tmp is writable", "77"]


def test_the_cpu_set_is_what_the_kernel_enforces(run, spec):
    cpu = max(os.sched_getaffinity(0))
    _, out, _ = run(spec("grep Cpus_allowed_list /proc/self/status", cpus=[cpu], nodes=[0]))
    assert out.split() == ["Cpus_allowed_list:", str(cpu)]


def test_files_belong_to_the_user_and_inputs_cannot_be_written(run, spec, tmp_path):
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    (inputs / "a").write_text("a\n")
    os.chown(outputs, 1234, 4321)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o777 == 0o700 and "pytest" in str(path):
            path.chmod(0o755)
    outcome, _, err = run(spec(f"cp {inputs}/a {outputs}/a; touch {inputs}/b", user="1234:4321",
                               binds=[Bind(inputs), Bind(outputs, writable=True)]))  # fmt: skip
    assert (outputs / "a").read_text() == "a\n"
    assert ((outputs / "a").stat().st_uid, (outputs / "a").stat().st_gid) == (1234, 4321)
    assert outcome.code != 0 and "Read-only file system" in err


def test_running_out_of_memory_is_told(run, spec):
    outcome, _, _ = run(spec("x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}", memory=64 << 20))
    assert outcome.out_of_memory and outcome.code


def test_a_program_that_is_not_there_is_one_error(run, spec):
    with pytest.raises(MachineError, match=r"container of test did not run: .*no-such-program"):
        run(spec("", command=["/no-such-program"]))


def test_an_image_that_is_not_there_is_one_error(run, spec):
    with pytest.raises(MachineError, match=r"no container for test: .*qat8:never"):
        run(spec("", image="qat8:never"))


def test_an_interrupt_stops_the_stage_first_and_then_removes_it(client, ours, spec):
    heard = []

    def sink(out, err):
        heard.append(out)
        if len(heard) == 1:
            assert len(ours()) == 1
            raise KeyboardInterrupt

    script = "trap 'echo stopped here; exit 130' INT; echo started; while :; do sleep 0.1; done"
    with pytest.raises(KeyboardInterrupt), Container(client, spec(script)) as container:
        container.run(sink)
    assert b"".join(filter(None, heard)) == b"started\nstopped here\n"
    assert ours() == []
