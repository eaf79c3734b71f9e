"""A run folder: refused when it is not ours, resumed where it was, killed without loss."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger import lock
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.owner import claim, differences
from pipeline.ledger.run import RunFolder, open_run, work_folder
from pipeline.storage import Folder

ROOT = Path(__file__).parents[3]
CONFIG: dict[str, Any] = {"epsilon": 6, "ascent": {"steps": 10, "name": "pgd"}, "classes": ("blond",), "where": Path("x")}


def open_(out: Path | str, *, signature: str = "sig", retry_failed: bool = False, **changes: Any) -> RunFolder:
    return open_run(out, signature=signature, config=CONFIG | changes, retry_failed=retry_failed)


def begin(out: Path) -> None:
    """A run that has a plan."""
    with open_(out) as run:
        run.folder.write(".disrupt/plan.json", b"{}")


def outputs(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.png")}


def test_another_run_is_refused_with_the_options_that_differ(tmp_path: Path) -> None:
    begin(tmp_path)
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
    begin(tmp_path)
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
    begin(tmp_path)
    with pytest.raises(LedgerError, match="another run"):
        open_(tmp_path, signature="other")
    assert not (tmp_path / ".disrupt/lock.json").exists()


def test_temporary_files_are_removed_only_by_the_holder_of_the_lock(tmp_path: Path) -> None:
    with open_(tmp_path) as run:
        run.folder.write("f/00.jpg.png", b"a photo")
        run.folder.write("manifest/000000.parquet", b"rows")
        stale = [tmp_path / "f/.00.jpg.png.0123abcd.tmp", tmp_path / "manifest/.x.parquet.0123abcd.tmp"]
        for path in stale:
            path.write_bytes(b"half")
        with pytest.raises(LedgerError, match="in use"):
            open_(tmp_path)
        assert all(path.exists() for path in stale)
    before = outputs(tmp_path)
    open_(tmp_path).close()
    assert not any(path.exists() for path in stale)
    assert outputs(tmp_path) == before


def test_a_job_that_lost_its_folder_is_told_by_its_next_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.01)
    with open_(tmp_path) as run:
        run.check()
        (tmp_path / ".disrupt/lock.json").unlink()
        with pytest.raises(LedgerError, match="taken over"):
            while True:
                run.check()


def test_a_work_folder_goes_on_where_it_was_stopped_and_leaves_nothing_when_it_is_done(tmp_path: Path) -> None:
    def begin(signature: str) -> AbstractContextManager[RunFolder]:
        return work_folder(str(tmp_path), "evaluate", signature=signature, config=CONFIG)

    (tmp_path / "summary.csv").write_text("an older result")
    with pytest.raises(KeyboardInterrupt), begin("one") as run:
        run.folder.write(".disrupt/plan.json", b"{}")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), begin("one") as run:
        assert run.folder.exists(".disrupt/plan.json")
        raise KeyboardInterrupt
    with begin("other") as run:
        assert not run.folder.exists(".disrupt/plan.json")
        run.folder.write("manifest/000000.parquet", b"rows")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["summary.csv"]


def test_a_call_that_could_not_plan_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    open_(tmp_path).close()
    open_(tmp_path, signature="other", seed=3).close()
    begin(tmp_path / "planned")
    with pytest.raises(LedgerError, match="another run"):
        open_(tmp_path / "planned", signature="other")
