"""A preprocessing run that was ended in any way is gone on with, and the file is the same to the last byte."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from qat8 import artifacts, imaging
from qat8.preprocessing import listing, partial, work
from qat8.stages import preprocess

COUNT = 3 * listing.CHUNK + 5
SLOW = """
import sys, time
from qat8 import cli, imaging
from qat8.stages import preprocess
once = imaging.preprocess
def slowly(path, spec):
    time.sleep(0.02)
    return once(path, spec)
imaging.preprocess = slowly
cli.run(preprocess.main)
"""


@pytest.fixture
def files(photographs, tmp_path):
    class Files:
        data_dir = photographs(COUNT)
        output = tmp_path / "out/val.bin"
        flags = ("--local", f"--data-dir={data_dir}", "--data-dim=16")
        partial, journal = output.with_name(".val.bin.partial"), output.with_name(".val.bin.journal")

        def lines(self) -> int:
            return self.journal.read_text().count("\n") - 1 if self.journal.exists() else 0

        def expected(self, ends, *flags) -> bytes:
            other = tmp_path / "expected/val.bin"
            assert ends(preprocess.main, *self.flags, *flags, "--workers=1", f"--output-file={other}").code == 0
            return other.read_bytes()

    return Files()


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that are decoded from now on."""
    names, once = [], imaging.preprocess
    monkeypatch.setattr(imaging, "preprocess", lambda path, spec: names.append(path.name) or once(path, spec))
    return names


def start_and_kill(files, how: int, workers: int, *flags) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-c",
        SLOW,
        *files.flags,
        *flags,
        f"--workers={workers}",
        f"--output-file={files.output}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while files.lines() < 1 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.parametrize("flags", [(), ("--dtype=uint8",), ("--format=raw",)], ids=["float32", "uint8", "raw"])
@pytest.mark.parametrize("workers", [1, 2])
def test_after_kill_9_only_the_unfinished_chunks_are_done(files, ends, decoded, workers, flags):
    assert start_and_kill(files, signal.SIGKILL, workers, *flags).returncode == -signal.SIGKILL
    done = files.lines()
    assert 1 <= done < 4 and not files.output.exists()
    again = ends(preprocess.main, *files.flags, *flags, "--workers=1", f"--output-file={files.output}")
    assert again.code == 0, again.err
    assert again.out[0] == f"going on: {done * 16} of {COUNT} images were preprocessed before"
    assert len(decoded) == COUNT - done * 16
    assert files.output.read_bytes() == files.expected(ends, *flags)
    assert not files.partial.exists() and not files.journal.exists()


def test_ctrl_c_keeps_what_is_done_says_so_and_leaves_no_worker(files):
    ended = start_and_kill(files, signal.SIGINT, 2)
    assert ended.returncode == 130, ended.stderr
    assert "images are done and kept; the same command goes on" in ended.stdout
    assert files.lines() >= 1 and files.partial.exists()


def test_killed_workers_parent_takes_them_along(files):
    """Each worker holds the partial file's directory as its own process; none may write after the lock is free."""
    start_and_kill(files, signal.SIGKILL, 2)
    time.sleep(0.3)
    alive = [p for p in os.listdir("/proc") if p.isdigit() and str(files.output) in _command_line(p)]
    assert alive == []


def _command_line(process: str) -> str:
    try:
        with open(f"/proc/{process}/cmdline") as f:
            return f.read()
    except OSError:
        return ""


def test_the_files_room_is_taken_before_the_first_image(files):
    start_and_kill(files, signal.SIGKILL, 1)
    status = files.partial.stat()
    assert status.st_blocks * 512 >= status.st_size > 0


def test_no_room_for_the_file_is_an_error_and_a_file_system_that_cannot_reserve_is_none(tmp_path, monkeypatch):
    with open(tmp_path / "file", "wb") as file:
        partial.allocate(file.fileno(), 10_000)
        assert os.stat(tmp_path / "file").st_blocks * 512 >= 10_000
        with pytest.raises(OSError, match=r"File too large|No space"):
            partial.allocate(file.fileno(), 2**62)
        answers = iter([errno.EINTR, errno.EOPNOTSUPP])
        monkeypatch.setattr(
            partial, "_LIBC", SimpleNamespace(fallocate=lambda *_: ctypes.set_errno(next(answers)) or -1)
        )
        partial.allocate(file.fileno(), 10_000)
    assert next(answers, None) is None


