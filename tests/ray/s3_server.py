"""S3 as moto plays it, 30 ms away: it notes who asked for what, and is away when it is told to be."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

DELAY_SECONDS = 0.03
BUCKET = "bucket"


@dataclass
class Server:
    """A bucket behind a delay. ``requests`` are class and path of each that was answered, ``away`` how many were turned off."""

    port: int = 0
    is_away: bool = False
    away: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    objects: Any = field(default_factory=lambda: s3_backends[DEFAULT_ACCOUNT_ID]["aws"])
    """What moto keeps, to be filled and looked at without requests."""

    def uri(self, name: str) -> str:
        """A place in the bucket."""
        return f"s3://key:secret@{BUCKET}/{name}?scheme=http&endpoint_override=127.0.0.1:{self.port}&region=us-east-1"

    def put(self, name: str, data: bytes) -> None:
        """Puts an object there, without a request."""
        self.objects.put_object(BUCKET, name, data)

    def get(self, name: str) -> bytes:
        """What an object holds, without a request."""
        return bytes(self.objects.get_object(BUCKET, name).value)

    def names(self, folder: str, suffix: str) -> list[str]:
        """The names below a folder that end so."""
        return [key.removeprefix(f"{folder}/") for key in self.objects.buckets[BUCKET].keys if fnmatch(key, f"{folder}/*{suffix}")]

    def times(self, kind: str, below: str) -> Counter[str]:
        """How often each name that begins so was asked for in this way."""
        return Counter(path for each, path in self.requests if each == kind and path.startswith(f"/{BUCKET}/{below}"))

    def counts(self, below: str = "") -> Counter[str]:
        """How many requests of each class there were for names that begin so."""
        return Counter(kind for kind, path in list(self.requests) if path.startswith(f"/{BUCKET}/{below}".rstrip("/")))

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers a request, as WSGI has it."""
        time.sleep(DELAY_SECONDS)
        if self.is_away:
            self.away += 1
            environ["wsgi.input"].read()
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]
        self.requests.append((_class(environ["REQUEST_METHOD"], environ["QUERY_STRING"]), environ["PATH_INFO"]))
        answer: Iterable[bytes] = self.app(environ, start_response)
        return answer


def _class(method: str, query: str) -> str:
    """What a request is on the bill."""
    if method == "DELETE" or (method == "POST" and query == "delete"):
        return "DELETE"
    if "list-type" in query:
        return "LIST"
    return {"POST": "PUT", "HEAD": "GET"}.get(method, method)


@contextmanager
def s3_server() -> Iterator[Server]:
    """A server on this machine, with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    ours = Server()
    server = make_server("127.0.0.1", 0, ours, threaded=True)
    ours.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        ours.objects.create_bucket(BUCKET, "us-east-1")
        yield ours
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
