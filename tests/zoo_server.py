"""A server on loopback that knows ranges, and whose faults can be chosen."""
import hashlib
import http.server
import re
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Request(NamedTuple):
    path: str
    range: str | None
    if_range: str | None
    status: int


class ZooServer:
    """Serves ``files``; to be used as a context.

    Attributes:
        files: Path to content.
        requests: What was asked for, and the status of the answer.
        cuts: Of the next answers: after so many bytes the connection ends; None lets one pass.
        statuses: Of the next answers: an error instead.
        redirects: Path to where it leads.
        ranges, if_range, etag, modified, length, total: Whether the server knows and says such things.
        weak: Whether its tags are.
        pause: Seconds before each 16 kB.
        go_on: What the rest of an answer waits for after its first 16 kB.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.cuts: list[int | None] = []
        self.statuses: list[int] = []
        self.redirects: dict[str, str] = {}
        self.ranges = self.if_range = self.etag = self.length = self.total = True
        self.weak = False
        self.modified: str | None = None
        self.chunked = False
        self.pause = 0.0
        self.first_bytes, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                # the other end may leave: some tests kill it
                with suppress(ConnectionError):
                    owner._answer(self)

            def log_message(self, *arguments):
                pass

        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.scheme = "http" if certificate is None else "https"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.listener.socket = context.wrap_socket(self.listener.socket, server_side=True)
        self.thread = threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.listener.server_port}"

    def __enter__(self) -> "ZooServer":
        self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.listener.shutdown()
        self.listener.server_close()
        self.thread.join()

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def _answer(self, handler) -> None:
        asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        content = self.files.get(handler.path)
        status, first = 200, 0
        tag = None if content is None else f'{"W/" if self.weak else ""}"{hashlib.md5(content).hexdigest()}"'
        if handler.path in self.redirects:
            status, content = 302, b""
        elif self.statuses:
            status, content = self.statuses.pop(0), b""
        elif content is None:
            status, content = 404, b"nothing here"
        elif asked is not None and self.ranges and (not self.if_range or condition in (None, tag, self.modified)):
            first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            status = 206 if first < len(content) else 416
        self.requests.append(Request(handler.path, asked, condition, status))
        handler.send_response(status)
        if status == 302:
            handler.send_header("Location", self.redirects[handler.path])
        whole, content = content, b"" if status == 416 else content[first:]
        if status == 206:
            handler.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole) if self.total else '*'}")
        if status == 416:
            handler.send_header("Content-Range", f"bytes */{len(whole)}")
        if self.etag and tag is not None:
            handler.send_header("ETag", tag)
        if self.modified is not None:
            handler.send_header("Last-Modified", self.modified)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        elif self.length:
            handler.send_header("Content-Length", str(len(content)))
        else:
            handler.close_connection = True
        handler.end_headers()
        cut = self.cuts.pop(0) if self.cuts else None
        if cut is not None:
            content, handler.close_connection = content[:cut], True
        for start in range(0, len(content), 1 << 14):
            time.sleep(self.pause)
            block = content[start : start + (1 << 14)]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if self.chunked else block)
            self.first_bytes.set()
            self.go_on.wait(30)
        if self.chunked and cut is None:
            handler.wfile.write(b"0\r\n\r\n")