@pytest.fixture
def half(files, ends):
    """The state after an unreadable image in the third chunk stopped the run; the image is whole again."""
    path = files.data_dir / "val/40.jpg"
    whole = path.read_bytes()
    path.write_bytes(b"broken")
    flags = (*files.flags, "--workers=1", f"--output-file={files.output}")
    stopped = ends(preprocess.main, *flags)
    assert stopped.code == 3 and "40.jpg: not a readable image" in stopped.err[0]
    assert stopped.out[-1] == f"32 of {COUNT} images are done and kept; the same command goes on"
    path.write_bytes(whole)
    return flags


def test_after_a_broken_image_is_mended_what_was_done_stays_done(half, files, ends, decoded):
    assert ends(preprocess.main, *half).code == 0
    assert len(decoded) == COUNT - 32
    assert files.output.read_bytes() == files.expected(ends)


def test_an_image_that_changed_in_a_finished_chunk_is_done_again(half, files, ends, decoded, photograph):
    photograph(files.data_dir / "val/3.jpg", 50, 50, seed=99)
    assert ends(preprocess.main, *half).code == 0
    assert len(decoded) == COUNT - 16 and decoded[:16] == [f"{i}.jpg" for i in range(16)]
    assert files.output.read_bytes() == files.expected(ends)


def test_other_settings_start_anew(half, files, ends, decoded):
    assert ends(preprocess.main, *half, "--normalisation=imagenet").code == 0
    assert len(decoded) == COUNT


def test_images_that_a_power_cut_lost_are_done_again(half, files, ends, decoded):
    with open(files.partial, "r+b") as f:  # no `synced` line covers them: their checksums decide
        f.seek(4096 + 20 * 3 * 16 * 16 * 4)
        f.write(bytes(100))
    assert ends(preprocess.main, *half).code == 0
    assert len(decoded) == COUNT - 16
    assert files.output.read_bytes() == files.expected(ends)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_journal_line_that_was_being_written_does_not_count(half, files, ends, decoded, cut):
    files.journal.write_bytes(files.journal.read_bytes()[:-cut])
    assert ends(preprocess.main, *half).code == 0
    assert len(decoded) == COUNT - 16
    assert files.output.read_bytes() == files.expected(ends)


@pytest.mark.parametrize("text", [b"", b"no journal\n", b"\xff\xfe", b'{"identity": "another", "chunk": 16}\n'])
def test_a_journal_that_is_none_of_ours_starts_anew(half, files, ends, decoded, text):
    files.journal.write_bytes(text)
    assert ends(preprocess.main, *half).code == 0
    assert len(decoded) == COUNT


def test_hostile_journal_lines_are_not_believed(half, files, ends, decoded):
    with open(files.journal, "a") as f:
        f.write("99 aaaaaaaaaaaaaaaa 1\n3 aaaaaaaaaaaaaaaa 1,2\n2 aaaaaaaaaaaaaaaa " + ",".join("1" * 16) + "\n")
    assert ends(preprocess.main, *half).code == 0
    assert files.output.read_bytes() == files.expected(ends)


@pytest.mark.parametrize(
    "line",
    [
        "synced x", "synced", "synced ", "synced 99999999999999999999", "synced -5", "-1 0123456789abcdef 1",
        "0 0123456789abcdef " + ",".join(["-1"] * 16), "0 0123456789abcdef " + ",".join(["9" * 10] * 16),
        "0 " + "f" * 40 + " 1",
        "0 0123456789abcdef " + "9" * 5000, "\0" * 100,
    ],
)  # fmt: skip
def test_a_journal_line_that_nobody_wrote_ends_what_is_believed(half, files, ends, decoded, line):
    with open(files.journal, "a") as journal:
        journal.write(f"{line}\nsynced 1\n")
    assert ends(preprocess.main, *files.flags, "--workers=1", f"--output-file={files.output}").code == 0
    assert files.output.read_bytes() == files.expected(ends)


def test_a_run_that_was_killed_before_the_file_had_its_name_decodes_nothing_again(files, ends, decoded, monkeypatch):
    def killed(self, output):
        raise KeyboardInterrupt

    flags = (*files.flags, "--workers=1", f"--output-file={files.output}")
    with monkeypatch.context() as context:
        context.setattr(partial.Partial, "publish", killed)
        assert ends(preprocess.main, *flags).code == 130
    decoded.clear()
    assert ends(preprocess.main, *flags).code == 0
    assert decoded == [] and files.output.read_bytes() == files.expected(ends)


