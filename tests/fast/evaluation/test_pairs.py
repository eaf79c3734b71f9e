"""Which protected file belongs to which original, and what is said of those that belong to none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.containers.listing import PhotoRef
from pipeline.containers.naming import output_names
from pipeline.evaluation.flow import fail
from pipeline.evaluation.pairs import ORIGINAL_RENAMED, PROTECTED_RENAMED, Pair, match, pairs_as_table, pairs_of_table
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.manifest import read_manifest
from pipeline.ledger.parts import commit_part
from pipeline.ledger.schema import ManifestRow, rows_to_table
from pipeline.storage import Folder

NAMES = st.lists(st.from_regex(r"[ab](/[ab])?\.(jpg|png|webp)", fullmatch=True), unique=True, max_size=12)


def refs(*keys: str, folder: Path = Path("/nowhere")) -> list[PhotoRef]:
    return [PhotoRef(key, str(folder / key), 1) for key in sorted(keys)]


def row(
    key: str, output: str | None, *, content: bytes = b"", status: str = "protected", reason: str | None = None
) -> dict[str, Any]:
    out = hashlib.sha256(content).hexdigest() if output else None
    came = hashlib.sha256(b"in " + key.encode()).hexdigest()
    return {"key": key, "output": output, "status": status, "reason": reason, "sha256_in": came, "sha256_out": out, "epsilon": 6}


def partners(pairs: list[Pair]) -> dict[str, str | None]:
    return {pair.key: pair.protected.key if pair.protected else None for pair in pairs}


def ends(pairs: list[Pair]) -> dict[str, tuple[str, str]]:
    return {pair.key: (pair.ended.status, pair.ended.reason or "") for pair in pairs if pair.ended}


def test_without_a_manifest_the_name_or_the_name_without_suffix_decides() -> None:
    pairs = match(refs("a.jpg", "in/b.jpg", "c.png", "d.e.jpg"), refs("a.png", "in/b.jpg", "c.png", "d.e.png"), None, whole=True)
    assert partners(pairs) == {"a.jpg": "a.png", "in/b.jpg": "in/b.jpg", "c.png": "c.png", "d.e.jpg": "d.e.png"}
    assert ends(pairs) == {}


@settings(max_examples=30)
@given(NAMES)
def test_what_protect_calls_its_outputs_is_found_again_by_name_alone(keys: list[str]) -> None:
    outputs = output_names(keys, suffix=".png")
    pairs = match(refs(*keys), refs(*outputs.values()), None, whole=True)
    found = partners([pair for pair in pairs if not pair.ended])
    assert found == {key: outputs[key] for key in found}
    assert all(status == "failed" for status, _ in ends(pairs).values())


def test_the_missing_the_strange_and_the_ambiguous_are_named() -> None:
    pairs = match(refs("a.jpg", "b.jpg", "c.jpg", "c.webp"), refs("a.png", "c.png", "z.png"), None, whole=True)
    assert ends(pairs) == {
        "b.jpg": ("missing", "no protected file has its name: renamed?"),
        "c.jpg": ("failed", "cannot tell which protected file is its own: their names differ in nothing but the suffix"),
        "c.webp": ("failed", "cannot tell which protected file is its own: their names differ in nothing but the suffix"),
        "c.png": ("missing", "a protected file to which no original belongs: renamed?"),
        "z.png": ("missing", "a protected file to which no original belongs: renamed?"),
    }


def test_the_manifest_wins_over_names() -> None:
    manifest = [row("a.jpg", "b.png"), row("b.jpg", "a.png")]
    assert partners(match(refs("a.jpg", "b.jpg"), refs("a.png", "b.png"), manifest, whole=True)) == {
        "a.jpg": "b.png",
        "b.jpg": "a.png",
    }


def test_renamed_files_are_found_by_their_content_and_flagged(tmp_path: Path) -> None:
    (tmp_path / "new.png").write_bytes(b"protected a")
    (tmp_path / "other.jpg").write_bytes(b"in b.jpg")
    manifest = [row("a.jpg", "a.png", content=b"protected a"), row("b.jpg", "b.png")]
    originals = [*refs("a.jpg"), *refs("other.jpg", folder=tmp_path)]
    pairs = match(originals, [*refs("b.png"), *refs("new.png", folder=tmp_path)], manifest, whole=True)
    assert partners(pairs) == {"a.jpg": "new.png", "other.jpg": "b.png"}
    assert [pair.flags for pair in pairs] == [(PROTECTED_RENAMED,), (ORIGINAL_RENAMED,)]


def test_files_that_the_manifest_has_and_the_folders_have_not_are_named() -> None:
    manifest = [
        row("gone.jpg", "gone.png"),
        row("lost.jpg", "lost.png"),
        row("cmyk.jpg", None, status="skipped", reason="CMYK"),
        row("cut.jpg", None, status="failed", reason="cut short"),
    ]
    pairs = match(refs("gone.jpg", "cmyk.jpg", "cut.jpg", "late.jpg"), refs("lost.png"), manifest, whole=True)
    assert ends(pairs) == {
        "gone.jpg": ("missing", "its protected file is gone, and no other file there has its content"),
        "lost.png": ("missing", "its original is not among the originals"),
        "cmyk.jpg": ("skipped", "protect skipped: CMYK"),
        "cut.jpg": ("missing", "protect failed: cut short"),
        "late.jpg": ("missing", "the manifest of the protected files has neither its name nor its content: added later?"),
    }
    (lost,) = (pair.ended for pair in pairs if pair.key == "lost.png")
    assert lost is not None
    assert (lost.key, lost.protected) == ("lost.jpg", "lost.png")


def test_with_a_part_of_the_originals_the_other_protected_files_are_no_loss() -> None:
    assert partners(match(refs("a.jpg"), refs("a.png", "b.png"), None, whole=False)) == {"a.jpg": "a.png"}


@pytest.mark.parametrize("which", ["original", "protected"])
def test_a_file_that_is_not_to_be_read_ends_its_pair(which: str) -> None:
    link = PhotoRef("a.png", "/nowhere/a.png", 1, refused="a symbolic link")
    plain = refs("a.png")
    pairs = match([link] if which == "original" else plain, plain if which == "original" else [link], None, whole=True)
    assert ends(pairs) == {"a.png": ("failed", f"{which}: a symbolic link")}


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    assert read_manifest(str(tmp_path)) is None
    (tmp_path / "manifest.parquet").write_bytes(b"no parquet")
    with pytest.raises(LedgerError, match=r"manifest.parquet cannot be read"):
        read_manifest(str(tmp_path))


def test_the_manifest_is_read_from_its_parts_where_they_are(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for name, key in (("000000", "a.jpg"), ("000001", "b.jpg")):
        row = ManifestRow(key=key, status="protected", output=f"{key}.png", sha256_out="0" * 64)
        commit_part(folder, name, rows_to_table([row], shard=name), {})
    rows = read_manifest(str(tmp_path))
    assert rows is not None
    assert [(row["key"], row["output"]) for row in rows] == [("a.jpg", "a.jpg.png"), ("b.jpg", "b.jpg.png")]


def test_a_pair_that_killed_its_process_has_a_row_in_the_stage_where_it_did() -> None:
    (pair,) = match(refs("a.png"), refs("a.png"), None, whole=True)
    (row,) = fail(pair, "look", "its process died")
    assert (row.key, row.protected, row.status, row.stage, row.reason) == ("a.png", "a.png", "failed", "look", "its process died")
    (again,) = pairs_of_table(pairs_as_table([pair]))
    assert again == pair
