"""A store that answers as S3 does: it keeps what is put, or refuses everything; and it notes who asked for what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Store:
    """The place as a URI, the error to answer with and to which methods, and the requests so far: method, path and query."""

    uri: str = ""
    refuse: tuple[int, str] | None = None
    refused: str = "GET HEAD PUT POST"
    requests: list[str] = field(default_factory=list)


@contextmanager
def s3_store() -> Iterator[Store]:
    """A store on this machine. Nothing is in it until something is put there."""
    store = Store()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def _read(self) -> None:
            """Takes the body off the connection, whole or in the chunks of HTTP."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_last = self.headers.get("Transfer-Encoding") != "chunked"
            while not is_last:
                size = int(self.rfile.readline(), 16)
                is_last = not self.rfile.read(size + 2)[:-2]

        def _answer(self) -> None:
            self._read()
            store.requests.append(f"{self.command} {self.path}")
            is_known = (self.command == "PUT" and "?" not in self.path) or "list-type" in self.path
            status, code = (200, "") if is_known else (404, "NoSuchKey")
            if store.refuse and self.command in store.refused:
                status, code = store.refuse
            said = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>" if code else "<ListBucketResult/>"
            body = said.encode() if code or self.command == "GET" else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = f"scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=us-east-1"
    store.uri = f"s3://key:secret@bucket/some%20folder?{options}"
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
