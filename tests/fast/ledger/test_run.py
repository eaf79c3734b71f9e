"""A run folder: refused when it is not ours, resumed where it was, killed without loss."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.owner import claim, differences
from pipeline.ledger.plan import Shard
from pipeline.ledger.run import RunFolder, open_run
from pipeline.ledger.schema import ManifestRow
from pipeline.storage import Folder

ROOT = Path(__file__).parents[3]
CONFIG: dict[str, Any] = {"epsilon": 6, "ascent": {"steps": 10, "name": "pgd"}, "classes": ("blond",), "where": Path("x")}


@dataclass(frozen=True)
class Ref:
    key: str
    size_bytes: int = 1


REFS = [Ref(f"f/{number:02}.jpg") for number in range(10)]


class KilledError(Exception):
    """Stands for the end of the process."""


def open_(out: Path | str, *, signature: str = "sig", retry_failed: bool = False, **changes: Any) -> RunFolder:
    return open_run(out, signature=signature, config=CONFIG | changes, retry_failed=retry_failed)


def content(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest() * 10


def protected(run: RunFolder, key: str) -> ManifestRow:
    data = content(key)
    run.folder.write(f"{key}.png", data)
    return ManifestRow(key=key, status="protected", output=f"{key}.png", sha256_out=hashlib.sha256(data).hexdigest())


def failed(key: str, reason: str = "cut off") -> ManifestRow:
    return ManifestRow.failed(key, stage="decode", reason=reason)


def work(run: RunFolder, shards: list[Shard[Ref]]) -> None:
    for shard in shards:
        run.commit(shard.id, [protected(run, ref.key) for ref in shard.refs])


def outputs(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}


def test_a_new_run_plans_all_and_a_finished_one_nothing(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with open_(out) as run:
        assert run.done_keys() == set()
        work(run, run.plan(REFS, max_count=4))
        table = pq.read_table(run.write_manifest())
    assert table["key"].to_pylist() == [ref.key for ref in REFS]
    with open_(out) as run:
        assert run.plan(REFS, max_count=4) == []
        assert run.rows().equals(table)
        assert run.plan([*REFS, Ref("new.jpg")])[0].keys == ("new.jpg",)
    assert not (out / ".disrupt/lock.json").exists()


def test_an_object_store_holds_a_run_like_a_folder(tmp_path: Path) -> None:
    place = f"memory://run{tmp_path}"
    with open_(place) as run:
        work(run, run.plan(REFS, max_count=4)[:1])
    with open_(place) as run:
        assert run.done_keys() == {ref.key for ref in REFS[:4]}
        work(run, run.plan(REFS, max_count=4))
        assert run.rows()["key"].to_pylist() == [ref.key for ref in REFS]
    with pytest.raises(LedgerError, match="epsilon: 6 there, 8 now"):
        open_(place, signature="other", epsilon=8)


def test_another_run_is_refused_with_the_options_that_differ(tmp_path: Path) -> None:
    open_(tmp_path).close()
    with pytest.raises(LedgerError) as caught:
        open_(tmp_path, signature="other", ascent={"steps": 20, "name": "pgd"}, seed=3)
    message = str(caught.value)
    assert "ascent.steps: 10 there, 20 now; seed: (absent) there, 3 now" in message
    assert "epsilon" not in message
    assert "another output folder" in message
    with pytest.raises(LedgerError, match="another version of the program or with other weights"):
        open_(tmp_path, signature="other")
    open_(tmp_path).close()


def test_a_folder_where_no_work_is_begun_takes_other_options_and_one_with_work_refuses_with_the_advice(tmp_path: Path) -> None:
    def train(steps: int, *, is_begun: bool) -> None:
        options = {"verb": "train", "signature": f"s{steps}", "config": {"steps": steps}, "advice": "Start from its weights."}
        claim(Folder(tmp_path), ".disrupt/train.json", is_begun=is_begun, **options).release()  # type: ignore[arg-type]

    train(4, is_begun=False)
    train(5, is_begun=False)
    train(5, is_begun=True)
    with pytest.raises(LedgerError, match=r"steps: 5 there, 6 now\)\. Start from its weights\.$"):
        train(6, is_begun=True)


def test_differences_of_equal_options_are_none() -> None:
    assert differences(CONFIG | {"where": "x"}, CONFIG | {"where": "x"}) == []
    assert differences({"a": {"b": 1}}, {"a": {}}) == ["a: (absent) there, {} now", "a.b: 1 there, (absent) now"]


def test_a_folder_of_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(LedgerError, match="is not empty and was not made by disrupt"):
        open_(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["holiday.jpg"]


def test_an_empty_folder_and_one_whose_first_start_was_cut_short_are_taken(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    open_(tmp_path).close()
    (tmp_path / ".disrupt/config.json").unlink()
    open_(tmp_path).close()


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    open_(tmp_path).close()
    (tmp_path / ".disrupt/config.json").write_text('{"signature": ')
    with pytest.raises(LedgerError, match="damaged"):
        open_(tmp_path)


def test_a_place_that_cannot_be_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="is a file"):
        open_(tmp_path / "file")
    with pytest.raises(LedgerError, match="cannot be written: Not a directory"):
        open_(tmp_path / "file" / "out")
    with pytest.raises(LedgerError, match="cannot be written"):
        open_("/proc/disrupt")
    with pytest.raises(LedgerError, match="cannot be written"):
        open_("/dev/full/out")


def test_a_failed_start_gives_the_folder_back(tmp_path: Path) -> None:
    open_(tmp_path).close()
    with pytest.raises(LedgerError, match="another run"):
        open_(tmp_path, signature="other")
    assert not (tmp_path / ".disrupt/lock.json").exists()


def test_temporary_files_are_removed_only_by_the_holder_of_the_lock(tmp_path: Path) -> None:
    with open_(tmp_path) as run:
        work(run, run.plan(REFS))
        stale = [tmp_path / "f/.00.jpg.png.0123abcd.tmp", tmp_path / ".disrupt/parts/.x.parquet.0123abcd.tmp"]
        for path in stale:
            path.write_bytes(b"half")
        with pytest.raises(LedgerError, match="in use"):
            open_(tmp_path)
        assert all(path.exists() for path in stale)
    before = outputs(tmp_path)
    open_(tmp_path).close()
    assert not any(path.exists() for path in stale)
    assert outputs(tmp_path) == before


def test_a_job_that_lost_its_folder_writes_no_manifest(tmp_path: Path) -> None:
    with open_(tmp_path) as run:
        (tmp_path / ".disrupt/lock.json").unlink()
        with pytest.raises(LedgerError, match="taken over"):
            run.write_manifest()
    assert not (tmp_path / "manifest.parquet").exists()


def test_failed_photos_are_tried_again_only_on_request_and_the_later_row_counts(tmp_path: Path) -> None:
    refs = [Ref("a"), Ref("b"), Ref("c"), Ref("d")]
    with open_(tmp_path) as run:
        (shard,) = run.plan(refs)
        good = protected(run, "b")
        small = ManifestRow.skipped("c", stage="decode", reason="small")
        rows = [failed("a"), good, small, replace(good, key="d", status="not_disrupted")]
        run.commit(shard.id, rows)
    with open_(tmp_path) as run:
        assert run.plan(refs) == []
    with open_(tmp_path, retry_failed=True) as run:
        (shard,) = run.plan(refs)
        assert shard.keys == ("a", "d")
        assert shard.id.endswith("-1")
        run.commit(shard.id, [failed("a", "still cut off"), protected(run, "d")])
        assert run.plan(refs) == [], "within one run a photo is retried once"
        assert dict(zip(run.rows()["key"].to_pylist(), run.rows()["status"].to_pylist(), strict=True)) == {
            "a": "failed",
            "b": "protected",
            "c": "skipped",
            "d": "protected",
        }
        assert run.rows()["reason"].to_pylist()[0] == "still cut off"
    with open_(tmp_path, retry_failed=True) as run:
        (shard,) = run.plan(refs)
        assert (shard.keys, shard.id[16:]) == (("a",), "-2")
        work(run, [shard])
    with open_(tmp_path, retry_failed=True) as run:
        assert run.plan(refs) == []
        assert run.rows()["status"].to_pylist() == ["protected", "protected", "skipped", "protected"]


def test_a_retry_that_is_cut_short_keeps_the_rows_it_had(tmp_path: Path) -> None:
    with open_(tmp_path) as run:
        (shard,) = run.plan([Ref("a")])
        run.commit(shard.id, [failed("a")])
    with open_(tmp_path, retry_failed=True) as run:
        protected(run, run.plan([Ref("a")])[0].keys[0])
    with open_(tmp_path) as run:
        assert run.rows()["status"].to_pylist() == ["failed"]
    with open_(tmp_path, retry_failed=True) as run:
        work(run, run.plan([Ref("a")]))
        assert run.rows()["status"].to_pylist() == ["protected"]


@settings(deadline=None, max_examples=40)
@given(deaths=st.lists(st.integers(0, 14), max_size=6), grow=st.integers(0, 10), seed=st.integers(0, 9))
def test_however_often_a_job_dies_the_end_is_as_if_it_never_had(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], grow: int, seed: int
) -> None:
    out = tmp_path_factory.mktemp("out")
    order = random.Random(seed)
    done_before: dict[str, bytes] = {}
    for visit, death in enumerate([*deaths, 10_000]):
        refs = REFS[: len(REFS) - grow] if visit == 0 and deaths else REFS  # inputs may be added while the job is dead
        left = death
        with open_(out) as run:
            shards = run.plan(refs, max_count=3)
            assert not {key for shard in shards for key in shard.keys} & done_before.keys()
            order.shuffle(shards)  # workers finish in any order
            try:
                for shard in shards:
                    rows = []
                    for ref in shard.refs:
                        if left == 0:
                            (out / ".x.png.0123abcd.tmp").write_bytes(b"half")
                            raise KilledError
                        left -= 1
                        rows.append(protected(run, ref.key))
                    if left == 0:
                        raise KilledError
                    left -= 1
                    run.commit(shard.id, rows)
            except KilledError:
                pass
            done_before = {key: content(key) for key in run.rows()["key"].to_pylist()}
    assert outputs(out) == {f"{ref.key}.png": content(ref.key) for ref in REFS}
    with open_(out) as run:
        assert run.rows()["key"].to_pylist() == [ref.key for ref in REFS]
    assert not list(out.rglob("*.tmp"))


def test_a_killed_process_leaves_a_folder_that_the_same_command_completes(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_run as t; from pathlib import Path\n"
        "run = t.open_(Path(sys.argv[1])); first, second, *_ = run.plan(t.REFS, max_count=4)\n"
        "t.work(run, [first]); t.protected(run, second.keys[0])\n"
        "Path(sys.argv[1], 'f/.05.jpg.png.0123abcd.tmp').write_bytes(b'half')\n"
        "print('half way', flush=True); input()"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(out), str(Path(__file__).parent)]
    job = subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "half way\n"
    with pytest.raises(LedgerError, match=f"process {job.pid} on"):
        open_(out)
    job.send_signal(signal.SIGKILL)
    job.communicate()

    with open_(tmp_path / "undisturbed") as undisturbed:
        plan = undisturbed.plan(REFS, max_count=4)
        work(undisturbed, plan)
        expected = undisturbed.rows()
    with open_(out) as run:
        assert run.done_keys() == {ref.key for ref in REFS[:4]}
        assert run.plan(REFS, max_count=4) == plan[1:]
        work(run, run.plan(REFS, max_count=4))
        assert run.rows().equals(expected)
    assert outputs(out) == outputs(tmp_path / "undisturbed")
    assert not list(out.rglob("*.tmp"))
