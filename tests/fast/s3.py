"""A store that answers as S3 does: it keeps what is put, or refuses everything; and it notes who asked for what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape


@dataclass
class Store:
    """The place as a URI, and the requests so far: method, path and query; and what it holds, by `/bucket/key`.

    ``refuse`` is the error to answer with, to the methods of ``refused``, once ``grace`` more of them were answered.
    """

    uri: str = ""
    refuse: tuple[int, str] | None = None
    refused: str = "GET HEAD PUT POST"
    grace: int = 0
    requests: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, path: str, data: bytes) -> tuple[int, str, bytes]:
        """Status, code of an error, and what comes back."""
        self.requests.append(f"{method} {path}")
        place, _, query = path.partition("?")
        name = unquote(place)
        if self.refuse and method in self.refused.split():
            self.grace -= 1
            if self.grace < 0:
                return *self.refuse, b""
        if method == "PUT" and not query:
            self.objects[name] = data
        elif method == "DELETE":
            self.objects.pop(name, None)
        elif "list-type" in query:
            return 200, "", self._list(name, parse_qs(query))
        elif name not in self.objects or query:
            return 404, "NoSuchKey", b""
        return 200, "", self.objects.get(name, b"") if method in {"GET", "HEAD"} else b""

    def _list(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys = [name.removeprefix(f"{bucket.rstrip('/')}/") for name in sorted(self.objects)]
        rest = {key.removeprefix(prefix): key for key in keys if key.startswith(prefix)}
        own = {key for end, key in rest.items() if not delimiter or delimiter not in end}
        below = {prefix + end.partition(delimiter)[0] + delimiter for end, key in rest.items() if key not in own}
        size = {key: len(self.objects[f"{bucket.rstrip('/')}/{key}"]) for key in own}
        found = [f"<Contents><Key>{escape(key)}</Key><Size>{size[key]}</Size></Contents>" for key in sorted(own)]
        found += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(below)]
        return f"<ListBucketResult><KeyCount>{len(found)}</KeyCount>{''.join(found)}</ListBucketResult>".encode()


@contextmanager
def s3_store() -> Iterator[Store]:
    """A store on this machine. Nothing is in it until something is put there."""
    store = Store()

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def _data(self) -> bytes:
            """The body, whole or in the chunks of HTTP."""
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_last = self.headers.get("Transfer-Encoding") != "chunked"
            while not is_last:
                size = int(self.rfile.readline(), 16)
                data += (piece := self.rfile.read(size + 2)[:-2])
                is_last = not piece
            return data

        def _answer(self) -> None:
            status, code, body = store.answer(self.command, self.path, self._data())
            if code:
                body = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
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
