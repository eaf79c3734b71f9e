"""Rows of the manifest: what they may say, and how they become a table."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, cast

import pytest

from pipeline.ledger.errors import LedgerError
from pipeline.ledger.schema import IDENTITY, MANIFEST, STATUSES, ManifestRow, rows_to_table

SHARD = "0123456789abcdef"
GOOD = ManifestRow(
    key="b.jpg",
    status="protected",
    output="b.png",
    sha256_out="f" * 64,
    classes=["blond", "young"],
    class_l1=[0.1, 0.2],
    class_l2=[0.3, 0.4],
    psnr=math.inf,
    moved=True,
    epsilon=6,
)


def test_the_fields_of_a_row_are_the_columns_of_the_manifest() -> None:
    assert {field.name for field in fields(ManifestRow)} == set(MANIFEST.names) | set(IDENTITY)
    assert MANIFEST.names[-1] == "shard"


def test_rows_come_back_from_the_table_as_they_were_and_sorted_by_key() -> None:
    other = ManifestRow.failed("a.jpg", stage="decode", reason="the file is cut off", bytes_in=7)
    table = rows_to_table([GOOD, other], shard=SHARD)
    assert table.schema == MANIFEST
    assert [ManifestRow(**row) for row in table.to_pylist()] == [replace(other, shard=SHARD), replace(GOOD, shard=SHARD)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": ""}, "no key"),
        ({"status": "done"}, "none of protected"),
        ({"stage": "think"}, "none of list"),
        ({"status": "failed"}, "stage and a reason"),
        ({"status": "skipped", "stage": "decode"}, "stage and a reason"),
        ({"output": None}, "needs an output"),
        ({"sha256_out": None}, "needs an output"),
        ({"class_l1": [0.1]}, "differ in length"),
        ({"width": "wide"}, "shard "),
        ({"width": 2**40}, "shard "),
        ({"key": "\udcff.jpg"}, "no valid text"),
    ],
)
def test_a_row_that_says_too_little_or_nonsense_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(LedgerError, match=words):
        rows_to_table([replace(GOOD, **change)], shard=SHARD)


def test_two_rows_of_one_key_are_refused() -> None:
    with pytest.raises(LedgerError, match=r"two rows for 'b\.jpg'"):
        rows_to_table([GOOD, replace(GOOD, output="c.png")], shard=SHARD)


def test_a_reason_with_bytes_that_are_no_text_is_kept_as_escapes() -> None:
    table = rows_to_table([ManifestRow.skipped("a", stage="list", reason="name \udcff")], shard=SHARD)
    assert table["reason"].to_pylist() == ["name \\udcff"]


def test_every_status_has_a_way_into_the_manifest() -> None:
    rows = [replace(GOOD, key=status, status=cast(Any, status), stage="verify", reason="because") for status in STATUSES]
    assert sorted(rows_to_table(rows, shard=SHARD)["status"].to_pylist()) == sorted(STATUSES)
