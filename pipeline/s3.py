"""Whole objects on S3, each read, written or removed in one request, by botocore.

pyarrow, which lists and opens there, asks for the size before each read, uploads more than 10 MB in parts that a kill leaves
behind, and looks around a name before and after it is removed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import IO, Any

from pyarrow import fs as pafs

LARGEST = 5 * 10**9
"""Bytes that S3 takes in one request."""
_CONNECTIONS = 64
_LOCK = Lock()


def get(fs: pafs.S3FileSystem, path: str) -> Any:
    """The answer to a GET: its ``ContentLength``, and ``Body`` to read from inside `as_os_error`."""
    bucket, key = _split(path)
    return _client_of(fs).get_object(Bucket=bucket, Key=key)


def put(fs: pafs.S3FileSystem, path: str, body: bytes | IO[bytes]) -> None:
    """Stores a whole object, at most LARGEST bytes. Raises OSError, and leaves what was there."""
    bucket, key = _split(path)
    with as_os_error(path):
        _client_of(fs).put_object(Bucket=bucket, Key=key, Body=body)


def delete(fs: pafs.S3FileSystem, path: str) -> None:
    """Removes an object; one that is gone is no error. Raises OSError."""
    bucket, key = _split(path)
    with as_os_error(path):
        _client_of(fs).delete_object(Bucket=bucket, Key=key)


@contextmanager
def as_os_error(path: str) -> Iterator[None]:
    """Inside the block botocore's errors become OSErrors with the words of pyarrow; FileNotFoundError for a missing object."""
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

    try:
        yield
    except ClientError as error:
        code, status = error.response["Error"].get("Code", ""), error.response["ResponseMetadata"].get("HTTPStatusCode")
        if code == "NoSuchKey":
            raise FileNotFoundError(errno.ENOENT, "there is no such object", path) from error
        raise OSError(f"{path}: AWS Error {code} (HTTP status {status}): {error}") from error
    except (HTTPClientError, IncompleteReadError) as error:
        raise OSError(f"{path}: AWS Error NETWORK_CONNECTION: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"{path}: {error}") from error


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


def _client_of(fs: pafs.S3FileSystem) -> Any:
    """The client with the settings of this filesystem, which are what it is pickled by; without keys botocore finds them itself."""
    settings = fs.__reduce__()[1][0]
    names = ("region", "scheme", "endpoint_override", "anonymous", "tls_ca_file_path")
    with _LOCK:  # clients may be used by several threads, but not made
        return _client(settings["access_key"], settings["secret_key"], tuple(settings[name] for name in names))


@lru_cache(maxsize=1)
def _session() -> Any:
    import botocore.session

    return botocore.session.get_session()


@lru_cache(maxsize=128)
def _client(key: str | None, secret: str | None, place: tuple[str, str, str, bool, str]) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    region, scheme, endpoint, anonymous, ca_file = place
    config = Config(
        region_name=region,
        signature_version=UNSIGNED if anonymous else None,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3={"addressing_style": "path"} if endpoint else None,
        request_checksum_calculation="when_required",  # other stores than Amazon's do not know the newer ones
        response_checksum_validation="when_required",
    )
    return _session().create_client(
        "s3",
        endpoint_url=f"{scheme}://{endpoint}" if endpoint else None,
        verify=ca_file or None,
        aws_access_key_id=key or None,
        aws_secret_access_key=secret or None,
        config=config,
    )
