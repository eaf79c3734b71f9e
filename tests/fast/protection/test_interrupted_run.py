"""Runs that are stopped, run out of disk, or meet their photos in another order end with the same bytes as others."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.fast.runs import failing, files, rows, run, statuses
from tests.fast.tiny import photo_folder

NAMES = {f"{name}.jpg": i for i, name in enumerate("abcdef")}
PHOTOS = "?.png"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", NAMES)


@pytest.fixture
def out(photos: Path) -> Path:
    return photos.with_name("out")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and its plots take a second a run and have tests of their own."""
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(photo_folder(folder / "photos", NAMES), folder / "out") == 0
    return files(folder / "out")


@pytest.mark.parametrize("after", [0, 1, 3])
def test_ctrl_c_in_the_middle_keeps_what_is_done_and_the_rerun_completes(
    out: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = out.with_name("photos")
    with monkeypatch.context() as patched:
        failing(PHOTOS, patched, after=after, error=KeyboardInterrupt())
        assert run(photos, out, "--part-photos", "2") == 130
    assert "Run the same command again" in capsys.readouterr().err
    assert len(files(out)) == after
    assert run(photos, out, "--part-photos", "2") == 0
    assert files(out) == undisturbed
    assert set(statuses(out).values()) == {"protected"}


WRITES = [PHOTOS, ".disrupt/plan/*", ".disrupt/plan.json", ".disrupt/progress/*", "manifest/*", "manifest.parquet", "report.html"]


@pytest.mark.parametrize("names", WRITES)
def test_a_full_disk_stops_with_a_clear_message_and_the_rerun_completes(
    out: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = out.with_name("photos")
    with monkeypatch.context() as patched:
        failing(names, patched, after=0, error=OSError(errno.ENOSPC, "No space left on device"))
        assert run(photos, out, "--part-photos", "2") == 2
    said = capsys.readouterr().err
    assert "no space left. Free some, then run the same command again" in said
    assert not list(out.rglob("*.tmp"))
    assert run(photos, out, "--part-photos", "2") == 0
    assert files(out) == undisturbed


def test_a_stopped_run_leaves_the_folder_unlocked(photos: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        failing(PHOTOS, patched, after=1, error=RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            run(photos, out)
    assert run(photos, out) == 0


def test_the_size_of_parts_changes_no_byte(photos: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    for i, words in enumerate((["--part-photos", "1"], ["--part-photos", "4"], ["--batch-size", "2"])):
        assert run(photos, tmp_path / f"out{i}", *words) == 0
        assert files(tmp_path / f"out{i}") == undisturbed


def test_the_order_of_a_table_changes_no_byte(photos: Path, tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    written = []
    for i, names in enumerate((sorted(NAMES), sorted(NAMES, reverse=True))):
        (photos / f"t{i}.csv").write_text("\n".join(["path", *names]) + "\n")
        assert run(photos / f"t{i}.csv", tmp_path / f"out{i}") == 0
        written.append(files(tmp_path / f"out{i}"))
    assert written[0] == written[1] == undisturbed


def test_measurements_are_the_same_in_every_run(photos: Path, tmp_path: Path) -> None:
    found = []
    for i in range(2):
        assert run(photos, tmp_path / f"out{i}", "--part-photos", str(1 + i)) == 0
        found.append({key: row | {"seconds": 0, "shard": ""} for key, row in rows(tmp_path / f"out{i}").items()})
    assert found[0] == found[1]


def test_an_output_that_was_deleted_does_not_stop_the_report(photos: Path, out: Path) -> None:
    assert run(photos, out) == 0
    for path in out.glob("*.png"):
        path.unlink()
    assert run(photos, out) == 0
