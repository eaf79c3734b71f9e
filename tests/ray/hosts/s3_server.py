"""An S3 store (moto) that can be away: s3_server.py HOST PORT.

It makes an empty bucket named ``bucket``, says "ready", and logs every request. After SIGUSR1 it answers everything with 503, after
SIGUSR2 as it should; SIGSTOP makes it silent.
"""

from __future__ import annotations

import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[attr-defined,unused-ignore]
from werkzeug.serving import make_server

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def main(host: str, port: int) -> None:
    """Serves until the process ends."""
    away = threading.Event()
    answers: Any = DomainDispatcherApplication(create_backend_app)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not away.is_set():
            found: Iterable[bytes] = answers(environ, start_response)
            return found
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))])
        return [SLOW_DOWN]

    signal.signal(signal.SIGUSR1, lambda *_: away.set())
    signal.signal(signal.SIGUSR2, lambda *_: away.clear())
    server = make_server(host, port, answer, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")).close()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
