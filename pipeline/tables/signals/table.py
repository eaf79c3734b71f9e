"""The table of signals: detectors with signals beside passive ones, by generator and by channel; CSV and page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from pipeline.evaluation.summary import CLEAN
from pipeline.images.quality import psnr
from pipeline.signals.bundle import read_bundle
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.nets import photos_of
from pipeline.tables.options import SIGNALS, TablesConfig
from pipeline.tables.page import facts, grid, notes_of, sections
from pipeline.tables.signals.attacks import AVERAGED, Together, outcomes, together
from pipeline.tables.signals.pictures import Translator, read_photos, sign, translator
from pipeline.tables.signals.scores import ACTIVE, DIFFERENCE, GREY, MEASURES, PASSIVE, Line, Number, numbers_of, scores_of

METHODS = (ACTIVE, PASSIVE, DIFFERENCE)
CAPTION = """Pictures that are published are either untouched or made by a generator from a published picture. Beside the detector
with signals stands the *passive* one: the same net, trained in the same way on the same photos and generators, without signals.
What signals are worth is the difference. A picture that was never signed counts for neither."""
ATTACKS = "The share of pictures that the detector calls manipulated, at 1 % false positives; what the owner of the photos wants."
TOGETHER = ("files", "% dis.", "L2", "AP", "farthest pixel, levels", "lowest PSNR, dB")
DISRUPTED = 16
"""Photos that are also disrupted."""


def write_signals(config: TablesConfig) -> list[Path]:
    """Measure, and write CSV and page; returns their paths. Errors of the call are raised as ValueError."""
    torch.set_num_threads(config.jobs)
    active, passive = ([read_bundle(path) for path in paths] for paths in (config.active, config.passive))
    photos = read_photos(photos_of(config.faces, "test"), config.photos or 120)
    channels = list(dict.fromkeys((CLEAN, *config.channels)))
    translators = [*(translator(name, "seen") for name in config.seen), *(translator(name, "unseen") for name in config.unseen)]
    scores = {
        method: [scores_of(bundle, photos, translators, channels) for bundle in bundles]
        for method, bundles in ((ACTIVE, active), (PASSIVE, passive))
    }
    numbers = numbers_of(scores, lines_of(translators), [*channels, GREY], times=config.draws)
    bundle, forger = active[0], translators[0]
    lowest = min(psnr(*pair) for some in active for pair in zip(photos, sign(photos, some), strict=True))
    made = {
        "Command": f"`make {SIGNALS} FACES=FOLDER ACTIVE=... PASSIVE=... UNSEEN=...`",
        "Data": f"{len(photos)} photos of split test of FOLDER (`{config.faces.name}`), {photos[0].shape[1]} px",
        "Seeds": f"{len(active)} trainings with signals, {len(passive)} passive, of {bundle.card['steps']} steps",
        "Signals": f"{bundle.count} of at most {bundle.budget:g} levels, {bundle.size} px",
        "Lowest PSNR of a signed photo": f"{lowest:.1f} dB",
        "Generators": ", ".join(f"{one.label} ({one.group})" for one in translators),
        "Intervals": f"95 %, photos and seeds drawn anew {config.draws} times, the same photos for both methods",
    }
    others = read_photos(photos_of(config.faces, "train"), max(AVERAGED)) if bundle.count else []
    attacks = [
        (one.attack, f"{100 * one.called_manipulated:.1f} %", one.wanted) for one in outcomes(bundle, photos, others, forger)
    ]
    both = together(bundle, photos[:DISRUPTED], forger)
    page = sections(
        f"# Signals that expose manipulation\n\n{CAPTION}",
        facts(made),
        f"## By generator, as published (AP)\n{_by_generator(numbers, 'AP')}",
        *(f"## By channel ({measure})\n{_by_channel(numbers, measure)}" for measure in MEASURES),
        f"## Attacks\n{ATTACKS}\n\n{grid(['attack', 'called manipulated', 'wanted'], attacks)}" if bundle.count else "",
        f"## A signal and a disruption in one file\n{grid(TOGETHER, [_cells(one) for one in both])}",
        notes_of(config.out, SIGNALS),
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Number._fields)
    writer.writerows([f"{v:.5f}" if isinstance(v, float) else v for v in number] for number in numbers)
    config.out.mkdir(parents=True, exist_ok=True)
    paths = [config.out / f"{SIGNALS}.{suffix}" for suffix in ("csv", "md")]
    for path, content in zip(paths, (text.getvalue(), page), strict=True):
        write_atomic(*open_storage(str(path)), content.encode())
    return paths


def lines_of(translators: Sequence[Translator]) -> list[Line]:
    """Each generator by itself, then the means of those seen in training and of the others."""
    groups = {group: tuple(one.label for one in translators if one.group == group) for group in ("seen", "unseen")}
    lines = [Line(label, group, (label,)) for group, labels in groups.items() for label in labels]
    return lines + [Line(f"mean, {group}", group, labels) for group, labels in groups.items() if labels]


def _by_generator(numbers: Sequence[Number], measure: str) -> str:
    lines: dict[tuple[str, str], dict[str, Number]] = {}
    for n in numbers:
        if (n.measure, n.channel) == (measure, CLEAN):
            lines.setdefault((n.who, n.group), {})[n.method] = n
    rows = [[*line, *(_shown(found.get(method)) for method in METHODS)] for line, found in lines.items()]
    return grid(["generator", "trained on", *METHODS], rows)


def _by_channel(numbers: Sequence[Number], measure: str) -> str:
    means = {(n.channel, n.who, n.method): n for n in numbers if n.measure == measure and n.who.startswith("mean")}
    columns = list(product(dict.fromkeys(who for _, who, _ in means), METHODS))
    channels = dict.fromkeys(channel for channel, _, _ in means)
    rows = [[channel, *(_shown(means.get((channel, *column))) for column in columns)] for channel in channels]
    return grid(["channel", *(f"{who}: {method}" for who, method in columns)], rows)


def _cells(one: Together) -> list[str]:
    return [one.files, f"{100 * one.disrupted:.1f}", f"{one.l2:.3f}", f"{one.ap:.3f}", str(one.linf_levels), f"{one.psnr:.1f}"]


def _shown(number: Number | None) -> str:
    return f"{number.mean:.3f} ({number.low:.3f} to {number.high:.3f})" if number else ""
