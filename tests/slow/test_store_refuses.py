"""Photos from S3 to S3: the bytes of a local run, whatever the store refuses on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fast.runs import files, run, statuses
from tests.fast.s3 import Store, s3_store
from tests.fast.tiny import photo_folder

Said = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that holds six photos in `photos/`, as the local folder does."""
    monkeypatch.setattr("pipeline.ledger.lock.SETTLE_SECONDS", 0)
    photo_folder(tmp_path / "photos", {f"in/p {number}.png": number for number in range(6)})
    with s3_store() as store:
        store.uri = store.uri.replace("some%20folder", "{}")
        for name, data in files(tmp_path / "photos").items():
            store.objects[f"/bucket/photos/{name}"] = data
        yield store


def protect(store: Store) -> int:
    return run(store.uri.format("photos"), store.uri.format("out"), "--part-photos", "2", "--examples", "0")


@pytest.mark.parametrize("refusal", [("PUT", "AccessDenied", 10), ("GET", "ExpiredToken", 23)])
def test_a_store_that_refuses_half_way_ends_the_run_in_one_line_and_the_same_command_completes_it(
    store: Store, tmp_path: Path, capsys: Said, refusal: tuple[str, str, int]
) -> None:
    store.refused, error, store.grace = refusal
    store.refuse = (403, error)
    assert protect(store) == 2
    said = capsys.readouterr().err
    assert said.count("disrupt protect:") == 1
    assert "check the credentials" in said
    assert "Traceback" not in said
    done = [name for name in store.objects if name.startswith("/bucket/out/manifest/")]
    assert 0 < len(done) < 3, store.requests
    store.refuse = None
    store.objects.pop("/bucket/out/.disrupt/lock.json", None)  # it could not be given back; that of a process that ended is taken
    assert protect(store) == 0
    assert run(tmp_path / "photos", tmp_path / "out") == 0
    protected = {name: data for name, data in store.objects.items() if name.startswith("/bucket/out/in/")}
    assert protected == {f"/bucket/out/{name}": data for name, data in files(tmp_path / "out").items()}
    manifest = pq.read_table(pa.BufferReader(store.objects["/bucket/out/manifest.parquet"])).to_pylist()
    assert [(row["key"], row["status"]) for row in manifest] == sorted(statuses(tmp_path / "out").items())
