"""Runs of `disrupt protect` on real small folders with the local engine, from the words of the call to files and rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.generators.checkpoint import save_weights
from tests.fast.runs import files, rows, run, statuses
from tests.fast.tiny import CLASSES, build, photo_bytes, photo_folder, picture

FLAT, BROKEN = "tests.fast.tiny:build_flat", "tests.fast.tiny:build_broken"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and its plots take a second a run and have tests of their own."""
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


def test_only_deliberately_skipped_photos_are_no_failure(photos: Path, out: Path) -> None:
    (photos / "dot.png").write_bytes(photo_bytes(1, 1, suffix=".png"))
    assert run(photos, out) == 0


def test_files_are_within_epsilon_of_the_photo_and_as_the_manifest_says(photos: Path, out: Path) -> None:
    assert run(photos, out, "--epsilon", "9") == 0
    for key, row in rows(out).items():
        before = np.asarray(Image.open(photos / key)).astype(int)
        after = np.asarray(Image.open(out / row["output"])).astype(int)
        assert np.abs(after - before).max() == row["linf_levels"] <= 9
        assert hashlib.sha256((out / row["output"]).read_bytes()).hexdigest() == row["sha256_out"]
        assert hashlib.sha256((photos / key).read_bytes()).hexdigest() == row["sha256_in"]
        assert row["disrupted"] == 1
        assert row["classes"] == ["Smile", "Glasses"]


