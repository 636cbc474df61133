"""The TLS port of a Docker engine that only tells its version, to whoever has a client certificate."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_VERSION = {
    "Version": "27.5.1",
    "ApiVersion": "1.47",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
}
_API = re.compile(r"/v[0-9.]+(?=/)")


class DockerPort(ThreadingHTTPServer):
    """Listens at once. `folder` holds ca.pem, server.pem and server-key.pem, `info` what /info tells besides.

    In threads: asyncio drops the TLS alert by which a client learns why it is refused. Raises OSError.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path, info: Mapping[str, Any]) -> None:
        self.answers = {
            "/_ping": "OK",
            "/version": json.dumps(_VERSION),
            "/info": json.dumps({"ServerVersion": _VERSION["Version"], "Driver": "stub", **info}),
        }
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; blocks for less than a second."""
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the thread of the connection, which alone waits for the handshake."""
        request.settimeout(_Handler.timeout)
        connection = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with connection:
            try:
                connection.do_handshake()
            except ssl.SSLError:
                _let_go(connection)
                raise
            super().finish_request(connection, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client is told, and nobody else need know."""

    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        except OSError:
            assert isinstance(request, socket.socket)
            request.close()


def _let_go(connection: ssl.SSLSocket) -> None:
    """Closes it when the client has: it may still send, and a reset would overtake the alert."""
    with socket.socket(fileno=connection.detach()) as plain:
        plain.settimeout(_Handler.timeout)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(65536):
            pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds
    server: DockerPort

    def do_GET(self) -> None:
        self.wfile.write(self._begin())

    def do_HEAD(self) -> None:
        self._begin()

    def _begin(self) -> bytes:
        """Sends the head of the answer; returns its body."""
        answer = self.server.answers.get(_API.sub("", self.path, count=1))
        content = (answer or json.dumps({"message": "a stub has no containers"})).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "text/plain" if self.path.endswith("_ping") else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Api-Version", _VERSION["ApiVersion"])
        self.end_headers()
        return content

    def log_message(self, *_: Any) -> None:
        """Requests are not told."""
