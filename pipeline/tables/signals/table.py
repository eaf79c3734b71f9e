"""The table of signals: detectors with signals beside passive ones, by generator and by channel; CSV and page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.evaluation.summary import CLEAN
from pipeline.ledger.rows import csv_text
from pipeline.signals.bundle import read_bundle
from pipeline.tables.nets import one_of_each, photos_of
from pipeline.tables.options import SIGNALS, TablesConfig
from pipeline.tables.page import grid, made_by, notes_of, page, write_files
from pipeline.tables.signals.attacks import AVERAGED, outcomes
from pipeline.tables.signals.scores import (
    ACTIVE,
    DIFFERENCE,
    FPR,
    PASSIVE,
    TPR,
    Number,
    numbers_of,
    read_photos,
    scores_of,
    translator,
)

TITLE = "Signals that expose manipulation"


def write_signals(config: TablesConfig) -> list[Path]:
    """Measure, and write CSV and page; returns their paths. Errors of the call are raised as ValueError."""
    bundles = {name: [read_bundle(path) for path in some] for name, some in ((ACTIVE, config.active), (PASSIVE, config.passive))}
    photos = read_photos(one_of_each(config.faces, photos_of(config.faces, "test")), config.photos or 120)
    channels = list(dict.fromkeys((CLEAN, *config.channels)))
    groups = {"trained on": config.seen, "chose": config.chose, "neither": config.unseen}
    translators = [translator(name, group) for group, names in groups.items() for name in names]
    lines = {(one.label, one.group): [one.label] for one in translators}
    lines |= {
        (f"mean, {group}", group): [one.label for one in translators if one.group == group] for group in groups if groups[group]
    }
    scores = {name: [scores_of(bundle, photos, translators, channels) for bundle in some] for name, some in bundles.items()}
    numbers = numbers_of(scores, lines, channels, times=config.draws)
    bundle, forger = bundles[ACTIVE][0], translators[0]
    signals = f"{bundle.count} signals of at most {bundle.budget:g} levels, {bundle.size} px"
    seeds = f"{len(bundles[ACTIVE])} trainings with signals, {len(bundles[PASSIVE])} passive, of {bundle.card['steps']} steps"
    single = [one for one in numbers if one.method != DIFFERENCE and not one.who.startswith("mean")]
    of_first = [one for one in single if one.measure == FPR and one.who == translators[0].label]
    by_network = "{who} ({group})" + (": {method}" if config.passive else "")
    others = read_photos(photos_of(config.faces, "train"), max(AVERAGED))
    attacks = [(attack, f"{100 * share:.1f} %", wanted) for attack, share, wanted in outcomes(bundle, photos, others, forger)]
    text = page(
        TITLE,
        notes_of(config.out, SIGNALS),
        f"{made_by(config, len(photos))} {signals}; {seeds}.",
        f"## Untouched files that are called out\n{_grid('{channel}', '{method}', of_first)}",
        f"## Manipulated files that are caught\n{_grid('{channel}', by_network, [one for one in single if one.measure == TPR])}",
        f"## AP at 50 % manipulated\n{_grid('{channel}', by_network, [one for one in single if one.measure == 'AP'])}",
        f"## Attacks\n{grid(['attack', 'called manipulated', 'wanted'], attacks)}",
        csv_name=f"{SIGNALS}.csv",
    )
    return write_files(config, SIGNALS, csv=_as_csv(numbers), md=text)


def _as_csv(numbers: Sequence[Number]) -> str:
    lines = ([f"{value:.5f}" if isinstance(value, float) else value for value in number] for number in numbers)
    return csv_text(Number._fields, lines)


def _grid(line: str, column: str, numbers: Sequence[Number]) -> str:
    """Numbers with their intervals in a grid; ``line`` and ``column`` are templates of their names."""
    lines, columns = (list(dict.fromkeys(words.format(**one._asdict()) for one in numbers)) for words in (line, column))
    cells = {(line.format(**one._asdict()), column.format(**one._asdict())): _cell(one) for one in numbers}
    return grid(["", *columns], [[name, *(cells.get((name, other), "") for other in columns)] for name in lines])


def _cell(number: Number) -> str:
    mean, low, high = (f"{value:.3f}" for value in number[-3:])
    return mean if low == high else f"{mean} ({low} to {high})"
