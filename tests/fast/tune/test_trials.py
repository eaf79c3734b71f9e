"""What is made of trials: rows, the best, tables, options, importances and the page."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.jobs.settings import parse
from pipeline.training.job import plan
from pipeline.training.options import Manipulations, TrainConfig
from pipeline.training.systems.signals import SignalSystem
from tests.fast.tiny import BUILD
from tune.objective import Report
from tune.options import SearchConfig
from tune.report import summarise, write_page
from tune.space import PARAMETERS, first_values
from tune.trials import TrialRow, as_csv, as_parquet, best_of, best_options, from_table, importances, row_of

CONFIG = SearchConfig("samples", Path("out"), grace=2, steps=4, manipulations=Manipulations((BUILD,)), size=16, batch=8)
START = first_values(CONFIG.space())


def row(number: int, *, ap: float = 0.5, step: int = 4, **changes: object) -> TrialRow:
    reports = [Report(2, ap / 2, measured={"psnr": 40.0}), Report(step, ap, measured={"psnr": 41.0}, seconds=3.0)]
    made = row_of(number, f"id{number}", START, reports, config=CONFIG, error="")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_a_row_says_how_a_trial_ended() -> None:
    def status(*reports: Report, error: str = "") -> tuple[str, str]:
        made = row_of(1, "a", START, reports, config=CONFIG, error=error)
        return made.status, made.reason

    assert status(Report(2, 0.1), Report(4, 0.2)) == ("done", "")
    assert status(Report(2, 0.1)) == ("stopped", "")
    assert status(Report(2, 0.1), Report(3, 0.0, "no number", broken=True)) == ("pruned", "no number")
    assert status(Report(4, 0.0, "too visible")) == ("done", "too visible")
    assert status(Report(2, 0.1), error="it died") == ("failed", "it died")
    assert status()[0] == "stopped"
    assert math.isnan(row_of(1, "a", START, [Report(1, 0.1)], config=CONFIG, error="").ap_early)


def test_the_best_is_the_highest_score_of_those_that_came_furthest() -> None:
    rows = [row(1, ap=0.7), row(2, ap=0.9, step=2), row(3, ap=0.8), row(4, ap=0.95, status="failed"), row(5, ap=0.0)]
    best = best_of(rows)
    assert best is not None
    assert best.number == 3
    assert best_of([row(1, ap=0.0), row(2, ap=0.99, status="pruned")]) is None
    assert best_of([]) is None


def test_tables_hold_every_row_and_value(tmp_path: Path) -> None:
    rows = [row(1), row(2, ap=math.nan, reason='a "quoted", reason')]
    (tmp_path / "trials.parquet").write_bytes(as_parquet(rows))
    read = pq.read_table(tmp_path / "trials.parquet")
    assert read.schema.field("signals").type == pa.int64()
    assert [str(one) for one in from_table(read)] == [str(one) for one in rows]
    written = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [line["number"] for line in written] == ["1", "2"]
    assert written[1]["reason"] == 'a "quoted", reason'
    assert all(float(written[0][name]) == START[name] for name in PARAMETERS)


def test_best_options_train_the_values_of_the_best_trial(tmp_path: Path) -> None:
    values = START | {"magnitude": 123.456789, "signals": 4, "k": 0.25, "budget": 2.7182818}
    file = tmp_path / "best.yaml"
    file.write_text(best_options(CONFIG, row(1, values=values)))
    job = plan(parse(TrainConfig, ["samples", str(tmp_path / "out"), "--config", str(file)], prog="disrupt train"))
    assert isinstance(job.system, SignalSystem)
    assert (job.system.magnitude, job.system.count, job.system.k, job.system.budget) == (123.457, 4, 0.25, 2.71828)
    assert (job.sizes.image, job.batch, job.settings.steps) == (16, 8, CONFIG.final_steps)
    assert [source.name for source in job.system.sources] == [BUILD]


def test_the_value_that_decides_the_score_is_the_most_important() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        drawn = {name: row_.usual.low + rng.random() * (row_.usual.high - row_.usual.low) for name, row_ in PARAMETERS.items()}
        drawn["signals"] = 2 * round(drawn["signals"] / 2)
        rows.append(row(number, values=drawn, ap_early=1 - drawn["k"]))
    shares = importances(rows, CONFIG.space())
    assert next(iter(shares)) == "k"
    assert shares["k"][0] > 0.8
    assert shares["k"][1] == pytest.approx(-1)
    assert shares.keys() == PARAMETERS.keys() - {"detection"}


def test_importances_are_not_told_from_too_few_or_equal_scores() -> None:
    assert importances([row(i, ap=i / 10) for i in range(3)], CONFIG.space()) == {}
    assert importances([row(i) for i in range(20)], CONFIG.space()) == {}


def test_a_value_that_is_the_same_in_all_trials_has_no_correlation() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        values = START | {"k": 0.2 + 0.7 * rng.random(), "magnitude": 50.0}
        rows.append(row(number, values=values, ap_early=values["k"]))
    shares = importances(rows, {name: CONFIG.space()[name] for name in ("k", "magnitude")})
    assert shares["k"][1] == pytest.approx(1)
    assert math.isnan(shares["magnitude"][1])


def test_the_page_shows_the_trials_and_loads_nothing() -> None:
    rows = [row(1), row(2, ap=0.9), row(3, ap=0.0, reason="PSNR <36>", status="pruned"), row(4, ap=math.nan, ap_early=math.nan)]
    shares = {"k": (0.7, -0.5), "budget": (0.3, math.nan)}
    page = write_page(rows, shares, CONFIG, "disrupt tune a b", versions={"torch": "1"})
    assert "the best, number 2" in page
    assert "PSNR &lt;36&gt;" in page
    assert page.count("<svg") == 2
    assert "://" not in page.replace("http://www.w3.org", "")
    assert f"magnitude={START['magnitude']:g}" in page
    assert summarise(rows).counts == {"done": 3, "stopped": 0, "pruned": 1, "failed": 0}


def test_a_search_without_a_score_has_a_page_too() -> None:
    assert "none with a score" in write_page([], {}, CONFIG, "disrupt tune a b", versions={})
    assert "none with a score" in write_page([row(1, ap=0.0, reason="no")], {}, CONFIG, "c", versions={})
