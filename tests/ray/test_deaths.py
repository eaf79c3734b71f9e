"""Processes that die under a run on Ray: a deadly photo costs its own row and no other's, an error ends the run at once."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.jobs import parts, ray_data
from tests.fast import tiny
from tests.ray import outcome, slow_net
from tests.ray.deadly_photo import RUNTIME_ENV, SIDE
from tests.verbs import protect

pytestmark = [
    pytest.mark.usefixtures("ray_with_a_deadly_photo"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\..*"),  # Ray copies its own deprecated settings
]
WORDS = ["--generator", tiny.BUILD, "--part-photos", "3", "--no-tracking", "--examples", "0"]
COUNT = 6
DEADLY = "p3.png"
"""The second of its part: a part of deadly photos alone ends the run."""


@pytest.fixture(scope="module")
def ray_with_a_deadly_photo() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setattr(parts, "DEATHS", 1)  # a death costs seconds here
        options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address="local", num_cpus=2, runtime_env=RUNTIME_ENV, **options)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.photo_folder(tmp_path_factory.mktemp("photos"), {f"p{i}.png": i for i in range(COUNT)})
    (folder / DEADLY).write_bytes(tiny.photo_bytes(SIDE, SIDE, suffix=".png"))
    return folder


@pytest.fixture(scope="module")
def looped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain loop makes of the photos; here in the driver none is deadly."""
    out = tmp_path_factory.mktemp("looped") / "out"
    assert protect([str(photos), str(out), "--engine", "local", *WORDS]) == 0
    return out


def test_a_photo_that_kills_its_process_becomes_a_failed_row_and_all_others_are_protected(
    photos: Path, looped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, do_round = tmp_path / "out", ray_data._round

    def interrupt(*round_of: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        (out / ".p1.png.0123abcd.tmp").touch()  # as a process leaves it that dies while it writes
        yield from do_round(*round_of)

    monkeypatch.setattr(ray_data, "_round", interrupt)
    assert protect([str(photos), str(out), "--engine", "ray", *WORDS]) == 1
    assert not list(out.rglob("*.tmp"))
    rows = {row["key"]: row for row in outcome.rows(out)}
    deadly = rows.pop(DEADLY)
    assert (deadly["status"], deadly["stage"], deadly["output"]) == ("failed", "read", None)
    assert "its process died" in deadly["reason"]
    assert list(rows.values()) == [row for row in outcome.rows(looped) if row["key"] != DEADLY]
    assert outcome.digests(out) == {name: sha for name, sha in outcome.digests(looped).items() if name != DEADLY}
    done = outcome.parts(out)
    assert protect([str(photos), str(out), "--engine", "ray", *WORDS]) == 1
    assert outcome.parts(out) == done, "a run that is over does nothing again"


def test_a_network_that_kills_its_actor_over_every_photo_ends_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_data, "PATIENCE", 0)
    monkeypatch.setattr("pipeline.protection.plan.PARTS_FOR_EACH", 1)  # one part, so that each round is one death
    photos = tiny.photo_folder(tmp_path / "photos", {f"p{i}.png": i for i in range(4)})
    words = [*WORDS, "--generator", slow_net.BUILD_DEADLY, "--part-photos", "4"]
    assert protect([str(photos), str(tmp_path / "out"), "--engine", "ray", *words]) == 2
    error = capsys.readouterr().err
    assert "processes die over all photos" in error
    assert len(error.splitlines()) == 1


def test_an_error_of_a_stage_is_raised_at_once_as_it_is(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ZeroDivisionError):
        protect([str(photos), str(out), "--engine", "ray", *WORDS, "--generator", slow_net.BUILD_FAULTY, "--part-photos", "1"])
    assert outcome.parts(out) < COUNT


class StubbornError(Exception):
    """An error that cannot be put together again from its arguments."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def test_an_error_that_cannot_travel_is_told_in_its_words() -> None:
    told = pickle.loads(ray_data.packed(StubbornError("a bug", " of a library")))
    assert isinstance(told, RuntimeError)
    assert "a bug of a library" in str(told)
    assert repr(pickle.loads(ray_data.packed(ValueError("as it is")))) == repr(ValueError("as it is"))
