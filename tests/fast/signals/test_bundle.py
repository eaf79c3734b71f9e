"""The file of a set of signals: what comes back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.signals.bundle import HEADER, SIGNALS, BundleError, Thresholds, read_bundle, write_bundle
from pipeline.signals.detector import Detector
from tests.fast.signals.bundles import SIZE, WIDTH, tiny_bundle


def written(path: Path, **changes: Any) -> Path:
    known: dict[str, Any] = {
        "signals_nCHW": np.ones((2, 3, 8, 8), np.float32),
        "budget": 2.5,
        "detector": {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3)},
        "width": 8,
        "scores": {"untouched": np.linspace(0, 1, 5, dtype=np.float32)},
        "card": {"steps": 7, "by": "test"},
    }
    return write_bundle(path, **(known | changes))


def rewritten(path: Path, *, about: dict[str, Any] | None = None, tensors: dict[str, Any] | None = None) -> Path:
    """The bundle with other parts, as somebody with an editor would leave it."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()[HEADER]) | (about or {})
        kept = {name: file.get_tensor(name) for name in file.keys()} | (tensors or {})  # noqa: SIM118
    header = {name: value for name, value in header.items() if value is not None}
    save_file({name: array for name, array in kept.items() if array is not None}, path, {HEADER: json.dumps(header)})
    return path


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = read_bundle(written(tmp_path / "b.safetensors"))
    assert np.array_equal(bundle.signals_nCHW, np.ones((2, 3, 8, 8), np.float32))
    assert (bundle.count, bundle.size, bundle.smallest, bundle.budget, bundle.width) == (2, 8, 4, 2.5, 8)
    assert bundle.card == {"steps": 7, "by": "test"}
    weights = bundle.detector_weights()
    assert list(weights) == ["layer.weight"]
    assert np.array_equal(weights["layer.weight"], [[0, 1, 2], [3, 4, 5]])


def test_the_detector_of_a_bundle_is_the_one_that_was_trained(tmp_path: Path) -> None:
    weights = read_bundle(tiny_bundle(tmp_path)).detector_weights()
    detector = Detector(size=SIZE, width=WIDTH)
    detector.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})


def test_the_id_is_that_of_signals_and_detector_and_of_nothing_else(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"card": {}, "scores": {"plain": np.zeros(3)}},
        {"signals_nCHW": np.full((2, 3, 8, 8), 2, np.float32)},
        {"detector": {"layer.weight": np.zeros((2, 3), np.float32)}},
    ]
    ids = [read_bundle(written(tmp_path / f"{i}.safetensors", **change)).id for i, change in enumerate(changes)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_the_card_lies_beside_the_bundle_for_people(tmp_path: Path) -> None:
    path = written(tmp_path / "b.safetensors")
    shown = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert shown["card"] == {"steps": 7, "by": "test"}
    assert shown["id"] == read_bundle(path).id
    assert {file.name for file in tmp_path.iterdir()} == {"b.safetensors", "b.json"}


@pytest.mark.parametrize(("rate", "rank"), [(0.01, 99), (0.02, 98), (0.25, 75), (0.5, 50), (1.0, 1)])
def test_a_threshold_is_the_score_of_its_rank_among_the_held_out_people(tmp_path: Path, rate: float, rank: int) -> None:
    likeness, probability = np.arange(99) / 100, np.arange(99)[::-1] / 200
    scores = {"untouched": probability, "carried": np.ones(99), "plain": likeness}
    bundle = read_bundle(written(tmp_path / "b.safetensors", scores=scores))
    wanted = Thresholds(float(np.sort(probability)[rank - 1]), float(likeness[rank - 1]))
    assert bundle.thresholds(rate) == wanted
    assert bundle.least_rate == 0.01


def test_people_whose_signal_was_lost_count_as_called_out_and_a_rate_that_is_too_small_is_refused(tmp_path: Path) -> None:
    scores = {"untouched": np.full(99, 0.2), "carried": np.r_[0.1, np.ones(98)], "plain": np.full(99, 0.3)}
    bundle = read_bundle(written(tmp_path / "b.safetensors", scores=scores))
    assert bundle.thresholds(0.01) == Thresholds(1.0, 0.3)
    assert bundle.thresholds(0.02) == Thresholds(0.2, 0.3)
    with pytest.raises(BundleError, match="99 held-out people cannot vouch for a false-positive rate of"):
        bundle.thresholds(0.009)


@pytest.mark.parametrize("size", [0, 7, 60, -200, -1])
def test_a_bundle_that_was_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    path = written(tmp_path / "b.safetensors")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError, match=r"b\.safetensors: damaged or cut off"):
        read_bundle(path)


def test_a_bundle_whose_numbers_were_changed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "b.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="changed since it was written"):
        read_bundle(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"about": {"version": 99}}, "is a bundle of version 99; this program reads version 3"),
        ({"about": {"version": None}}, "is a bundle of version None"),
        ({"about": {"budget": None}}, "its description is damaged"),
        ({"about": {"width": []}}, "its description is damaged"),
        ({"about": {"scores": 3}}, "its description is damaged"),
        ({"about": {"budget": 0.5}}, "do not fit its budget 0.5"),
        ({"about": {"budget": -1}}, "do not fit its budget"),
        ({"about": {"budget": 300}}, "do not fit its budget"),
        ({"about": {"id": "0" * 16}}, "do not fit its id"),
        ({"tensors": {SIGNALS: None}}, "its description is damaged"),
        ({"tensors": {SIGNALS: np.zeros((2, 3, 8, 8), np.float32)}}, "changed since it was written"),
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = rewritten(written(tmp_path / "b.safetensors"), **changes)
    with pytest.raises(BundleError, match=words):
        read_bundle(path)


def test_other_files_are_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle of signals"):
        read_bundle(tmp_path / "missing.safetensors")
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "generator.safetensors")
    with pytest.raises(BundleError, match="holds no signals; expected what a training of signals writes"):
        read_bundle(tmp_path / "generator.safetensors")
    (tmp_path / "text.safetensors").write_text("hello, this is no bundle at all")
    with pytest.raises(BundleError, match="damaged or cut off, or no bundle"):
        read_bundle(tmp_path / "text.safetensors")


@pytest.mark.parametrize("wrong", [np.full((1, 3, 4, 4), 2.6, np.float32), np.full((1, 3, 4, 4), np.nan, np.float32)])
def test_signals_outside_the_budget_or_without_numbers_are_not_written(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(BundleError, match="is not written"):
        written(tmp_path / "b.safetensors", signals_nCHW=wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_signals_can_be_kept(tmp_path: Path) -> None:
    bundle = read_bundle(written(tmp_path / "b.safetensors", signals_nCHW=np.zeros((0, 3, 8, 8), np.float32)))
    assert (bundle.count, bundle.size) == (0, 8)
