"""Where the processes of a training leave their addresses for each other: the key-value server that gloo's HTTP store
asks. It lives in the process that starts the others, since a process that waits in gloo serves nobody.

Whoever reaches the port can join, as everywhere in gloo: it is bound to one address, and is for a network of one's own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qat8.errors import MachineError

_MAX_BYTES = 1 << 20


class _Handler(BaseHTTPRequestHandler):
    """GET gives a value or 404, PUT sets it; DELETE, by which gloo says that it has all, does nothing."""

    def do_GET(self) -> None:
        self._answer(200, value) if (value := self.server.values.get(self.path)) is not None else self._answer(404)

    def do_PUT(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BYTES:
            return self._answer(413)
        self.server.values[self.path] = self.rfile.read(length)
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(200)

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None: ...


class Rendezvous(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), _Handler)
        self.values: dict[str, bytes] = {}
        self.port = self.server_address[1]

    @classmethod
    @contextlib.contextmanager
    def opened(cls, address: str, port: int) -> Iterator[Rendezvous]:
        """Serve on address:port (0: a free one) while the block runs.

        Raises:
            MachineError: the port is taken, or the address is another machine's.
        """
        try:
            server = cls(address, port)
        except OSError as e:
            raise MachineError(f"{address}:{port}: {e.strerror}", "a free port of this machine", "--port=N") from e
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