def test_metadata_orientation_alpha_and_grey_are_kept(tmp_path: Path, out: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    picture(30, 20).save(photos / "turned.jpg", exif=exif, icc_profile=b"profile" * 20)
    picture(20, 20, mode="L").save(photos / "grey.png")
    transparent = picture(20, 20)
    transparent.putalpha(Image.linear_gradient("L").resize((20, 20)))
    transparent.save(photos / "alpha.png")
    assert run(photos, out, "--epsilon", "12") == 0
    with Image.open(out / "turned.png") as turned:
        assert turned.size == (30, 20)
        assert (turned.getexif()[0x0112], turned.getexif()[0x010F]) == (6, "Camera")
        assert turned.info["icc_profile"] == b"profile" * 20
    with Image.open(out / "grey.png") as grey, Image.open(out / "alpha.png") as alpha:
        assert grey.mode == "L"
        assert np.array_equal(np.asarray(alpha)[..., 3], np.asarray(transparent)[..., 3])


def test_a_photo_that_does_not_move_or_is_not_broken_is_said_to_be_so(photos: Path, out: Path, tmp_path: Path) -> None:
    assert run(photos, out, "--recipe", "fgsm", "--start", "clean") == 1
    assert all("did not move" in row["reason"] for row in rows(out).values())
    assert all(not row["moved"] and row["linf_levels"] == 0 for row in rows(out).values())
    assert run(photos, tmp_path / "flat", generator=FLAT) == 1
    assert {row["reason"] for row in rows(tmp_path / "flat").values()} == {"L2 below 0.05 for same"}


def test_a_generator_without_numbers_fails_every_photo_with_the_reason(photos: Path, out: Path) -> None:
    assert run(photos, out, generator=BROKEN) == 1
    assert set(statuses(out).values()) == {"failed"}
    assert all("not numbers" in row["reason"] or "not a number" in row["reason"] for row in rows(out).values())
    assert files(out) == {}


def test_the_same_call_again_does_nothing(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, out) == 0
    before, times = files(out), {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert run(photos, out) == 0
    assert "3 are done already; 0 to go" in capsys.readouterr().out
    assert files(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times


def test_a_new_photo_is_added_to_a_finished_run(photos: Path, out: Path) -> None:
    assert run(photos, out) == 0
    before = files(out)
    (photos / "d.jpg").write_bytes(photo_bytes(seed=4))
    assert run(photos, out) == 0
    assert files(out).items() > before.items()
    assert statuses(out)["d.jpg"] == "protected"


def test_other_options_on_the_same_folder_are_refused_with_what_differs(
    photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photos, out) == 0
    before = files(out)
    assert run(photos, out, "--epsilon", "9", "--seed", "4") == 2
    said = capsys.readouterr().err
    assert "epsilon: 6 there, 9 now; seed: 0 there, 4 now" in said
    assert files(out) == before


def test_failed_photos_are_tried_again_when_asked(photos: Path, out: Path) -> None:
    (photos / "late.jpg").write_bytes(photo_bytes(seed=5)[:-200])
    assert run(photos, out) == 1
    (photos / "late.jpg").write_bytes(photo_bytes(seed=5))
    assert run(photos, out) == 1
    assert statuses(out)["late.jpg"] == "failed"
    before = files(out)
    assert run(photos, out, "--retry-failed") == 0
    assert statuses(out)["late.jpg"] == "protected"
    assert files(out).items() > before.items()


def test_a_limit_takes_the_first_names_and_the_rest_follows_later(photos: Path, out: Path, tmp_path: Path) -> None:
    (photos / "a.png").write_bytes(photo_bytes(seed=6, suffix=".png"))  # wants the same output name as a.jpg
    assert run(photos, out, "--limit", "1") == 0
    assert list(statuses(out)) == ["a.jpg"]
    assert run(photos, out) == 0
    assert run(photos, tmp_path / "at-once") == 0
    assert files(out) == files(tmp_path / "at-once")
    assert set(files(out)) == {"a.png", "a.jpg.png", "b.png", "in/c.png"}


def test_a_dry_run_estimates_and_writes_nothing(photos: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path.cwd().iterdir())
    assert run(photos, out, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 photos" in said
    assert "s a photo" in said
    assert "MB of png files" in said
    assert not out.exists()
    assert sorted(Path.cwd().iterdir()) == before


def test_a_dry_run_without_a_usable_photo_says_so(tmp_path: Path, out: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").write_bytes(b"text")
    assert run(tmp_path / "photos", out, "--dry-run") == 1


def test_options_of_a_yaml_file_reach_the_run(photos: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("epsilon: 3\nclasses: [Glasses]\nseed: 5\n")
    assert run(photos, out, "--config", str(tmp_path / "c.yaml"), "--epsilon", "8") == 0
    for row in rows(out).values():
        assert row["epsilon"] == 8
        assert row["classes"] == ["Glasses"]


def test_an_output_that_was_deleted_is_made_again(photos: Path, out: Path) -> None:
    code = run(photos, out)
    before = files(out)
    gone = sorted(before)[1]
    (out / gone).unlink()
    assert run(photos, out) == code
    assert files(out) == before
    assert len(rows(out)) == len(before)


def test_a_record_that_names_an_output_outside_the_folder_is_refused(
    photos: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photos, out) == 0
    part = sorted((out / "manifest").iterdir())[0]
    table = pq.read_table(part)
    names = pa.array(["../stolen.png", *table["output"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index("output"), "output", names), part)
    assert run(photos, out) == 2
    assert "'../stolen.png': name leaves the output folder" in capsys.readouterr().err
    assert not (tmp_path / "stolen.png").exists()


@pytest.mark.parametrize("card", [{"blur": "1"}, {"size": "32"}])
def test_a_run_is_not_gone_on_with_by_a_generator_of_the_same_weights_and_other_outputs(
    photos: Path, out: Path, tmp_path: Path, card: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    weights, plain = tmp_path / "w.safetensors", {"classes": json.dumps(CLASSES), "size": "16"}
    for metadata in (plain, plain | card):
        save_weights(build().net, weights, metadata=metadata)
        code = run(photos, out, "--weights", str(weights), generator="stargan")
        assert (code == 2) == (metadata != plain)
    assert "holds another run, made by another version of the program or with other weights" in capsys.readouterr().err


def test_a_slash_after_the_input_folder_is_the_same_run(photos: Path, out: Path) -> None:
    code = run(photos, out)
    assert run(f"{photos}/", out) == code != 2
