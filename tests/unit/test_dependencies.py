"""Locks, licences and advisories: the tools are the real ones, the advisory service is a stand-in of ours."""

import datetime
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qat8.dependencies import advisories, licences, locks, policy
from qat8.errors import DataError, MachineError, UsageError
from qat8.stages import audit
from qat8.stages import licences as licences_stage
from qat8.stages import lock as lock_stage

REPO = Path(__file__).resolve().parents[2]
RULES = policy.load().licences

# Locks.


def test_every_lock_of_the_project_is_known_here():
    assert {lock.file for lock in locks.ALL} == {path.name for path in REPO.glob("requirements*.txt")}


@pytest.mark.parametrize("lock", locks.ALL, ids=lambda lock: lock.file)
def test_every_package_of_a_lock_is_pinned_and_hashed(lock):
    assert len(locks.pins(lock)) > 3 and locks.without_hash(lock) == []


def test_a_package_without_a_hash_is_found(tmp_path):
    (tmp_path / "requirements.txt").write_text("a==1 \\\n    --hash=sha256:00\n    # via b\nb[x]==2\n")
    assert locks.without_hash(locks.RUNTIME, tmp_path) == ["b[x]==2"]
    assert locks.versions(locks.RUNTIME, tmp_path) == {"a": "1", "b": "2"}


MARKED = """# made by a test
both==1 \\
    --hash=sha256:00
    # via old
old==1.9 ; python_full_version < '3.10' \\
    --hash=sha256:01
old[x]==2.0 ; python_full_version == '3.10.*' \\
    --hash=sha256:02
    # via both
old==2.1 ; python_full_version == '3.11.*' \\
    --hash=sha256:03
new==1; python_version >= "3.10" \\
    --hash=sha256:04
"""


def test_a_package_may_be_pinned_in_a_version_for_each_python(tmp_path):
    (tmp_path / "requirements.txt").write_text(MARKED)
    assert locks.pins(locks.RUNTIME, tmp_path) == [
        locks.Pin("both", "1", locks.PYTHONS), locks.Pin("old", "1.9", ("3.9",)), locks.Pin("old", "2.0", ("3.10",)),
        locks.Pin("old", "2.1", ("3.11",)), locks.Pin("new", "1", ("3.10", "3.11"))]  # fmt: skip
    assert locks.versions(locks.RUNTIME, tmp_path) == {"both": "1", "old": "1.9, 2.0, 2.1", "new": "1"}
    assert locks.without_hash(locks.RUNTIME, tmp_path) == []


@pytest.mark.parametrize(
    "python, hashes", [("3.9", ["00", "01"]), ("3.10", ["00", "02", "04"]), ("3.11", ["00", "03", "04"])]
)
def test_the_lock_of_one_python_has_no_markers(tmp_path, python, hashes):
    (tmp_path / "requirements.txt").write_text(MARKED)
    text = locks.text_for(locks.RUNTIME, python, tmp_path)
    assert re.findall(r"sha256:(\d+)", text) == hashes and "python" not in text
    assert all(line.endswith("\\") for line in text.splitlines() if "==" in line)


@pytest.mark.parametrize("lock", locks.ALL, ids=lambda lock: lock.file)
@pytest.mark.parametrize("python", locks.PYTHONS)
def test_for_each_python_a_lock_has_one_version_of_a_package(lock, python):
    names = [pin.name for pin in locks.pins(lock) if python in pin.pythons]
    assert len(names) == len(set(names)) and bool(names) == (python in lock.pythons)


@pytest.mark.parametrize("lock", [lock for lock in locks.ALL if lock is not locks.PEERS], ids=lambda lock: lock.file)
def test_no_lock_has_another_version_than_the_run_time_one(lock):
    """They are installed into one environment."""
    for python in lock.pythons:
        of_run_time = {pin.name: pin.version for pin in locks.pins(locks.RUNTIME) if python in pin.pythons}
        ours = {pin.name: pin.version for pin in locks.pins(lock) if python in pin.pythons}
        assert {n: v for n, v in ours.items() if of_run_time.get(n, v) != v} == {}


INSTALL = re.compile(r"pip['\",\s]+(?:install|download)\b")
# What these install was built beside them from a commit that was checked, or is the checkout itself.
OWN = ("--editable .", "/out/wheels/*.whl", "/work/PaddleSlim")


def installs() -> list[tuple[str, str]]:
    """(file, command) of every place that runs pip, with the lines that it goes on in."""
    tracked = subprocess.run(["git", "-C", REPO, "ls-files", "-z", "src", "docker", "docs", "tester", ".ci", "Makefile",
                              "tasks.py", "README.md"], capture_output=True, text=True, check=True)  # fmt: skip
    found = []
    for name in filter(None, tracked.stdout.split("\0")):
        lines = (REPO / name).read_text(errors="replace").splitlines() if (REPO / name).is_file() else []
        for n, line in enumerate(lines):
            if INSTALL.search(line):
                found.append((name, " ".join(lines[n : n + 3])))
    return found