def test_a_journal_that_outlived_its_file_is_cleared(files, ends, monkeypatch):
    flags, replace = (*files.flags, f"--output-file={files.output}"), os.replace

    def killed_after(a, b):
        replace(a, b)
        if b == files.output:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(os, "replace", killed_after)
        assert ends(preprocess.main, *flags).code == 130
    assert files.output.exists() and files.journal.exists()
    assert "up to date" in ends(preprocess.main, *flags).out[-1]
    assert not files.journal.exists()


def test_synced_chunks_are_not_read_again(files, ends, monkeypatch, half):
    with open(files.journal, "a") as f:
        f.write("synced 2\n")
    monkeypatch.setattr(partial.Partial, "_crcs_hold", lambda *_: pytest.fail("read again"))
    assert ends(preprocess.main, *half).code == 0


def test_the_journal_says_what_has_reached_the_disk(files, ends, monkeypatch):
    monkeypatch.setattr(partial, "SYNC_SECONDS", 0.0)
    # Four chunks are soon written; a slow disk would not have answered by then.
    monkeypatch.setattr(partial.Future, "done", lambda self: self.result() is None)
    written, once = [], partial.Partial._write
    monkeypatch.setattr(partial.Partial, "_write", lambda self, line: written.append(line) or once(self, line))
    assert ends(preprocess.main, *files.flags, "--workers=1", f"--output-file={files.output}").code == 0
    kinds = ["synced" if line.startswith("synced") else "chunk" for line in written[1:]]
    assert kinds.count("chunk") == 4 and "synced" in kinds
    for n, line in enumerate(written[1:]):
        if line.startswith("synced"):
            assert int(line.split()[1]) <= kinds[:n].count("chunk")


def test_too_little_room_is_an_error_before_anything_is_decoded(files, refused, decoded, monkeypatch):
    class Disk:
        free = 1000

    monkeypatch.setattr(preprocess.shutil, "disk_usage", lambda path: Disk)
    size = 4096 + COUNT * (3 * 16 * 16 * 4 + 12)
    words = ["1,000 bytes free", f"{size:,} for the data file", "--dtype=uint8"]
    refused(preprocess.main, 5, words, *files.flags, f"--output-file={files.output}")
    assert decoded == [] and not files.partial.exists()


def test_a_list_that_is_changed_meanwhile_is_an_error(files, ends, monkeypatch):
    once = work.preprocess

    def change(chunk, target):
        file = files.data_dir / "val_list.txt"
        file.write_text(file.read_text().replace(" 1\n", " 2\n"))
        return once(chunk, target)

    monkeypatch.setattr(work, "preprocess", change)
    done = ends(preprocess.main, *files.flags, "--workers=1", f"--output-file={files.output}")
    assert done.code == 3 and "val_list.txt was changed meanwhile" in done.err[0]
    assert not files.output.exists()


def test_a_second_run_at_the_same_time_is_refused(files, refused):
    with artifacts.exclusive(files.output):
        refused(preprocess.main, 8, ["another run is writing"], *files.flags, f"--output-file={files.output}")


# The list.


def test_names_with_spaces_unicode_and_line_separators_are_images_like_others(files, ends, photograph):
    names = ["mit Leerzeichen.jpg", "猫.jpg", "a\u2028b.jpg"]
    for name in names:
        photograph(files.data_dir / "val" / name)
    (files.data_dir / "val_list.txt").write_text("".join(f"val/{name} {i}\n" for i, name in enumerate(names)))
    done = ends(preprocess.main, *files.flags, f"--output-file={files.output}")
    assert done.code == 0 and "3 images" in done.out[-1]


def test_a_fifo_or_a_directory_is_no_image_and_does_not_hang(files, ends):
    os.mkfifo(files.data_dir / "val/fifo.jpg")
    (files.data_dir / "val_list.txt").write_text("val/fifo.jpg 1\n")
    done = ends(preprocess.main, *files.flags, f"--output-file={files.output}")
    assert done.code == 3 and "fifo.jpg: not a regular file" in done.err[0]
