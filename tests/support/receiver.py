"""An HTTP server that keeps what it was asked and answers as told."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


class Reply(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Receiver:
    """`answer` is called in the server's threads. With a context it speaks TLS."""

    def __init__(self, answer: Callable[[Asked], Reply], context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                asked = Asked(self.path, {key.lower(): value for key, value in self.headers.items()}, body)
                receiver.asked.append(asked)
                reply = answer(asked)
                self.send_response(reply.status)
                for name, value in (("content-length", str(len(reply.body))), *reply.headers):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Who does not believe our certificate says so on the other side."""
