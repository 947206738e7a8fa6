"""A small server with the layout of the Hugging Face Hub, and with faults to order."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SMALL = 1000
"""Files below this many bytes are plain git blobs, the others LFS, as on the hub."""


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """State of the server: one repository, some revisions, and what goes wrong."""

    repo: str
    files: dict[str, dict[str, bytes]]  # commit -> name -> content
    branches: dict[str, str]  # name -> commit
    break_after: dict[str, int] = field(default_factory=dict)  # name -> bytes, each time
    breaks_left: int = 0
    wrong: dict[str, bytes] = field(default_factory=dict)  # name -> bytes served instead
    stated: dict[str, str] = field(default_factory=dict)  # name -> hash stated instead
    hidden_hashes: bool = False
    answer: object = None  # of the API, instead of the right one
    log: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    url: str = ""
    cdn: str = ""  # another host, as on the hub: redirects within one are followed for HEAD

    def commit(self, revision: str) -> str | None:
        commit = self.branches.get(revision, revision)
        return commit if commit in self.files else None

    def info(self, commit: str) -> dict[str, object]:
        siblings = []
        for name, data in self.files[commit].items():
            entry: dict[str, object] = {"rfilename": name, "size": len(data)}
            if not self.hidden_hashes:
                entry["blobId"] = self.stated.get(name, git_sha1(data))
                if len(data) >= SMALL:
                    entry["blobId"] = git_sha1(b"an LFS pointer")
                    sha256 = self.stated.get(name, hashlib.sha256(data).hexdigest())
                    entry["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 132}
            siblings.append(entry)
        return {"id": self.repo, "modelId": self.repo, "sha": commit, "siblings": siblings}

    def ranges(self, name: str) -> list[str]:
        """Range headers of the downloads of a file, in order; empty where there was none."""
        digest = hashlib.sha256(self.files[self.branches["main"]][name]).hexdigest()
        return [
            r
            for m, p, r in self.log
            if m == "GET" and p.endswith((f"/{name}", digest)) and "/cdn/" in p
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range", "")))
        repo = self.hub.repo
        if match := re.fullmatch(rf"/api/models/{repo}(?:/revision/(.+))?", path):
            return self._api(match[1] or "main")
        if match := re.fullmatch(rf"/{repo}/resolve/([^/]+)/(.+)", path):
            return self._resolve(match[1], match[2])
        if match := re.fullmatch(r"/cdn/([^/]+)/(.+)/([0-9a-f]{64})", path):
            return self._content(match[1], match[2])
        return self._error(404, "RepoNotFound")

    def _api(self, revision: str) -> None:
        commit = self.hub.commit(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        body = json.dumps(self.hub.answer or self.hub.info(commit)).encode()
        return self._send(200, body, {"Content-Type": "application/json"})

    def _resolve(self, revision: str, name: str) -> None:
        commit = self.hub.commit(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        data = self.hub.files[commit].get(name)
        if data is None:
            return self._error(404, "EntryNotFound")
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{self.hub.stated.get(name, git_sha1(data))}"',
        }
        if len(data) < SMALL:
            return self._send(200, self.hub.wrong.get(name, data), headers)
        sha256 = hashlib.sha256(data).hexdigest()
        headers |= {
            "X-Linked-ETag": f'"{self.hub.stated.get(name, sha256)}"',
            "X-Linked-Size": str(len(data)),
            "Location": f"{self.hub.cdn}/cdn/{commit}/{name}/{sha256}",
        }
        return self._send(302, b"", headers)

    def _content(self, commit: str, name: str) -> None:
        data = self.hub.wrong.get(name, self.hub.files[commit][name])
        first, code, headers = 0, 200, {"Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first, code = int(match[1]), 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self._send(code, data[first:], headers, self.hub.break_after.get(name))

    def _send(
        self, code: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is not None and self.hub.breaks_left and cut < len(body):
            self.hub.breaks_left -= 1
            self.wfile.write(body[:cut])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _error(self, code: int, kind: str) -> None:
        self._send(code, b"{}", {"X-Error-Code": kind, "X-Error-Message": f"\x1b[31m{kind}"})


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a port of this machine while the block runs."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.cdn = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
