"""Hostile archives, made here: none of them writes, links, grows or takes memory as it likes."""

import bz2
import gzip
import io
import lzma
import os
import resource
import stat
import struct
import tarfile
import zipfile

import pytest

from qat8 import archives
from qat8.archives import Limits
from qat8.errors import DataError

FEW = Limits(files=10, bytes=1000)


def entry(name, kind=tarfile.REGTYPE, to="", mode=0o644, content=b"x"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, to, mode
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(content if info.size else b"")


def tar(*entries) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in entries:
            archive.addfile(info, content)
    return buffer.getvalue()


def zipped(*entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path):
    def write(content: bytes):
        path = tmp_path / "archive"
        path.write_bytes(content)
        return path

    return write


OUT = {
    "an absolute name": "/etc/qat8-evil",
    "a name that climbs": "top/../../qat8-evil",
    "a name that climbs at once": "../qat8-evil",
    "a name of Windows": "top\\..\\..\\qat8-evil",
}


@pytest.mark.parametrize("name", OUT.values(), ids=OUT)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_leads_out_is_refused(file, kind, name):
    content = tar(entry(name)) if kind == "tar" else zipped((name, 0o644, b"x"))
    with pytest.raises(DataError, match="is a name that leads out"):
        archives.members(file(content))


LINKS = {
    "symbolic link": (tarfile.SYMTYPE, "a link to '/etc/passwd'"),
    "hard link": (tarfile.LNKTYPE, "a link to '/etc/passwd'"),
    "character device": (tarfile.CHRTYPE, "a device or a pipe"),
    "block device": (tarfile.BLKTYPE, "a device or a pipe"),
    "pipe": (tarfile.FIFOTYPE, "a device or a pipe"),
}


@pytest.mark.parametrize("kind, words", LINKS.values(), ids=LINKS)
def test_links_and_devices_in_a_tar_archive_are_refused(file, kind, words):
    with pytest.raises(DataError, match=words):
        archives.members(file(tar(entry("a"), entry("b", kind, "/etc/passwd"))))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_archive_are_refused(file, kind):
    with pytest.raises(DataError, match="'b' is a link or a device"):
        archives.members(file(zipped(("a", 0o644, b"x"), ("b", kind | 0o777, b"/etc/passwd"))))


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_program_that_would_run_as_its_owner_is_refused(file, mode):
    with pytest.raises(DataError, match="runs as its owner"):
        archives.members(file(tar(entry("a", mode=mode))))


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(file, kind):
    content = tar(entry("a"), entry("a")) if kind == "tar" else zipped(("a", 0, b"x"), ("a", 0, b"y"))
    with pytest.raises(DataError, match="'a' is a name that comes twice"):
        archives.members(file(content))


BOMBS = {
    "zip, one large": zipped(("a", 0o644, bytes(5000))),
    "zip, many": zipped(*((str(i), 0o644, b"") for i in range(11))),
    "tar, one large": tar(entry("a", content=bytes(5000))),
    "tar, many": tar(*(entry(str(i)) for i in range(11))),
    "tar, folders": tar(*(entry(str(i), tarfile.DIRTYPE) for i in range(11))),
    "gzip": gzip.compress(tar(entry("a", content=bytes(5000)))),
    "bzip2": bz2.compress(tar(entry("a", content=bytes(5000)))),
    "xz": lzma.compress(tar(entry("a", content=bytes(5000)))),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_more_than_the_limit_is_refused(file, content):
    with pytest.raises(DataError, match="unpacks to more than it may"):
        archives.members(file(content), FEW)


def header(size: int) -> bytes:
    """A PAX header that announces `size` bytes: tarfile reads such a header in one piece."""
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.PAX_FORMAT)


def test_a_header_of_gigabytes_takes_no_memory(file):
    """1 GB of zeros in 1 MB of gzip, all of it one header."""
    path = file(gzip.compress(header(1 << 30) + bytes(1 << 20), 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="unpacks to more than it may"):
        archives.members(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KB


def test_a_zip_entry_that_holds_more_than_it_announces_is_refused(file):
    content = zipped(("a", 0o644, b"y" * 5000))
    at = content.index(b"PK\x01\x02")
    lying = content[: at + 24] + struct.pack("<I", 10) + content[at + 28 :]  # of the directory, which zipfile believes
    with pytest.raises(DataError, match="CRC"):
        archives.members(file(lying), FEW)


@pytest.mark.parametrize("content", [b"", b"no archive" * 100, tar(entry("a", content=b"x" * 600))[:700],
                                     gzip.compress(tar(entry("a")))[:-20]],
                         ids=["empty", "text", "tar that ends early", "gzip that ends early"])  # fmt: skip
def test_what_is_no_whole_archive_is_one_error(file, content):
    with pytest.raises(DataError, match="a whole zip or tar archive"):
        archives.members(file(content))


def test_an_encrypted_zip_archive_is_one_error(file):
    content = bytearray(zipped(("a", 0o644, b"x")))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="encrypted"):
        archives.members(file(bytes(content)))


@pytest.mark.parametrize("wrap", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_good_archive_is_read_whole(file, wrap):
    content = tar(
        entry("top", tarfile.DIRTYPE), entry("top/a", content=b"one"), entry("top/b", content=b"x" * 3_000_000)
    )
    assert archives.members(file(wrap(content))) == {"top/a": b"one", "top/b": b"x" * 3_000_000}


# What an engine gives for a path of a container.


@pytest.mark.parametrize(
    "content, words",
    [
        (tar(), "nothing; expected one regular file"),
        (tar(entry("a", tarfile.SYMTYPE, "/etc/shadow")), "a link to '/etc/shadow'"),
        (tar(entry("a", tarfile.DIRTYPE)), "a folder"),
        (tar(entry("a"), entry("b")), "unpacks to more"),
        (tar(entry("a", content=bytes(5000))), "unpacks to more"),
        (tar(entry("../a")), "a name that leads out"),
        (b"x" * 2000, "a tar archive with one file"),
    ],
)
def test_another_thing_than_a_file_out_of_a_container_is_refused(content, words):
    with pytest.raises(DataError, match=words):
        archives.only_file(io.BytesIO(content), "/r.json of the container", Limits(1, 1000))


def test_a_file_out_of_a_container_is_its_content():
    assert archives.only_file(io.BytesIO(tar(entry("r.json", content=b"{}"))), "r") == b"{}"


# Tarballs that `tar` unpacks in a build.


def link(name, to):
    return entry(name, tarfile.SYMTYPE, to)


TREES = {
    "absolute link": ([link("top/a", "/etc/passwd")], "leads out"),
    "link that climbs out": ([link("top/a", "../../etc/passwd")], "leads out"),
    "link out of the top folder, which tar strips": ([link("top/a", "../x")], "leads out"),
    "link that climbs in its middle": ([link("top/d/a", "b/../../..")], "leads out"),
    "empty link": ([link("top/a", "")], "leads out"),
    "file below a link": ([link("top/a", "b"), entry("top/a/x")], "below the link 'top/a'"),
    "link below a link": ([link("top/p/q/l", "../.."), link("top/p/q/l/m", "../x")], "below the link 'top/p/q/l'"),
    "hard link to elsewhere": ([entry("top/a", tarfile.LNKTYPE, "/etc/passwd")], "a hard link"),
    "device": ([entry("top/a", tarfile.CHRTYPE)], "a device"),
    "setuid": ([entry("top/a", mode=0o4755)], "runs as its owner"),
    "two folders": ([entry("top/a"), entry("other/a")], "2 folders at its top"),
    "absolute name": ([entry("/top/a")], "leads out"),
    "name that climbs": ([entry("top/../../a")], "leads out"),
}


@pytest.mark.parametrize("entries, words", TREES.values(), ids=TREES)
def test_a_tarball_that_would_unpack_elsewhere_is_refused(file, entries, words):
    with pytest.raises(DataError, match=words):
        archives.require_source_tree(file(tar(*entries)))


def test_a_tarball_of_a_checkout_with_links_of_its_own_is_taken(file):
    archives.require_source_tree(file(gzip.compress(tar(
        entry("top", tarfile.DIRTYPE), entry("top/d/a"), link("top/b", "d/a"), link("top/d/c", "../b"),
        entry("top/e", tarfile.LNKTYPE, "top/d/a"), entry("top/run", mode=0o755)))))  # fmt: skip


def test_a_tarball_that_is_too_large_is_refused(file):
    with pytest.raises(DataError, match="unpacks to more"):
        archives.require_source_tree(file(gzip.compress(tar(entry("top/a", content=bytes(5000))))), FEW)


def test_nothing_was_written_anywhere(tmp_path):
    assert not os.path.exists("/etc/qat8-evil") and list(tmp_path.iterdir()) == []
