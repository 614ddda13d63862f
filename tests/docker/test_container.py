"""One container's life against a real engine, in the base image."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import socket
from dataclasses import replace

import pytest

from qat8.containers import engine
from qat8.containers.container import Bind, Container, Spec, output
from qat8.errors import DataError, MachineError


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


PROBE = """
import ctypes, errno, json, os, socket
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def refusal(attempt):
    try:
        attempt()
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno))
    return "done"
def call(number, *words):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *words) == -1:
        raise OSError(ctypes.get_errno(), "")
def connect(address):
    with socket.create_connection(address, timeout=3):
        pass
print(json.dumps({
    "status": {name: status[name].strip() for name in status if name.startswith(("Cap", "NoNewPrivs", "Seccomp"))},
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "connect": refusal(lambda: connect(("192.0.2.1", 80))),
    "resolve": refusal(lambda: connect(("example.invalid", 80))),
    "host": refusal(lambda: connect(("127.0.0.1", int(os.environ["HOST_PORT"])))),
    "writes": {path: refusal(lambda: open(path + "/qat8-probe", "w")) for path in
               ("/", "/usr", "/etc", "/root", "/opt/qat8", "/opt/qat8/src", "/var/tmp", "/dev", "/proc/sys/kernel",
                "/sys/fs/cgroup")},
    "sysctl": refusal(lambda: open("/proc/sys/kernel/hostname", "w")),
    "become root": refusal(lambda: os.setuid(0)),
    "chroot": refusal(lambda: os.chroot("/tmp")),
    "mount": refusal(lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None)),
    "unshare": refusal(lambda: call(272, 0x10000000)),
    "keyctl": refusal(lambda: call(250, 0, 0)),
    "device": refusal(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))),
    "raw socket": refusal(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
    "engine": [path for path in ("/var/run/docker.sock", "/run/docker.sock") if os.path.exists(path)],
    "tmp": refusal(lambda: open("/tmp/qat8-probe", "w")),
    "suid in tmp": "nosuid" in next(line for line in open("/proc/mounts") if line.split()[1] == "/tmp"),
}))
"""


@pytest.fixture
def seen(wheel_image, client, ours):
    """What a process sees and gets done in the wheel image, with the rights that a stage has by default."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        made = Spec("qat8:wheel", ["/opt/qat8/.venv/bin/python", "-c", PROBE], "test", "probe",
                    environment={"HOST_PORT": str(port)})  # fmt: skip
        code, out, err = output(client, made)
    assert code == 0, err
    return json.loads(out)


def test_it_is_not_root_has_no_capability_and_cannot_get_one(seen):
    uids, gids, groups = seen["ids"]
    assert 0 not in uids and len(set(uids)) == len(set(gids)) == 1
    if os.geteuid() == 0:
        assert set(uids) == {65532} and set(groups) <= {0}
    else:
        assert set(uids) == {os.geteuid()}
    caps = {name: value for name, value in seen["status"].items() if name.startswith("Cap")}
    assert len(caps) == 5 and {int(value, 16) for value in caps.values()} == {0}, caps
    assert seen["status"]["NoNewPrivs"] == "1" and seen["become root"] == "EPERM"


def test_its_system_calls_are_filtered(seen, client):
    assert any("name=seccomp" in option for option in client.info()["SecurityOptions"])
    assert seen["status"]["Seccomp"] == "2"  # a filter is in force (proc(5))
    refused = {name: seen[name] for name in ("mount", "unshare", "keyctl", "chroot", "device", "raw socket")}
    assert set(refused.values()) <= {"EPERM", "ENOSYS"}, refused


def test_its_files_cannot_be_written_but_for_tmp(seen):
    assert "done" not in seen["writes"].values(), seen["writes"]
    assert seen["writes"]["/"] == seen["writes"]["/opt/qat8/src"] == "EROFS"
    assert seen["sysctl"] in ("EROFS", "EACCES")
    assert seen["tmp"] == "done" and seen["suid in tmp"] and seen["engine"] == []


def test_it_has_no_network_not_even_the_hosts_own(seen):
    assert seen["interfaces"] == ["lo"]
    assert seen["connect"] == "ENETUNREACH" and seen["host"] == "ECONNREFUSED" and seen["resolve"] != "done"


def test_what_was_given_no_limits_has_limits(wheel_image, client, ours, spec):
    total = client.info()["MemTotal"]
    with Container(client, spec("sleep 60")) as container:
        limits = client.api.inspect_container(container.id)["HostConfig"]
    assert total * 0.9 < limits["Memory"] < total and limits["MemorySwap"] == limits["Memory"]
    assert limits["PidsLimit"] == 1024 and limits["CapAdd"] is None and not limits["Privileged"]


def test_no_connection_waits_for_the_garbage_collector(client, ours, spec):
    """The SDK keeps a connection for each of the last 25 URLs, which 9 runs fill; more than that must not stay open."""

    def one(how: str) -> None:
        def sink(out, err):
            if how == "interrupted":
                raise KeyboardInterrupt

        made = spec("trap 'exit 130' INT; echo up; sleep 0.1")
        made = replace(made, command=["/no-such-program"]) if how == "not started" else made
        with contextlib.suppress(KeyboardInterrupt, MachineError), Container(client, made) as container:
            container.run(sink)

    def nine() -> int:
        for how in ("well", "not started", "interrupted") * 3:
            one(how)
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    gc.disable()
    try:
        before = nine()
        assert nine() <= before + 2
    finally:
        gc.enable()


def test_a_fork_bomb_ends_at_its_limit(run, spec):
    """128 processes, where 64 are allowed."""
    script = "for i in $(seq 128); do sleep 5 & done; wait"
    _, _, err = run(spec(script, pids=64))
    assert "Cannot fork" in err or "Resource temporarily unavailable" in err


def test_a_file_out_of_a_container_that_is_no_file_is_refused(client, ours, spec):
    """The other end of an engine far away is not to be trusted."""
    script = "ln -s /etc/shadow /v/link; mkdir /v/folder; truncate -s 300M /v/large; echo {} >/v/good"
    made = spec(script, volumes={"qat8-test": "/v"}, user="0:0")
    try:
        with Container(client, made) as container:
            assert container.run(lambda *_: None).code == 0
            assert container.read("/v/good") == b"{}\n"
            for name, words in (("link", "a link to '/etc/shadow'"), ("folder", "a folder"), ("large", "larger than")):
                with pytest.raises(DataError, match=words):
                    container.read(f"/v/{name}")
    finally:
        client.volumes.get("qat8-test").remove()


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
