"""A web server on this machine: plain files with ranges, and the hub's `resolve` addresses."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Served:
    """What the server has and what it was asked for.

    Attributes:
        url: Its address.
        files: Content by address path.
        breaks: After how many bytes the next answers for a path break off.
        asked: Method, path and range of each request.
        pause: Seconds that the second half of a body is held back.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    pause: float = 0.0

    def gets(self) -> list[str | None]:
        return [ranges for method, _, ranges in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        ranges = self.headers.get("Range")
        self.served.asked.append((self.command, self.path, ranges))
        data = self.served.files.get(self.path)
        if data is None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        start = int(ranges.removeprefix("bytes=").split("-")[0]) if ranges else 0
        if self.headers.get("If-Range", etag) != etag:
            start = 0
        if start and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("ETag", etag)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not with_body:
            return
        stops = self.served.breaks.get(self.path)
        if stops:
            self.wfile.write(data[start : start + stops.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        middle = (start + len(data)) // 2
        self.wfile.write(data[start:middle])
        self.wfile.flush()
        time.sleep(self.served.pause)
        with suppress(ConnectionError):
            self.wfile.write(data[middle:])


@contextmanager
def serve() -> Iterator[Served]:
    served = Served()
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
