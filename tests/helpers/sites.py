"""A site on this machine, served by a real server, that keeps what it was asked."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Site:
    """What is served: path → HTML, or a whole answer, or a function that makes one."""

    url: str
    pages: dict[str, str | bytes | Answer | Callable[[BaseHTTPRequestHandler], None]]
    asked: list[tuple[str, int]] = field(default_factory=list)

    def paths(self) -> list[str]:
        """Return what was asked for since the last call, but for robots.txt."""
        found = [path for path, _ in self.asked if path != "/robots.txt"]
        self.asked.clear()
        return found


@contextmanager
def serving(pages) -> Iterator[Site]:
    """Serve pages until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            page = site.pages.get(self.path, (404, {}, b""))
            if callable(page):
                site.asked.append((self.path, 0))
                page(self)
                return
            if isinstance(page, str):
                page = page.encode()
            if isinstance(page, bytes):
                tag = f'"{hashlib.sha256(page).hexdigest()[:8]}"'
                page = (200, {"Content-Type": "text/html; charset=utf-8", "ETag": tag}, page)
                if self.headers.get("If-None-Match") == tag:
                    page = (304, {"ETag": tag}, b"")
            status, headers, body = page
            site.asked.append((self.path, status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = Site(f"http://127.0.0.1:{server.server_port}", dict(pages))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
