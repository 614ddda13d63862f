"""Preprocessing by a Dask cluster: two worker processes here give the bytes of one process, and faults are told."""

import subprocess
import sys
import time

import pytest

from qat8.preprocessing import cluster
from qat8.stages import preprocess

COUNT = 37


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler of ours with two worker processes."""
    pytest.importorskip("distributed", reason="the optional packages of requirements-dask.txt are not installed")
    home = tmp_path_factory.mktemp("dask")
    start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard"]
    started = [subprocess.Popen([*start, f"--scheduler-file={home / 's.json'}"], stderr=subprocess.DEVNULL, cwd=home)]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        f"--scheduler-file={home / 's.json'}",
        "--no-dashboard",
    ]
    worker += ["--nworkers=1", "--nthreads=1", "--no-nanny", "--death-timeout=60"]
    started += [subprocess.Popen(worker, stderr=subprocess.DEVNULL, cwd=home) for _ in range(2)]
    from distributed import Client

    deadline = time.monotonic() + 60
    while not (home / "s.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with Client(scheduler_file=str(home / "s.json"), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
    yield address
    for process in started:
        process.kill()
        process.wait(30)


@pytest.fixture
def make(photographs, ends, tmp_path):
    data_dir = photographs(COUNT)

    def run(*flags, code: int = 0):
        output = tmp_path / f"out{len(list(tmp_path.iterdir()))}/val.bin"
        argv = ["--local", f"--data-dir={data_dir}", "--data-dim=16", f"--output-file={output}", *flags]
        done = ends(preprocess.main, *argv)
        assert done.code == code, done.err
        return done.err[0] if code else output.read_bytes()

    run.data_dir = data_dir
    return run


@pytest.mark.parametrize("flags", [(), ("--dtype=uint8",), ("--format=raw",)], ids=["float32", "uint8", "raw"])
def test_two_worker_processes_give_the_bytes_of_one(scheduler, make, flags):
    assert make(f"--scheduler={scheduler}", *flags) == make("--workers=1", *flags)


def test_an_unreadable_image_is_named_as_on_one_machine(scheduler, make):
    (make.data_dir / "val/20.jpg").write_bytes(b"no image")
    error = make(f"--scheduler={scheduler}", code=3)
    assert "val/20.jpg: not a readable image" in error and error.startswith("error: ")


def test_workers_with_another_decoder_are_refused(scheduler, make, monkeypatch):
    """Theirs is compared with what is here; here we pretend to have another."""
    once = cluster.versions
    monkeypatch.setattr(cluster, "_require_same_decoder", lambda *a: _with_other_versions(monkeypatch, once, *a))
    assert "Pillow" in make(f"--scheduler={scheduler}", code=5)


def _with_other_versions(monkeypatch, once, client, address):
    theirs = client.run(once)
    monkeypatch.setattr(client, "run", lambda _: theirs)
    monkeypatch.setattr(cluster, "versions", lambda: ("0", "1.0", "1.0", "1.0"))
    return REQUIRE(client, address)


REQUIRE = cluster._require_same_decoder


def test_no_scheduler_is_one_line(make):
    pytest.importorskip("distributed", reason="the optional packages of requirements-dask.txt are not installed")
    assert "no Dask scheduler" in make("--scheduler=127.0.0.1:9", code=5)


def test_without_dask_the_way_to_get_it_is_told(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "requirements-dask.txt" in make("--scheduler=127.0.0.1:8786", code=2)
