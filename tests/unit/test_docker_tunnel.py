import pytest

from qat8.containers import tunnel
from qat8.errors import MachineError, UsageError


@pytest.mark.parametrize(
    "url, words, path",
    [
        ("ssh://clx1", ["--", "clx1"], tunnel.SOCKET),
        ("ssh://me@CLX1/", ["--", "me@CLX1"], tunnel.SOCKET),
        ("ssh://me@clx1:2222/run/user/1000/docker.sock", ["-p", "2222", "--", "me@clx1"], "/run/user/1000/docker.sock"),
        ("ssh://-oProxyCommand=x", ["--", "-oProxyCommand=x"], tunnel.SOCKET),
    ],
)
def test_a_url_becomes_sshs_words(url, words, path):
    assert tunnel._destination(url) == (words, path)


@pytest.mark.parametrize("url", ["ssh://", "ssh://me@:22", "ssh://a:b", "ssh://a:0/x", "ssh://a:99999/x"])
def test_a_url_that_names_no_host_is_refused(url):
    with pytest.raises(UsageError, match="names no host"):
        tunnel._destination(url)


def test_another_url_needs_no_tunnel():
    with tunnel.to("unix:///run/docker.sock") as found:
        assert found == "unix:///run/docker.sock"


def test_what_ssh_says_is_the_error(monkeypatch, tmp_path):
    program = tmp_path / "ssh"
    program.write_text("#!/bin/sh\necho some banner >&2\necho 'ssh: no route to clx1' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("QAT8_SSH", str(program))
    with (
        pytest.raises(MachineError, match="ssh does not reach ssh://clx1: ssh: no route to clx1"),
        tunnel.to("ssh://clx1"),
    ):
        pass


def test_ssh_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setenv("QAT8_SSH", "/absent/ssh")
    with pytest.raises(MachineError, match="no program /absent/ssh"), tunnel.to("ssh://clx1"):
        pass
