"""The table of signals: its measures and intervals on known scores, its attacks on small photos."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from pipeline.signals.bundle import read_bundle
from pipeline.tables.__main__ import main
from pipeline.tables.nets import one_of_each, photos_of
from pipeline.tables.signals.attacks import outcomes, residue
from pipeline.tables.signals.scores import (
    ACTIVE,
    DIFFERENCE,
    PASSIVE,
    UNTOUCHED,
    numbers_of,
    read_photos,
    sign,
    translator,
)
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import BUILD, photo_bytes

LOW, HALF, HIGH = (np.linspace(low, high, 20) - 0.5 for low, high in ((0, 0.4), (0.5, 0.5), (0.6, 1)))
PERFECT = {(UNTOUCHED, "clean"): LOW, ("G", "clean"): HIGH}
BLIND = {(UNTOUCHED, "clean"): HALF, ("G", "clean"): HALF}
G = {("G", "seen"): ["G"]}


def faces(folder: Path, count: int = 30) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}.png").write_bytes(photo_bytes(32, 32, seed=i, suffix=".png"))
    return folder


def test_perfect_against_blind_detectors_differ_by_half_in_ap_with_no_spread() -> None:
    found = numbers_of({ACTIVE: [PERFECT, PERFECT], PASSIVE: [BLIND]}, G, ["clean"], times=30)
    ap = {n.method: n for n in found if n.measure == "AP"}
    assert (ap[ACTIVE].mean, ap[PASSIVE].mean, ap[DIFFERENCE].mean) == pytest.approx((1.0, 0.5, 0.5))
    assert (ap[DIFFERENCE].low, ap[DIFFERENCE].high) == pytest.approx((0.5, 0.5))
    wanted = {"AP": 1.0, "ROC-AUC": 1.0, "TPR at the decision": 1.0, "FPR at the decision": 0.0}
    assert {n.measure: n.mean for n in found if n.method == ACTIVE} == pytest.approx(wanted)


def test_seeds_that_disagree_widen_the_interval_to_both() -> None:
    found = numbers_of({ACTIVE: [PERFECT, BLIND], PASSIVE: []}, G, ["clean"], times=60)
    ap = next(n for n in found if n.measure == "AP")
    assert (ap.mean, ap.low, ap.high) == pytest.approx((0.75, 0.5, 1.0))
    assert {n.method for n in found} == {ACTIVE}


def test_the_mean_over_generators_is_the_mean_of_their_numbers() -> None:
    both = {**PERFECT, ("H", "clean"): PERFECT[UNTOUCHED, "clean"]}
    lines = G | {("H", ""): ["H"], ("m", ""): ["G", "H"]}
    found = numbers_of({ACTIVE: [both]}, lines, ["clean"], times=5)
    auc = {n.who: n.mean for n in found if n.measure == "ROC-AUC"}
    assert auc == pytest.approx({"G": 1.0, "H": 0.5, "m": 0.75})


def test_averaging_finds_a_signal_that_photos_of_one_tint_share(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path))
    signal = sign([np.full((16, 16, 3), 128, np.uint8)], bundle)[0].astype(float) - 128
    guess = residue(sign([np.full((16, 16, 3), 100 + i, np.uint8) for i in range(10)], bundle))
    assert np.corrcoef(guess.ravel(), signal.ravel())[0, 1] > 0.9


def test_every_attack_has_a_share_and_averages_need_enough_photos(tmp_path: Path) -> None:
    bundle = read_bundle(tiny_bundle(tmp_path))
    photos = read_photos(sorted(faces(tmp_path / "faces").iterdir()), 24)
    found = list(outcomes(bundle, photos[:6], photos, translator(BUILD, group="seen")))
    assert all(0 <= share <= 1 for _, share, _ in found)
    names = " ".join(attack for attack, _, _ in found)
    assert "mean of 10 signed photos" in names
    assert "mean of 100" not in names
    assert "that of another photo" in names


def test_the_command_writes_numbers_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, count in (("a", 2), ("p", 0)):
        (tmp_path / name).mkdir()
        tiny_bundle(tmp_path / name, count=count)
    words = [
        "table-signals",
        "--no-tracking",
        "--faces",
        str(faces(tmp_path / "faces")),
        "--out",
        str(tmp_path / "out"),
        "--channels",
        "jpeg-85",
        "--bootstrap",
        "10",
    ]
    words += ["--active", str(tmp_path / "a" / "bundle.safetensors"), "--passive", str(tmp_path / "p" / "bundle.safetensors")]
    assert main([*words, "--photos", "20", "--seen", BUILD, "--chose", "--unseen", "tests.fast.tiny:build_other"]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table-signals.csv").read_text())))
    assert {row["channel"] for row in rows} == {"clean", "jpeg-85"}
    assert {row["who"] for row in rows} == {BUILD, "tests.fast.tiny:build_other", "mean, trained on", "mean, neither"}
    page = (tmp_path / "out" / "table-signals.md").read_text()
    assert "tests.fast.tiny:build_other (neither): passive" in page
    assert str(tmp_path) not in page
    assert main([*words, "--photos", "3"]) == 2
    assert "--photos" in capsys.readouterr().err


def test_each_person_is_measured_once(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,split,identity\na.jpg,test,p\nb.jpg,test,q\nc.jpg,test,p\n")
    listed = photos_of(tmp_path, "test")
    first = next(path.name for path in listed if path.name != "b.jpg")
    assert {path.name for path in one_of_each(tmp_path, listed)} == {first, "b.jpg"}
    assert one_of_each(tmp_path / "no table", listed) == listed
