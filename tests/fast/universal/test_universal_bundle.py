"""The file of universal perturbations: what comes back, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.universal.bundle import (
    HEADER,
    PERTURBATIONS,
    Broken,
    UniversalError,
    cosines,
    read_universal,
    universal_of,
    write_universal,
)
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.universal.bundles import tiny_file, tiny_universal


def rewritten(path: Path, about: dict[str, Any], perturbations_nCHW: np.ndarray | None = None) -> Path:
    """The bundle with other parts, as somebody with an editor would leave it; an entry None is taken out."""
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()[HEADER]) | about
        own_nCHW = file.get_tensor(PERTURBATIONS) if perturbations_nCHW is None else perturbations_nCHW
    header = {name: value for name, value in header.items() if value is not None}
    save_file({PERTURBATIONS: own_nCHW}, path, {HEADER: json.dumps(header)})
    return path


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = tiny_universal(count=3, networks=(Broken("a", "f1", ("x", "y")), Broken("b", "f2", ("y",))), faces=True)
    read = read_universal(write_universal(tmp_path / "u.safetensors", written))
    assert np.array_equal(read.signals_nCHW, written.signals_nCHW)
    assert (read.count, read.size, read.epsilon, read.faces, read.card) == (3, 32, 6, True, {"steps": 0})
    assert (read.networks, read.classes, read.id) == (written.networks, ("x", "y"), written.id)
    card = json.loads((tmp_path / "u.json").read_text())
    assert (card["count"], card["epsilon"], card["networks"][1]["fingerprint"]) == (3, 6, "f2")


def test_the_id_is_that_of_the_perturbations_alone() -> None:
    assert tiny_universal().id == tiny_universal(card={"other": 1}).id
    assert len({tiny_universal(seed=seed, count=count).id for seed in (0, 1) for count in (1, 2)}) == 4


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"version": 9}, "version 9; this program reads version 1"),
        ({"epsilon": None}, "description is damaged"),
        ({"networks": [{"generator": "a"}]}, "description is damaged"),
        ({"epsilon": 5}, "do not fit its epsilon, 5 levels"),
        ({"epsilon": 65}, "do not fit its epsilon"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path: Path, about: dict[str, Any], message: str) -> None:
    with pytest.raises(UniversalError, match=message):
        read_universal(rewritten(tiny_file(tmp_path), about))


def test_perturbations_that_were_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UniversalError, match="changed since it was written"):
        read_universal(rewritten(tiny_file(tmp_path), {}, np.zeros((1, 4, 32, 32), np.float32)))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UniversalError, match="no such bundle"):
        read_universal(tmp_path / "nowhere")
    (tmp_path / "text").write_text("text")
    with pytest.raises(UniversalError, match="damaged or cut off"):
        read_universal(tmp_path / "text")
    with pytest.raises(UniversalError, match="holds no universal perturbation"):
        read_universal(tiny_bundle(tmp_path))
    short = tiny_file(tmp_path)
    short.write_bytes(short.read_bytes()[:-5])
    with pytest.raises(UniversalError, match="damaged or cut off"):
        read_universal(short)


def test_numbers_that_do_not_belong_into_a_bundle_are_not_written(tmp_path: Path) -> None:
    large = dataclasses.replace(tiny_universal(), budget=5.0)
    nan = universal_of(np.full((1, 4, 4, 4), np.nan, np.float32), epsilon=6, networks=(), faces=False, card={})
    for universal, message in ((large, "larger than epsilon, 5 levels"), (nan, "not all of its numbers are finite")):
        with pytest.raises(UniversalError, match=message):
            write_universal(tmp_path / "u.safetensors", universal)
    assert list(tmp_path.iterdir()) == []


def test_cosines_are_those_of_the_flat_vectors() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    expected = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert cosines(np.stack([a, b, -a])) == pytest.approx(
        np.array([[1, expected, -1], [expected, 1, -expected], [-1, -expected, 1]])
    )
