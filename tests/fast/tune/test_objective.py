"""One trial: its score, its stop and its going on, and what happens when it cannot be trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.jobs.options import SHIPPED
from pipeline.signals.manipulation import source_names
from pipeline.training.data.batches import Source
from pipeline.training.job import Job, held_out_squares, open_source, open_state, plan
from pipeline.training.options import Manipulations
from pipeline.training.systems.system import Batch
from tests.fast.tiny import BUILD
from tests.fast.tune.small import write_photos
from tune.objective import HeldOut, Report, read_reports, run_trial, score
from tune.options import SearchConfig, trial_options
from tune.space import first_values

OTHER = ("tests.fast.tiny:build_other",)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    photos = write_photos(tmp_path_factory.mktemp("data") / "faces")
    return SearchConfig(
        str(photos), photos.parent / "out", size=16, d_conv_dim=8, batch=4, steps=4, grace=2, every=2, photos=4,
        manipulations=Manipulations((BUILD,), survive=("none",)), held_out_generator=OTHER,
    )  # fmt: skip


def job_in(folder: Path, config: SearchConfig, **values: float) -> Job:
    return plan(trial_options(config, first_values(config.space()) | values, folder))


def held_out(job: Job, *, generators: tuple[str, ...] = OTHER, least_psnr: float = 38.0) -> HeldOut:
    photos = held_out_squares(job).in_memory.permute(0, 2, 3, 1).contiguous().numpy()
    return HeldOut(tuple(photos), source_names(generators, (), shipped=SHIPPED), least_psnr)


def reports_of(job: Job, *, least_psnr: float = 38.0, source: Source | None = None) -> list[Report]:
    told: list[Report] = []
    run_trial(job, source or open_source(job), held_out(job, least_psnr=least_psnr), told.append)
    return told


def same(one: list[Report], other: list[Report]) -> bool:
    return [dataclasses.replace(report, seconds=0) for report in one] == [
        dataclasses.replace(report, seconds=0) for report in other
    ]


def test_a_trial_tells_its_score_every_so_many_steps(config: SearchConfig, tmp_path: Path) -> None:
    told = reports_of(job_in(tmp_path / "a", config))
    assert [report.step for report in told] == [2, 4]
    for report in told:
        assert 0 < report.ap <= 1
        assert report.measured[f"ap_{OTHER[0]}"] == report.ap
        assert 38 < report.measured["psnr_least"] <= report.measured["psnr"]
        assert report.measured["g_loss"] > 0
    assert same(read_reports(tmp_path / "a"), told)


def test_a_trial_that_was_stopped_goes_on_and_tells_what_one_that_was_not_tells(config: SearchConfig, tmp_path: Path) -> None:
    whole = reports_of(job_in(tmp_path / "whole", config))
    halfway = tmp_path / "cut"
    job = job_in(halfway, config)
    cut = open_source(job)

    class Stop(Exception):  # noqa: N818
        pass

    def until(report: Report) -> None:
        raise Stop

    with pytest.raises(Stop):
        run_trial(job, cut, held_out(job), until)
    with (halfway / "reports.jsonl").open("a") as file:
        file.write('{"step": 4, "ap": 0.')  # a line that the stop cut off
    assert [report.step for report in read_reports(halfway)] == [2]
    again = reports_of(job)
    assert [report.ap for report in again] == [report.ap for report in whole]
    assert torch.equal(*(torch.load(d / "state.pt", weights_only=True)["G"]["signals.raw"] for d in (halfway, tmp_path / "whole")))


def test_a_score_that_was_not_told_before_a_stop_is_measured_again(config: SearchConfig, tmp_path: Path) -> None:
    job = job_in(tmp_path / "a", config)
    told = reports_of(job)
    (job.out / "reports.jsonl").unlink()
    again = reports_of(job)
    assert [(report.step, report.ap) for report in again] == [(4, told[-1].ap)]
    assert same(reports_of(job), again), "a trial that is over only tells what it told"


def test_signals_that_cost_too_much_score_nothing_and_it_is_said(config: SearchConfig, tmp_path: Path) -> None:
    told = reports_of(job_in(tmp_path / "a", config), least_psnr=60.0)
    assert [report.ap for report in told] == [0, 0]
    assert all("expected at least 60" in report.reason and not report.broken for report in told)
    assert all(report.measured[f"ap_{OTHER[0]}"] > 0 for report in told)


class NotANumber:
    """A source whose second batch is not a number."""

    skipped = 0

    def __init__(self, source: Source) -> None:
        self._source = source

    def batch(self, step: int) -> Batch:
        batch = dict(self._source.batch(step))
        return batch if step < 3 else batch | {"image": batch["image"] * float("nan")}

    def held_out(self) -> Batch:
        return self._source.held_out()


def test_a_trial_that_makes_no_numbers_ends_with_the_reason_and_without_an_error(config: SearchConfig, tmp_path: Path) -> None:
    job = job_in(tmp_path / "a", config)
    told = reports_of(job, source=NotANumber(open_source(job)))
    assert [(report.broken, report.ap > 0) for report in told] == [(False, True), (True, False)]
    assert "not a finite number" in told[-1].reason
    assert same(reports_of(job), told), "it is not tried again"


def test_a_score_leaves_the_training_alone_and_is_the_same_twice(config: SearchConfig, tmp_path: Path) -> None:
    job = job_in(tmp_path / "a", config)
    state = open_state(job)
    before = [weight.clone() for weight in state.nets.D.parameters()]
    first, second = (score(job.system, state, held_out(job), {}) for _ in range(2))
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(before, state.nets.D.parameters(), strict=True))
    assert all(weight.requires_grad for weight in state.nets.D.parameters())
    assert state.nets.D.training


def test_a_generator_that_changes_nothing_cannot_be_told_from_untouched_photos(config: SearchConfig, tmp_path: Path) -> None:
    job = job_in(tmp_path / "a", config)
    photos = held_out(job, generators=("tests.fast.tiny:build_flat",))
    smaller = dataclasses.replace(
        photos, photos=tuple(photo[::2, ::2].copy() for photo in photos.photos)
    )  # the generator's own size
    found = score(job.system, open_state(job), smaller, {})
    assert found.measured["roc_auc"] == 0.5
    assert found.ap == 0.5


def test_psnr_is_that_of_the_8_bit_photos_with_their_signals(config: SearchConfig, tmp_path: Path) -> None:
    job = job_in(tmp_path / "a", config, signals=2, budget=4)
    state = open_state(job)
    with torch.no_grad():
        raw = next(state.nets.G.parameters())
        raw.copy_(torch.where(torch.arange(16) < 8, 10.0, -10.0).expand_as(raw))  # the whole budget, up and down
    grey = np.full((32, 32, 3), 100, np.uint8)
    shown = dataclasses.replace(held_out(job), photos=(grey, grey))
    found = score(job.system, state, shown, {})
    across = np.where(np.arange(16) < 8, 4, -4).astype(np.float32)
    levels = np.rint(np.asarray(Image.fromarray(across[None]).resize((32, 1), Image.Resampling.BICUBIC)).clip(-4, 4))
    assert found.measured["psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(levels).mean()), rel=1e-6)
    assert found.ap == 0
    assert "PSNR 36." in found.reason
