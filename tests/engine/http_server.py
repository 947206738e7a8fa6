"""A web server on this machine whose every path misbehaves in its own way."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = '"one"'


class Server(ThreadingHTTPServer):
    """Serves `files`, and trouble at the paths that the handler names."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.ended = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _answer(self, body: bool) -> None:
        name = self.path.partition("?")[0].lstrip("/")
        asked = f"{'GET' if body else 'HEAD'} {name}"
        self.server.asked[asked] += 1
        data = self.server.files.get(name, b"12345")
        if name.startswith("to-"):
            self._send(302, {"Location": {"to-file": "file:///etc/passwd", "to-loop": "/to-loop"}
                             .get(name, f"/{name[3:]}")})  # fmt: skip
        elif name == "flaky" and self.server.asked[asked] < 3:
            self._send(503)
        elif name == "down":
            self._send(500)
        elif name == "forbidden":
            self._send(403)
        elif name == "no-head" and not body:
            self._send(405)
        elif name == "hangs" and body:
            self.server.ended.wait(20)
        elif name == "cut" and body:
            self._send(200, {"Content-Length": "5000", "ETag": VERSION}, data)
            self.close_connection = True
        elif name == "grown":
            data = b"123456" if body else data
            self._send(200, {"Content-Length": str(len(data)), "ETag": VERSION}, data)
        elif name == "endless" and body:
            self._send(200, {"Connection": "close"}, length=False)
            try:
                while not self.server.ended.is_set():
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                pass
            self.close_connection = True
        elif name == "endless":
            self._send(200, {"Connection": "close"}, length=False)
        elif name in self.server.files:
            named = {} if name.startswith("plain") else {"ETag": VERSION}
            self._send(200, named, data if body else b"", size=len(data))
        elif name in ("flaky", "no-head"):
            self._send(200, {"ETag": VERSION}, data)
        else:
            self._send(404)

    def _send(
        self,
        code: int,
        headers: dict[str, str] | None = None,
        data: bytes = b"",
        size: int | None = None,
        length: bool = True,
    ) -> None:
        self.send_response(code)
        headers = headers or {}
        if length and "Content-Length" not in headers:
            headers["Content-Length"] = str(len(data) if size is None else size)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
