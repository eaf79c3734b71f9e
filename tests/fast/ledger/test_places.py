"""Input and output lie apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.layout import is_reserved
from pipeline.ledger.places import base_folder, check_places


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("photos", "photos", "is the input itself"),
        ("photos", "photos/", "is the input itself"),
        ("photos", "./other/../photos", "is the input itself"),
        ("photos", "file://{tmp}/photos", "is the input itself"),
        ("photos", "photos/out", "inside the input"),
        (".", "out", "inside the input"),
        ("photos", ".", "inside the output"),
        ("photos/*.jpg", "photos", "is the input itself"),
        ("photos/**/*.jpg", "photos/out", "inside the input"),
        ("photos/20[12]?/a.jpg", "photos/out/deep", "inside the input"),
        ("*.jpg", "out", "inside the input"),
        ("photos/list.csv", "photos", "inside the output"),
        ("link", "photos/out", "inside the input"),
        ("s3://bucket/a", "s3://bucket/a/b", "inside the input"),
        ("s3://bucket/a/", "s3://bucket/a?endpoint_override=x", "is the input itself"),
        ("gs://bucket/a/*.png", "gcs://bucket", "inside the output"),
    ],
)
def test_places_that_overlap_are_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(LedgerError, match=words):
        check_places(source, target.format(tmp=tmp_path))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("photos", "photos2"),
        ("photos2", "photos"),
        ("photos", "out/photos"),
        ("photos/list.csv", "photos/out"),
        ("album [2019]", "out"),
        ("photos/*.jpg", "out"),
        ("photos", "s3://photos/out"),
        ("s3://bucket/a", "s3://bucket/ab"),
        ("s3://a/b", "gs://a/b"),
    ],
)
def test_places_that_lie_apart_are_fine_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album [2019]").mkdir()
    check_places(source, target)
    check_places(Path("photos"), Path("out"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["album [2019]"]


@pytest.mark.parametrize(
    ("glob", "base"),
    [("/*.jpg", "/"), ("a/b*/c", "a"), ("s3://b/x*/y", "s3://b"), ("file:///d/*.jpg", "file:///d"), ("a/b", "a/b")],
)
def test_a_glob_stands_for_the_folder_before_its_wildcard(glob: str, base: str) -> None:
    assert base_folder(glob) == base


def test_no_photo_may_be_written_over_what_belongs_to_the_run() -> None:
    assert all(is_reserved(name) for name in ("manifest.parquet", "Report.HTML", ".disrupt", ".Disrupt/x.png"))
    assert not any(is_reserved(name) for name in ("a/manifest.parquet", ".disrupted/x.png", "report.png"))


def test_the_question_mark_of_a_storage_option_is_no_wildcard() -> None:
    options = "?endpoint_override=localhost:9000"
    assert base_folder(f"s3://bucket/in{options}") == f"s3://bucket/in{options}"
    assert base_folder(f"s3://bucket/in/*.jpg{options}") == f"s3://bucket/in{options}"
    check_places(f"s3://bucket/in{options}", f"s3://bucket/out{options}")