def test_every_install_checks_hashes():
    found = installs()
    assert {"src/setup.sh", "docker/Dockerfile.wheel", "docker/Dockerfile.source", "src/qat8/stages/build_peers.py",
            "src/qat8/stages/build_image.py", "src/qat8/packages.py"} <= {name for name, _ in found}  # fmt: skip
    unchecked = [(name, text) for name, text in found if "--require-hashes" not in text]
    left = [(name, text) for name, text in unchecked if not any(own in text for own in OWN)]
    # TensorBoard, which is not ours, and what a message of the tester advises.
    assert [name for name, _ in left] == ["docs/training.md", "tester/predictor.cc"], left


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Locks of a made-up package in two versions on a shelf, which alone uv sees."""
    shelf, tree = tmp_path / "shelf", tmp_path / "tree"
    shelf.mkdir()
    tree.mkdir()
    for version in ("1.0", "1.1"):
        source = tmp_path / version
        source.mkdir()
        (source / "pyproject.toml").write_text(
            f'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            f'[project]\nname = "qat8-made-up"\nversion = "{version}"\n[tool.setuptools]\npy-modules = []\n'
        )
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            f"--wheel-dir={shelf}",
        ]
        subprocess.run([*command, source], check=True)
    for lock in locks.ALL:
        (tree / f"{lock.name}.in").write_text("qat8-made-up\n" if lock is locks.RUNTIME else "-c requirements.txt\n")
        (tree / lock.file).write_text("")
    (tree / "requirements-overrides.in").write_text("")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(shelf))
    (tree / "requirements.in").write_text("qat8-made-up==1.0\n")
    locks.renew([locks.RUNTIME], False, [], directory=tree)
    (tree / "requirements.in").write_text("qat8-made-up\n")
    return tree


def test_a_lock_is_renewed_by_the_real_uv_and_only_an_upgrade_moves_what_is_in_it(checkout):
    assert locks.versions(locks.RUNTIME, checkout) == {"qat8-made-up": "1.0"}
    assert locks.without_hash(locks.RUNTIME, checkout) == []
    locks.renew([locks.RUNTIME], False, [], directory=checkout)
    assert locks.versions(locks.RUNTIME, checkout) == {"qat8-made-up": "1.0"}
    locks.renew([locks.RUNTIME], False, ["QAT8_made.up"], directory=checkout)
    assert locks.versions(locks.RUNTIME, checkout) == {"qat8-made-up": "1.1"}


def test_one_lock_serves_every_python_and_says_no_more_than_that(checkout):
    wanted = 'qat8-made-up==1.0; python_version < "3.10"\nqat8-made-up; python_version >= "3.10"\n'
    (checkout / "requirements.in").write_text(wanted)
    locks.renew([locks.RUNTIME], True, [], directory=checkout)
    lines = [line for line in (checkout / "requirements.txt").read_text().splitlines() if "==" in line]
    assert lines == ["qat8-made-up==1.0 ; python_full_version < '3.10' \\",
                     "qat8-made-up==1.1 ; python_full_version >= '3.10' \\"]  # fmt: skip
    (checkout / "requirements.in").write_text("qat8-made-up\n")
    locks.renew([locks.RUNTIME], True, [], directory=checkout)
    assert "\nqat8-made-up==1.1 \\\n" in (checkout / "requirements.txt").read_text()


def test_when_one_lock_cannot_be_made_none_has_changed(checkout):
    (checkout / "requirements-dev.in").write_text("-c requirements.txt\nqat8-nowhere\n")
    before = (checkout / "requirements.txt").read_bytes()
    with pytest.raises(MachineError, match=r"requirements-dev\.in: .*qat8-nowhere"):
        locks.renew([locks.RUNTIME, locks.DEVELOPMENT], True, [], directory=checkout)
    assert (checkout / "requirements.txt").read_bytes() == before


def test_a_package_that_no_lock_has_is_refused():
    with pytest.raises(UsageError, match="--package qat8-nowhere"):
        locks.renew([locks.RUNTIME], False, ["qat8-nowhere"])


def test_what_moved_is_told_once_with_all_its_locks():
    before = {"a.txt": {"x": "1", "y": "1", "gone": "3"}, "b.txt": {"x": "1"}}
    after = {"a.txt": {"x": "2", "y": "1", "new": "1"}, "b.txt": {"x": "2"}}
    assert locks.moved(before, after) == [
        ("gone", "3", "", "a.txt"), ("new", "", "1", "a.txt"), ("x", "1", "2", "a.txt, b.txt")]  # fmt: skip


def test_the_stage_says_what_moved(monkeypatch, ends):
    versions = iter([{"x": "1"}, {"x": "1"}, {"x": "1"}, {"x": "1"}, {"x": "2"}, {"x": "1"}, {"x": "1"}, {"x": "1"}])
    monkeypatch.setattr(locks, "versions", lambda lock: next(versions))
    monkeypatch.setattr(locks, "renew", lambda *_: None)
    done = ends(lock_stage.main, "--upgrade")
    assert done.code == 0 and any(re.search(r"x.*1.*2.*requirements\.txt", line) for line in done.out)
    assert done.out[-2] == "1 packages moved" and "requirements-peers.txt is as it was" in done.out[-1]


# Licences.


@pytest.mark.parametrize("lock", locks.ALL, ids=lambda lock: lock.file)
def test_the_page_of_licences_has_every_locked_package_and_an_allowed_licence_for_each(lock):
    rows = licences.read()[lock.name]
    pinned = {
        (p.name, p.version, "all" if p.pythons == lock.pythons else ", ".join(p.pythons)) for p in locks.pins(lock)
    }
    assert {(*row.key, row.pythons) for row in rows} == pinned, "run `inv licences`"
    assert [(row.name, why) for row in rows if (why := licences.fault(row.licence, RULES))] == []


def test_the_page_says_of_what_is_installed_what_the_packages_say_themselves(ends):
    """With the real pip-licenses, on the environment that runs this."""
    done = ends(licences_stage.main, "--check")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "licence, why",
    [
        ("MIT", ""),
        ("MPL-2.0 AND MIT", ""),
        ("GPL-3.0-only OR MIT", ""),
        ("Apache-2.0 WITH LLVM-exception", ""),
        ("GPL-3.0-only AND MIT", "is not allowed"),
        ("GPL-3.0-only", "is not allowed"),
        ("UNKNOWN", "is not allowed"),
        ("Free for all (", "is no SPDX expression"),
        ("", "it says nothing"),
    ],
)
def test_a_licence_is_allowed_only_if_the_policy_says_so(licence, why):
    found = licences.fault(licence, RULES)
    assert bool(found) == bool(why) and why in found


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(licences, "PAGE", tmp_path / "licences.md")
    shutil.copy(REPO / "docs" / "licences.md", tmp_path)
    return tmp_path / "licences.md"


@pytest.fixture
def installed(monkeypatch):
    """What pip-licenses says, pretended; starting from what the page has."""
    have = {row.key: row for lock in (locks.RUNTIME, locks.DEVELOPMENT)
            for row in licences.read(REPO / "docs" / "licences.md")[lock.name]}  # fmt: skip
    monkeypatch.setattr(licences, "of_environment", lambda *_: have)
    monkeypatch.setattr(licences, "read", lambda read=licences.read: read(REPO / "docs" / "licences.md"))
    return have


def test_a_licence_that_is_not_allowed_is_named_and_the_page_stays(page, installed, refused):
    before = page.read_bytes()
    (numpy,) = (key for key in installed if key[0] == "numpy")
    installed[numpy] = licences.Row(*numpy, "AGPL-3.0-only")
    refused(licences_stage.main, 7, ["1 packages, numpy the first: AGPL-3.0-only is not allowed"])
    assert page.read_bytes() == before


def test_a_page_that_is_not_up_to_date_is_told(page, installed, refused, ends):
    page.write_text(page.read_text().replace("| numpy | ", "| numpy | 0."))
    refused(licences_stage.main, 7, ["licences.md is not up to date; next: inv licences"], "--check")
    assert ends(licences_stage.main).code == 0
    assert page.read_text() == (REPO / "docs" / "licences.md").read_text()


# Advisories.


class Service(BaseHTTPRequestHandler):
    """Speaks OSV's interface (POST /v1/query) about the packages in `known`; others have no advisory."""

    known: dict = {}  # noqa: RUF012
    asked: list = []  # noqa: RUF012
    status = 200

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.asked.append((name, query["version"]))
        body = json.dumps({"vulns": [self.known[name]]} if name in self.known else {}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def service(tmp_path, monkeypatch):
    if sys.version_info < (3, 10):
        pytest.skip("the last pip-audit for Python 3.9 asks no other service than its own two")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Service.known, Service.asked, Service.status = {}, [], 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()


def advisory(package: str, number: str = "PYSEC-2099-1") -> dict:
    events = [{"introduced": "0"}, {"fixed": "99.0"}]
    affected = [
        {"package": {"name": package, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    ]
    return {
        "id": number,
        "aliases": ["CVE-2099-1"],
        "summary": "made up",
        "affected": affected,
        "schema_version": "1.4.0",
    }


@pytest.fixture
def few(monkeypatch):
    """Three packages are locked, one of them in two versions."""
    pins = {locks.RUNTIME: [("numpy", "1.26.4"), ("pillow", "13.0.0")],
            locks.PEERS: [("torch", "2.13.0+cpu"), ("numpy", "2.4.6")]}  # fmt: skip
    monkeypatch.setattr(locks, "pins", lambda lock: [locks.Pin(*pin, locks.PYTHONS) for pin in pins.get(lock, [])])


@pytest.fixture
def asked(service, few, ends):
    def call(*more):
        return ends(audit.main, "--service=osv", f"--url={service}", *more)

    return call


def test_every_locked_package_is_asked_about_by_the_real_pip_audit(asked):
    done = asked()
    assert (done.code, done.out[-1]) == (0, "4 packages, no known vulnerability that is not accepted"), done.err
    assert sorted(Service.asked) == [("numpy", "1.26.4"), ("numpy", "2.4.6"), ("pillow", "13.0.0"), ("torch", "2.13.0")]


def test_a_known_vulnerability_ends_it_with_7_and_is_shown(asked):
    Service.known["numpy"] = advisory("numpy")
    done = asked()
    assert (
        done.code == 7
        and "2 known vulnerabilities in numpy" in done.err[0]
        and "inv lock --package=numpy" in done.err[0]
    )
    shown = "\n".join(done.out)
    assert all(word in shown for word in ("numpy", "1.26.4", "PYSEC-2099-1", "CVE-2099-1", "99.0", "made up"))


@pytest.mark.parametrize(
    "rule, code",
    [
        ({"id": "CVE-2099-1", "package": "numpy", "until": "2999-01-01"}, 0),
        ({"id": "PYSEC-2099-1", "package": "numpy", "until": "2999-01-01"}, 0),
        ({"id": "CVE-2099-1", "package": "numpy", "until": "2020-01-01"}, 7),
        ({"id": "CVE-2099-1", "package": "pillow", "until": "2999-01-01"}, 7),
        ({"id": "CVE-2099-2", "package": "numpy", "until": "2999-01-01"}, 7),
    ],
)
def test_an_accepted_vulnerability_passes_for_its_package_until_its_date(asked, monkeypatch, rule, code):
    Service.known["numpy"] = advisory("numpy")
    made = policy.load().model_copy(update={"accepted_advisories": [
        policy.Accepted(**rule, reason="is never called here")]})  # fmt: skip
    monkeypatch.setattr(policy, "load", lambda: made)
    done = asked()
    assert done.code == code, done.err
    said = "\n".join(done.out)
    assert ("is never called here" in said) == (code == 0) and ("no longer needed, or run out" in said) == (code == 7)


@pytest.mark.skipif(sys.version_info >= (3, 10), reason="from Python 3.10 on pip-audit takes a URL")
def test_a_url_is_refused_where_pip_audit_takes_none(few, refused):
    refused(audit.main, 5, ["--url with Python 3.9; expected 3.10 or newer", "next: PYTHON="],
            "--service=osv", "--url=http://127.0.0.1:9/v1/query")  # fmt: skip


@pytest.mark.skipif(sys.version_info < (3, 10), reason="for Python 3.9 pip-audit takes no URL")
def test_a_service_that_does_not_answer_is_the_machines_fault(few, refused):
    refused(audit.main, 5, ["the advisory service osv does not answer", "check the network"],
            "--service=osv", "--url=http://127.0.0.1:9/v1/query")  # fmt: skip


def test_a_service_that_fails_is_the_machines_fault(asked):
    Service.status = 500
    done = asked()
    assert done.code == 5 and "does not answer" in done.err[0]


def test_packages_that_the_service_does_not_know_were_not_audited(few, refused, monkeypatch):
    """pip-audit itself ends with 0 then: "No known vulnerabilities found"."""
    said = [{"name": "numpy", "version": "1", "vulns": []}, {"name": "pillow", "skip_reason": "not found: pillow"}]
    monkeypatch.setattr(advisories, "_ask", lambda group, *_: said if "pillow" in group else [])
    refused(audit.main, 5, ["1 of 4 packages were not audited: not found: pillow"])


def test_a_url_is_for_osv_alone(few, refused):
    refused(audit.main, 2, ["--url is OSV's"], "--url=http://x")


def test_a_policy_with_a_fault_names_it(tmp_path):
    (tmp_path / "p.toml").write_text("[tool.qat8.licences]\nallowed = []\n")
    with pytest.raises(DataError, match=r"tool\.qat8\.licences\.allowed"):
        policy.load(tmp_path / "p.toml")
    with pytest.raises(DataError, match="a table"):
        policy.load(tmp_path / "none.toml")


def test_an_acceptance_needs_a_reason():
    with pytest.raises(ValueError, match="reason"):
        policy.Accepted(id="X", package="y", reason="", until=datetime.date(2999, 1, 1))
