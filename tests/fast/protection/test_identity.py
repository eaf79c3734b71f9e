"""`--identity` of protect and evaluate, from the words of the call to rows, numbers and pages.

A made-up recogniser stands in for dlib's: its distance is the mean difference of two pictures, and it sees nobody in a dark photo.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

from pipeline.disruption.view import Region
from pipeline.evaluation.report import identity_lines
from pipeline.evaluation.row import EvaluationRow, as_table, evaluation_schema
from pipeline.evaluation.summary import as_csv, summarise_table
from pipeline.generators.generator import Generator
from pipeline.images.effect import as_pictures
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import U8
from pipeline.ledger.schema import IDENTITY, MANIFEST, ManifestRow, manifest_schema, rows_to_table
from pipeline.photos import identity
from pipeline.photos.identity import Person
from pipeline.protection.report import identity_line, terminal_table
from pipeline.protection.stages.measure import look, measure
from pipeline.protection.summary import summarise
from pipeline.protection.sums import merged, sums_of
from tests.fast import runs, tiny
from tests.fast.runs import files, rows
from tests.verbs import evaluate, protect

DARK = 40
BUILD_LARGE = "tests.fast.protection.test_identity:build_large"
needs_recogniser = pytest.mark.skipif(identity.recogniser_version() is None, reason="the extra identity is not installed")


def build_large() -> Generator:
    """The tiny generator on pictures in which a face can be found."""
    return dataclasses.replace(tiny.build(), size=64)


def look_for(photo_HWC: U8) -> Person | None:
    return None if photo_HWC.mean() < DARK else Person(None, photo_HWC.astype(np.float64))


def differ(person: Person | None, picture_HWC: U8) -> float:
    return math.nan if person is None else float(np.abs(picture_HWC - person.embedding).mean() / 255)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "recogniser_version", lambda: "made up")
    for module in ("pipeline.protection.stages.measure", "pipeline.evaluation.measures"):
        monkeypatch.setattr(f"{module}.find_person", look_for)
        monkeypatch.setattr(f"{module}.distance", differ)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos as the tiny generator sees them, and a dark one."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed, light in (("a.png", 1, 1.0), ("b.png", 2, 1.0), ("dark.png", 3, 0.1)):
        pixels = np.asarray(tiny.picture(16, 16, seed=seed)) * light
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return folder


def outputs(path: Path) -> tuple[U8, list[U8]]:
    """A picture of 16 px, and what the tiny generator makes of it in each class."""
    pixels = np.asarray(Image.open(path))
    generator = tiny.build()
    with torch.no_grad():
        made = [as_pictures(generator(pixels_to_tensor(pixels), name))[0] for name in generator.classes]
    return pixels, made


@pytest.mark.usefixtures("made_up")
def test_both_verbs_write_how_far_broken_and_clean_outputs_are_from_the_photo(photos: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "out", tmp_path / "results"
    runs.run(photos, out, "--identity", "--epsilon", "24")
    words = ["--identity", "--out", str(results), "--generator", tiny.BUILD, "--no-tracking", "--engine", "local"]
    assert evaluate([str(photos), str(out), *words]) == 0
    by_hand = {}
    for key, row in rows(out).items():
        photo, clean = outputs(photos / key)
        _, broken = outputs(out / row["output"])
        by_hand[key] = [[differ(look_for(photo), y) for y in made] for made in (broken, clean)]
        found = [row["class_identity"], row["class_identity_clean"]]
        assert found == ([[None, None]] * 2 if key == "dark.png" else [pytest.approx(values) for values in by_hand[key]])
    for measured in pq.read_table(results / "evaluation.parquet").to_pylist():
        expected = [values[["Smile", "Glasses"].index(measured["class"])] for values in by_hand[measured["key"]]]
        assert (measured["identity"] is None) == (measured["key"] == "dark.png")
        if measured["identity"] is not None:
            assert [measured["identity"], measured["identity_clean"]] == pytest.approx(expected)
    for page in (out / "report.html", results / "report.html"):
        assert "no face found in the photo of 2 of 6" in page.read_text()


@pytest.mark.usefixtures("made_up")
def test_a_run_without_it_has_the_same_files_and_columns_as_before(photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    runs.run(photos, out)
    runs.run(photos, other, "--identity")
    assert files(out) == files(other)
    assert pq.read_schema(out / "manifest.parquet").names == MANIFEST.names
    assert not set(IDENTITY) & set(MANIFEST.names)
    added = [name for name in pq.read_schema(other / "manifest.parquet").names if name not in MANIFEST.names]
    assert tuple(added) == IDENTITY
    assert "identity" not in (out / "report.html").read_text()
    for key, row in rows(out).items():
        same = {name: value for name, value in row.items() if name not in ("seconds", "signature")}
        assert same.items() <= rows(other)[key].items()
    words = ["--generator", tiny.BUILD, "--no-tracking", "--engine", "local", "--out"]
    assert evaluate([str(photos), str(out), *words, str(tmp_path / "without")]) == 0
    assert evaluate([str(photos), str(out), *words, str(tmp_path / "with"), "--identity"]) == 0
    without, with_it = (pq.read_table(tmp_path / name / "evaluation.parquet") for name in ("without", "with"))
    assert without.equals(with_it.select(without.column_names))
    heads = [(tmp_path / name / "summary.csv").read_text().splitlines() for name in ("without", "with")]
    assert all(long.startswith(f"{short},") for short, long in zip(*heads, strict=True))
    assert "identity" not in (tmp_path / "without" / "report.html").read_text()


@pytest.mark.usefixtures("made_up")
def test_a_run_goes_on_with_the_same_choice_only(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    runs.run(photos, out, "--identity", "--limit", "1")
    runs.run(photos, out, "--identity")
    assert [row["class_identity"] is None for row in rows(out).values()] == [False] * 3
    capsys.readouterr()
    assert runs.run(photos, out) == 2
    assert "identity" in capsys.readouterr().err


def test_without_the_extra_it_is_refused_before_any_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(identity, "recogniser_version", lambda: None)
    words = [str(photos), str(tmp_path / "out"), "--identity", "--generator", tiny.BUILD, "--no-tracking"]
    for verb, more in ((protect, []), (evaluate, ["--out", str(tmp_path / "results")])):
        assert verb([*words, *more]) == 2
        assert "pip install 'disrupt[identity]'" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_where_no_network_is_loaded_it_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--identity", "--recipe", "none", "--signals", "shipped"]
    assert protect([str(photos), str(tmp_path / "out"), *words]) == 2
    assert "--identity measures what networks make of the files" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("made_up")
def test_neither_the_batch_nor_its_order_changes_a_number() -> None:
    pictures = [np.asarray(tiny.picture(16, 16, seed=seed)) for seed in range(4)]
    before = torch.cat([pixels_to_tensor(one) for one in pictures])
    after = (before + 0.05 * torch.randn(before.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    region = Region((0, 0, 16, 16), 1, ((0, 0, 16, 16),), (0,))

    def numbers(order: list[int]) -> dict[int, list[tuple[float, float]]]:
        regions = [region] * len(order)
        clean = look([tiny.build()], (), before[order], regions, identity=True)
        found = measure(clean, range(len(order)), after[order], regions)
        return {i: [(one.identity, one.identity_clean) for one in boxes[0]] for i, boxes in zip(order, found, strict=True)}

    together, turned = numbers([0, 1, 2, 3]), numbers([2, 0, 3, 1])
    assert len({value for pairs in together.values() for pair in pairs for value in pair}) == 16
    for i, pairs in together.items():
        assert turned[i] == [pytest.approx(pair, abs=1e-3) for pair in pairs]  # a batch may round an output to the next level
        assert numbers([i])[i] == [pytest.approx(pair, abs=1e-3) for pair in pairs]


def row(key: str, broken: list[float | None], clean: list[float | None], **changes: Any) -> ManifestRow:
    known: dict[str, Any] = {name: [0.1, 0.2] for name in ("class_l1", "class_l2", "class_levelled", "class_local", "class_lost")}
    known |= {"class_ssim": [0.5, 0.5], "class_edit": [0.1, 0.1], "classes": ["A", "B"], "linf_levels": 6, "psnr": 35.0}
    known |= {"class_identity": broken, "class_identity_clean": clean, "output": key, "sha256_out": "0", "seconds": 1.0}
    return ManifestRow(key=key, status="protected", region="square", **(known | changes))


def test_the_numbers_of_a_run_are_means_over_those_who_are_seen_in_any_cut() -> None:
    some = [row("a", [0.6, 0.9], [0.2, 0.7]), row("b", [None, None], [None, None]), row("c", [0.3, 0.8], [0.1, 0.6])]
    failed = ManifestRow.failed("d", stage="read", reason="gone")
    schema = manifest_schema(identity=True)
    tables = [rows_to_table(part, shard="s", schema=schema) for part in (some[:1], some[1:2], [failed], some[2:])]
    for order in ((0, 1, 2, 3), (2, 3, 1, 0)):
        sums = merged(json.loads(json.dumps(sums_of(tables[i]))) for i in order)
        found = summarise(sums).identities
        assert dataclasses.astuple(found["A"]) == pytest.approx((2, 0.45, 0.5, 0.15, 0.0))
        assert dataclasses.astuple(found["B"]) == pytest.approx((2, 0.85, 1.0, 0.65, 1.0))
        assert dataclasses.astuple(found["all classes"]) == pytest.approx((4, 0.65, 0.75, 0.4, 0.5))
        assert identity_line(summarise(sums)) == (
            "identity: distance to the photo 0.400 of clean and 0.650 of broken outputs; another person (at least 0.6) in 50.0 and "
            "75.0 %; no face found in the photo of 2 of 6 samples"
        )
    printed = io.StringIO()
    Console(file=printed, width=200).print(terminal_table(summarise(merged(map(sums_of, tables)))))
    assert printed.getvalue().count("identity: distance") == 1


def test_the_numbers_of_an_evaluation_are_means_over_those_who_are_seen() -> None:
    def measured(key: str, broken: float | None, clean: float | None) -> EvaluationRow:
        known: dict[str, Any] = dict.fromkeys(("l1", "l2", "levelled", "local", "lost", "output_ssim", "edit", "l2_mask"), 0.1)
        known |= {"mask_share": 0.5, "floor_l2": 0.0, "success_mask": True, "disrupted": True, "linf_levels": 6, "psnr": 35.0}
        known |= {"generator": "g", "class_name": "A", "channel": "clean", "identity": broken, "identity_clean": clean}
        return EvaluationRow(key=key, status="measured", **known)

    some = [measured("a", 0.6, 0.2), measured("b", 0.9, 0.61), measured("c", None, None), measured("d", 0.3, 0.1)]
    table = as_table(some, evaluation_schema(identity=True))
    summary = summarise_table(table, generators=["g"], channels=["clean"], classes=["A"], bootstrap=200, seed=0)
    line = summary.line("g", "clean")
    assert line is not None
    assert [line.mean(name) for name in ("with_person", "identity", "identity_clean")] == pytest.approx([0.75, 0.6, 0.91 / 3])
    assert [line.mean(name) for name in ("other_person", "other_person_clean")] == pytest.approx([2 / 3, 1 / 3])
    low, high = line.interval("identity")
    assert 0.3 <= low < 0.6 < high <= 0.9
    assert "other_person_clean_high" in as_csv(summary)
    (said,) = identity_lines(summary)
    assert said.endswith("another person (at least 0.6) in 33.3 and 66.7 %; no face found in the photo of 1 of 4 pairs")


@needs_recogniser
def test_the_recogniser_itself_tells_outputs_from_photos(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("openpeople_P001_00_neutral.jpg", "openpeople_P009_00_neutral.jpg"):
        (tmp_path / "photos" / name).write_bytes((shared / "data" / "faces" / name).read_bytes())
    for number in range(2):
        runs.run(tmp_path / "photos", tmp_path / f"out{number}", "--identity", "--limit", f"{2 - number}", generator=BUILD_LARGE)
    both, alone = rows(tmp_path / "out0"), rows(tmp_path / "out1")
    assert len(both) == 2
    for key, found in alone.items():
        assert [found[name] for name in IDENTITY] == [both[key][name] for name in IDENTITY]
        assert all(value is not None and 0 < value < 2 for name in IDENTITY for value in found[name])
