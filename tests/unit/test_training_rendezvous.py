"""The key-value server by which the processes of a training find each other."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from qat8.errors import MachineError
from qat8.training.rendezvous import Rendezvous


def ask(server: Rendezvous, path: str, method: str = "GET", content: bytes | None = None, **headers) -> tuple:
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{path}", content, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def test_what_one_process_puts_the_others_get():
    with Rendezvous.opened("127.0.0.1", 0) as server:
        assert ask(server, "/worker/0")[0] == 404
        assert ask(server, "/worker/0", "PUT", b"\0\1address")[0] == 200
        assert ask(server, "/worker/0") == (200, b"\0\1address")
        assert ask(server, "/worker/0", "DELETE")[0] == 200
        assert ask(server, "/worker/0") == (200, b"\0\1address")  # others may still need it


def test_nobody_can_fill_its_memory_in_one_go():
    with Rendezvous.opened("127.0.0.1", 0) as server:
        assert ask(server, "/a", "PUT", b"", **{"Content-Length": str(1 << 30)})[0] == 413
        assert server.values == {}


def test_it_ends_with_its_block_and_leaves_the_port_free():
    with Rendezvous.opened("127.0.0.1", 0) as server:
        port = server.port
        with pytest.raises(MachineError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            Rendezvous.opened("127.0.0.1", port).__enter__()
    with Rendezvous.opened("127.0.0.1", port) as again:
        assert again.port == port


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(MachineError, match=r"203\.0\.113\.7"):
        Rendezvous.opened("203.0.113.7", 0).__enter__()
