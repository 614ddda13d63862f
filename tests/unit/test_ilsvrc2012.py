"""ImageNet's validation set from a server of ours: an archive of the same structure, and every way it can go wrong."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from qat8 import ilsvrc2012, labels
from qat8.datafile import Reader
from qat8.errors import QatError
from qat8.ilsvrc2012 import Archive, classes, download
from qat8.stages import dataset, preprocess

IMAGES = 8


def photograph_bytes(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


CONTENT = {Archive.name(i): photograph_bytes(i) for i in range(1, IMAGES + 1)}


def tar_of(members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`; `server.script` holds what to do about the next requests, one by one, then all is well.

    ("status", 503), ("cut", bytes to send and then break off), ("ignore range", None), ("shift", bytes).
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        what, value = server.script.pop(0) if server.script else ("well", None)
        content, start = server.content, 0
        if what == "status":
            self.send_response(value)
            for name, header in server.headers.items():
                self.send_header(name, header)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if (found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and what != "ignore range":
            start = int(found[1]) + (value if what == "shift" else 0)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if what == "cut":
            body = body[:value]
            self.close_connection = True
        for at in range(0, len(body), 65536):
            self.wfile.write(body[at : at + 65536])
            time.sleep(server.pause)
        self.wfile.flush()


@pytest.fixture
def server():
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # a client that hangs up is what some tests are about
    http.content, http.script, http.ranges, http.headers, http.pause = tar_of(CONTENT.items()), [], [], {}, 0.0
    http.url = f"http://127.0.0.1:{http.server_port}/val.tar"
    thread = threading.Thread(target=partial(http.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    yield http
    http.shutdown()
    http.server_close()


@pytest.fixture
def official(server, monkeypatch, tmp_path):
    """What the server has is the official archive; downloads and data sets go to tmp_path, pauses take no time."""

    def declare(content: bytes, images: int = IMAGES) -> Archive:
        server.content = content
        val = Archive(server.url, "val.tar", len(content), hashlib.md5(content).hexdigest(), images)
        monkeypatch.setattr(ilsvrc2012, "VAL", val)
        return val

    table = {Archive.name(i): (i * 37) % 1000 for i in range(1, 50_001)}
    monkeypatch.setattr(classes, "members", lambda package: {classes.TABLE: json.dumps(table).encode()})
    monkeypatch.setattr(dataset, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(dataset, "ILSVRC2012", tmp_path / "ILSVRC2012")
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    declare(server.content)
    return SimpleNamespace(
        declare=declare, home=tmp_path / "ILSVRC2012", tar=tmp_path / "downloads/val.tar",
        part=tmp_path / "downloads/val.tar.part", work=tmp_path / ".ILSVRC2012.partial",
    )  # fmt: skip


@pytest.fixture
def make(official, ends):
    def run(*flags, code: int = 0):
        done = ends(dataset.main, "--ilsvrc2012", *flags)
        assert done.code == code, (done.out, done.err)
        assert len(done.err) == (code != 0)
        return done.err[0] if code else done.out

    return run


# All is well.


def test_the_archive_is_fetched_verified_unpacked_and_labelled(make, official, server):
    said = make()
    assert said[0] == f"disk: 0.0 GB needed (0.0 GB archive + 0.0 GB images), {said[0].split()[-3]} GB free"
    listed = labels.read(official.home, official.home / "val_list.txt")
    assert [(p.name, p.read_bytes(), c) for p, c in listed] == [
        (name, content, i * 37) for i, (name, content) in enumerate(CONTENT.items(), 1)
    ]
    manifest = json.loads((official.home / "manifest.json").read_text())
    assert manifest["inputs"]["archive"] == ilsvrc2012.VAL.md5 and manifest["images"] == IMAGES
    assert ilsvrc2012.VAL.md5 in (official.home / "ORIGIN.md").read_text()
    assert not official.work.exists() and not official.part.exists()


def test_a_second_time_nothing_is_fetched_or_written(make, server):
    make()
    server.ranges.clear()
    assert make()[-1].startswith("data set is up to date: ") and server.ranges == []


def test_an_archive_of_the_users_is_taken_without_a_server_and_left_alone(make, official, server, tmp_path):
    own = tmp_path / "mine.tar"
    own.write_bytes(server.content)
    make(f"--archive={own}")
    assert server.ranges == [] and own.read_bytes() == server.content and not official.tar.exists()
    assert len(list((official.home / "val").iterdir())) == IMAGES


def test_another_address_serves_as_well(make, server, monkeypatch):
    monkeypatch.setattr(ilsvrc2012, "VAL", replace(ilsvrc2012.VAL, url="http://127.0.0.1:9/none"))
    make(f"--url={server.url}")
    assert server.ranges == [None]


def test_the_script_without_flags_goes_from_nothing_to_the_data_file(official, server, ends, monkeypatch):
    server.script = [("cut", 200_000)]
    monkeypatch.setattr(
        preprocess, "IMAGENET_IMAGES", 5_000
    )  # what must be free: a test machine may have less than 30 GB
    fetch = partial(dataset.fetch_ilsvrc2012, official.home)
    main = partial(preprocess.main, prog="full_ILSVRC2012_val_preprocess.py", fetch=fetch)
    done = ends(main)
    assert done.code == 0, done.err
    assert done.out[0].startswith("disk: 3.0 GB needed (0.0 GB archive + 0.0 GB images + 3.0 GB data file)")
    with Reader(official.home.with_name("ILSVRC2012_val.bin")) as reader:
        assert reader.labels.tolist() == [i * 37 for i in range(1, IMAGES + 1)]
        assert (reader.header.height, reader.header.width) == (224, 224)


# The connection.


def test_a_cut_connection_is_gone_on_with_where_it_was_cut(make, official, server):
    size = len(server.content)
    server.script = [("cut", 100_000), ("cut", 150_000), ("status", 503), ("cut", 0)]
    said = make()
    assert server.ranges == [None, *[f"bytes={n}-" for n in (100_000, 250_000, 250_000, 250_000)]]
    assert official.tar.read_bytes() == server.content
    again = [line for line in said if line.endswith("trying again")]
    assert len(again) == 4 and " after 100,000 bytes; " in again[0] and "HTTP 503" in again[2]
    assert said[1] == f"fetching {server.url}: {size:,} bytes"


def test_a_server_without_ranges_is_read_from_the_start_again(make, official, server):
    server.script = [("cut", 100_000), ("ignore range", None)]
    assert "  this server does not go on in the middle: from the start again" in make()
    assert official.tar.read_bytes() == server.content


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_again(make, server, status):
    server.script = [("status", status)] * 3
    make()
    assert len(server.ranges) == 4


def test_retry_after_is_heeded_within_reason(make, server, monkeypatch):
    waits = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    for seconds in ("7", "999999"):
        server.headers, server.script = {"Retry-After": seconds}, [("status", 503)]
        make()
        (dataset.DOWNLOADS / "val.tar").unlink()
        shutil.rmtree(dataset.ILSVRC2012)
    assert [w for w in waits if w] == [7]  # the server pauses, too, for 0 s


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_status_that_does_not_pass_is_told_at_once_with_the_way_out(make, server, status):
    server.script = [("status", status)]
    assert re.search(rf"HTTP {status} .*--archive=FILE", make(code=3)) and len(server.ranges) == 1


def test_a_server_that_stays_broken_ends_it_and_what_has_come_is_kept(make, official, server):
    server.script = [("cut", 100_000)] + [("status", 503)] * 20
    error = make(code=5)
    assert "HTTP 503" in error and "100,000 bytes are kept" in error
    assert official.part.stat().st_size == 100_000
    server.script = []
    server.ranges.clear()
    make()
    assert server.ranges == ["bytes=100000-"]


def test_no_server_at_all_is_one_line(make, monkeypatch):
    error = make("--url=http://127.0.0.1:9/none", code=5)
    assert "Connection refused" in error and "--archive=FILE" in error


def test_an_answer_for_another_place_is_refused(make, server):
    server.script = [("cut", 100_000), ("shift", 5)]
    assert "bytes from 100005" in make(code=3)


def test_a_file_of_another_size_is_refused_before_it_is_fetched(make, official, server):
    server.content += b"more"
    assert f"{len(server.content):,} bytes; expected {len(server.content) - 4:,}" in make(code=3)
    assert official.part.stat().st_size == 0


def test_a_wrong_checksum_removes_the_file_and_the_next_run_fetches_it_anew(make, official, server):
    good = server.content
    server.content = good[:50_000] + bytes([good[50_000] ^ 1]) + good[50_001:]
    error = make(code=3)
    assert hashlib.md5(server.content).hexdigest() in error and ilsvrc2012.VAL.md5 in error
    assert not official.part.exists() and not official.tar.exists() and not official.home.exists()
    server.content = good
    make()


def test_an_archive_of_the_users_with_another_content_is_refused_and_left(make, server, tmp_path):
    own = tmp_path / "mine.tar"
    own.write_bytes(server.content[:-1] + b"x")
    assert f"{own}: MD5 " in make(f"--archive={own}", code=3) and own.exists()
    own.write_bytes(server.content[:-1])
    assert "bytes; expected" in make(f"--archive={own}", code=3) and own.exists()
    assert "no such file" in make(f"--archive={tmp_path / 'none.tar'}", code=3)


DRIVER = """
import sys
from pathlib import Path
from qat8 import cli, ilsvrc2012
from qat8.stages import dataset
from qat8.ilsvrc2012 import classes
home, url, size, md5 = sys.argv[1:5]
ilsvrc2012.VAL = ilsvrc2012.Archive(url, "val.tar", int(size), md5, 8)
classes.read = lambda archive: [1] * 8
dataset.DOWNLOADS, dataset.ILSVRC2012 = Path(home, "downloads"), Path(home, "ILSVRC2012")
cli.run(dataset.main, ["--ilsvrc2012"])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_was_ended_goes_on_from_its_last_block(official, server, make, tmp_path, how):
    server.content = server.content + bytes(8 << 20)  # behind the end of the archive: tar does not mind
    official.declare(server.content)
    server.pause = 0.02
    val = ilsvrc2012.VAL
    command = [sys.executable, "-c", DRIVER, str(tmp_path), val.url, str(val.size), val.md5]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if official.part.exists() and official.part.stat().st_size:
            break
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130), err
    have = official.part.stat().st_size
    assert 0 < have < val.size
    server.pause, server.ranges[:] = 0.0, []
    make()
    assert server.ranges == [f"bytes={have}-"] and official.tar.stat().st_size == val.size


