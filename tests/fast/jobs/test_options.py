"""Words about names that are not known, and the number of processes."""

from __future__ import annotations

import os

import pytest

from pipeline import unknown_name
from pipeline.channels.channels import CHANNELS, GROUPS, find_channels
from pipeline.generators.zoo import ZOO, load_generator
from pipeline.jobs.options import Compute, one_of
from tests.fast.tiny import build


def test_a_near_name_is_suggested_beside_all_of_them() -> None:
    assert unknown_name("recipe", "pdg", ["fgsm", "pgd"]) == "recipe 'pdg' is unknown; did you mean pgd? (known: fgsm, pgd)"


@pytest.mark.parametrize(
    ("refuse", "known"),
    [
        (load_generator, ZOO),
        (lambda name: find_channels([name]), [*GROUPS, *CHANNELS]),
        (lambda name: build().select_classes([name]), ["Smile", "Glasses"]),
        (lambda name: build().features("Smile", name), ["main.0", "main.1"]),
        (lambda name: one_of("--ball", name, ("linf", "l2")), ["linf", "l2"]),
    ],
)
def test_without_a_near_name_one_sentence_lists_what_there_is(refuse: object, known: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^[^.?!;]*'~~~~' is unknown; known: .*[^.;]$") as refusal:
        refuse("~~~~")  # type: ignore[operator]
    listed = str(refusal.value).partition("known: ")[2].split(", ")
    assert set(known) <= set(listed)
    assert "did you mean" not in str(refusal.value)


def test_auto_goes_to_ray_and_counts_the_processes_of_this_machine_before_there_is_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    auto = Compute(actors="auto", threads=2)
    auto.check()
    assert auto.on_ray(1) and auto.known_actors == 4
    assert Compute(actors="auto", threads=16).known_actors == 1
    assert Compute(actors=3, threads=2).known_actors == 3