# Unpacking.


def link(name: str, kind: bytes, to: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


FIRST = Archive.name(1)
HOSTILE = {
    "absolute path": [("/tmp/qat8-evil.JPEG", b"x")],
    "path that leads out": [(f"../{FIRST}", b"x")],
    "path below": [(f"val/{FIRST}", b"x")],
    "symlink": [(link(FIRST, tarfile.SYMTYPE), b"")],
    "hard link": [(link(FIRST, tarfile.LNKTYPE), b"")],
    "device": [(link(FIRST, tarfile.CHRTYPE), b"")],
    "fifo": [(link(FIRST, tarfile.FIFOTYPE), b"")],
    "directory": [(link(FIRST, tarfile.DIRTYPE), b"")],
    "another name": [("README", b"x")],
    "number 0": [(Archive.name(0), b"x")],
    "number 9": [(Archive.name(9), b"x")],
    "twice": [(FIRST, b"x"), (FIRST, b"y")],
    "too few": [(FIRST, b"x")],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_image_of_the_set_is_refused_and_nothing_is_written_elsewhere(make, official, tmp_path, kind):
    official.declare(tar_of(HOSTILE[kind]))
    before = {p for p in tmp_path.iterdir()}
    assert "val.tar: " in make(code=3)
    assert not official.home.exists() and not os.path.exists("/tmp/qat8-evil.JPEG")
    written = {p.name for p in official.work.rglob("*") if not p.is_dir()}
    assert written <= {FIRST} and not any(p.is_symlink() for p in official.work.rglob("*"))
    assert {p for p in tmp_path.iterdir()} - before <= {
        official.work,
        official.tar.parent,
        tmp_path / ".ILSVRC2012.lock",
    }


@pytest.mark.parametrize("content", [b"no tar file" * 100, bytes(10_240)], ids=["text", "zeros"])
def test_what_is_no_tar_file_is_refused(make, official, content):
    official.declare(content)
    assert "val.tar: " in make(code=3)


def test_an_archive_that_ends_within_an_image_is_refused(make, official, server):
    official.declare(server.content[: len(server.content) // 2])
    assert "val.tar: " in make(code=3) and not official.home.exists()


def test_a_link_in_the_working_directory_is_replaced_and_not_written_through(make, official, tmp_path):
    (official.work / "val").mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (official.work / "val" / FIRST).symlink_to(victim)
    make()
    assert victim.read_bytes() == b"mine" and (official.home / "val" / FIRST).read_bytes() == CONTENT[FIRST]


def test_unpacking_that_was_ended_writes_only_what_is_not_there_whole(make, official, server, monkeypatch):
    val = official.work / "val"
    val.mkdir(parents=True)
    (val / Archive.name(1)).write_bytes(CONTENT[Archive.name(1)])
    (val / Archive.name(2)).write_bytes(bytes(len(CONTENT[Archive.name(2)])))  # its size alone reached the disk
    (val / Archive.name(3)).write_bytes(CONTENT[Archive.name(3)][:100])
    kept = (val / Archive.name(1)).stat().st_ino
    make()
    assert (official.home / "val" / Archive.name(1)).stat().st_ino == kept
    assert {p.name: p.read_bytes() for p in (official.home / "val").iterdir()} == CONTENT


@pytest.mark.parametrize("damage", ["gone", "shorter", "list"])
def test_a_data_set_that_was_changed_is_mended_from_the_archive(make, official, server, damage):
    make()
    image = official.home / "val" / Archive.name(5)
    if damage == "gone":
        image.unlink()
    elif damage == "shorter":
        image.write_bytes(b"x")
    else:
        (official.home / "val_list.txt").write_text("val/a.jpg 1\n")
    server.ranges.clear()
    make()
    assert image.read_bytes() == CONTENT[image.name] and server.ranges == []
    assert len(labels.read(official.home, official.home / "val_list.txt")) == IMAGES


def test_a_directory_that_is_none_of_ours_is_not_touched(make, official):
    official.home.mkdir()
    (official.home / "mine.txt").write_text("mine")
    assert "no artifact of qat8" in make(code=3)
    assert (official.home / "mine.txt").read_text() == "mine"


# Room.


def test_too_little_room_is_told_in_parts_before_anything_is_fetched(official, server, refused, monkeypatch):
    class Disk:
        free = 10_000_000_000

    monkeypatch.setattr(dataset.shutil, "disk_usage", lambda path: Disk)
    monkeypatch.setattr(ilsvrc2012, "VAL", replace(ilsvrc2012.VAL, size=6_744_924_160))
    words = ["10.0 GB free", "13.5 GB: 6.7 GB archive + 6.7 GB images", "QAT8_DATA"]
    refused(dataset.main, 5, words, "--ilsvrc2012")
    assert server.ranges == []


# The real thing.


def test_the_official_archives_size_and_md5_are_those_that_are_published():
    val = Archive(*vars(ilsvrc2012.VAL).values())
    assert (val.size, val.md5, val.images) == (6_744_924_160, "29b22e2961454d5413ddabcf34fc5622", 50_000)
    assert 0 <= val.size - 512 * 2 * val.images - 6.6e9 < 0.1e9  # what is left for the images, a header block each


@pytest.mark.integration
def test_the_labels_are_those_of_images_that_are_known():
    """The first ten by the organisers' ground truth: sea snake, alp, Shetland sheepdog, soup bowl, cradle, ..."""
    try:
        found = classes.read(ilsvrc2012.VAL)
    except QatError as e:
        pytest.skip(f"the package with the labels could not be fetched: {e}")
    assert found[:10] == [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
    assert np.bincount(found).tolist() == [50] * 1000
