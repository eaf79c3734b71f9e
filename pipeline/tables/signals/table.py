"""The table of signals: detectors with signals beside passive ones, by generator and by channel; CSV and page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.evaluation.summary import CLEAN
from pipeline.images.quality import psnr
from pipeline.signals.bundle import read_bundle
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.nets import photos_of
from pipeline.tables.options import SIGNALS, TablesConfig
from pipeline.tables.page import facts, grid, notes_of, sections
from pipeline.tables.signals.attacks import AVERAGED, outcomes, together
from pipeline.tables.signals.scores import (
    ACTIVE,
    DIFFERENCE,
    MEASURES,
    PASSIVE,
    Number,
    numbers_of,
    read_photos,
    scores_of,
    sign,
    translator,
)

METHODS = (ACTIVE, PASSIVE, DIFFERENCE)
CAPTION = """Pictures that are published are either untouched or made by a generator from a published picture. Beside the detector
with signals stands the *passive* one: the same net, trained in the same way on the same photos and generators, without signals.
What signals are worth is the difference. A picture that was never signed counts for neither. *Unseen* generators are those that
the detector was not trained on; the notes say which of them chose something, or descend from one that was trained on."""
ATTACKS = """The share of pictures that the detector calls manipulated, at the bundle's own threshold for 1 % false positives; \
what the owner of the photos wants."""
TOGETHER = ("files", "% dis.", "L2", "AP", "farthest pixel, levels", "lowest PSNR, dB")
DISRUPTED = 16
"""Photos that are also disrupted."""


def write_signals(config: TablesConfig) -> list[Path]:
    """Measure, and write CSV and page; returns their paths. Errors of the call are raised as ValueError."""
    torch.set_num_threads(config.jobs)
    bundles = {name: [read_bundle(path) for path in some] for name, some in ((ACTIVE, config.active), (PASSIVE, config.passive))}
    photos = read_photos(photos_of(config.faces, "test"), config.photos or 120)
    channels = list(dict.fromkeys((CLEAN, *config.channels)))
    groups = {"seen": config.seen, "unseen": config.unseen}
    translators = [translator(name, group) for group, names in groups.items() for name in names]
    lines = {(one.label, one.group): [one.label] for one in translators}
    lines |= {
        (f"mean, {group}", group): [one.label for one in translators if one.group == group] for group in groups if groups[group]
    }
    scores = {name: [scores_of(bundle, photos, translators, channels) for bundle in some] for name, some in bundles.items()}
    numbers = numbers_of(scores, lines, channels, times=config.draws)
    bundle, forger = bundles[ACTIVE][0], translators[0]
    lowest = min(psnr(*pair) for some in bundles[ACTIVE] for pair in zip(photos, sign(photos, some), strict=True))
    made = {
        "Command": f"`make {SIGNALS} FACES=FOLDER ACTIVE=... PASSIVE=... UNSEEN=...`",
        "Data": f"{len(photos)} photos of split test of FOLDER (`{config.faces.name}`), {photos[0].shape[1]} px",
        "Seeds": f"{len(bundles[ACTIVE])} trainings with signals, {len(bundles[PASSIVE])} passive, of {bundle.card['steps']} steps",
        "Signals": f"{bundle.count} of at most {bundle.budget:g} levels, {bundle.size} px",
        "Lowest PSNR of a signed photo": f"{lowest:.1f} dB",
        "Generators": ", ".join(f"{one.label} ({one.group})" for one in translators),
        "Intervals": f"95 %, photos and seeds drawn anew {config.draws} times, the same photos for both methods; "
        "a number without one is the same to three digits in every drawing",
    }
    found = {number[:5]: number for number in numbers}
    means = [line for line in lines if line[0].startswith("mean")]
    by_generator = [[*line, *(_cell(found.get((*line, CLEAN, method, "AP"))) for method in METHODS)] for line in lines]
    by_channel = {
        measure: [
            [channel, *(_cell(found.get((*line, channel, method, measure))) for line in means for method in METHODS)]
            for channel in channels
        ]
        for measure in MEASURES
    }
    head = ["channel", *(f"{who}: {method}" for who, _ in means for method in METHODS)]
    others = read_photos(photos_of(config.faces, "train"), max(AVERAGED))
    attacks = [(attack, f"{100 * share:.1f} %", wanted) for attack, share, wanted in outcomes(bundle, photos, others, forger)]
    both = [
        (one.files, f"{100 * one.disrupted:.1f}", f"{one.l2:.3f}", f"{one.ap:.3f}", str(one.linf_levels), f"{one.psnr:.1f}")
        for one in together(bundle, photos[:DISRUPTED], forger)
    ]
    page = sections(
        f"# Signals that expose manipulation\n\n{CAPTION}",
        facts(made),
        f"## By generator, as published (AP)\n{grid(['generator', 'trained on', *METHODS], by_generator)}",
        *(f"## By channel ({measure})\n{grid(head, rows)}" for measure, rows in by_channel.items()),
        f"## Attacks\n{ATTACKS}\n\n{grid(['attack', 'called manipulated', 'wanted'], attacks)}",
        f"## A signal and a disruption in one file\n{grid(TOGETHER, both)}",
        notes_of(config.out, SIGNALS),
    )
    config.out.mkdir(parents=True, exist_ok=True)
    paths = [config.out / f"{SIGNALS}.{suffix}" for suffix in ("csv", "md")]
    for path, text in zip(paths, (_as_csv(numbers), page), strict=True):
        write_atomic(*open_storage(str(path)), text.encode())
    return paths


def _as_csv(numbers: Sequence[Number]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Number._fields)
    writer.writerows([f"{value:.5f}" if isinstance(value, float) else value for value in number] for number in numbers)
    return text.getvalue()


def _cell(number: Number | None) -> str:
    mean, low, high = (f"{value:.3f}" for value in number[-3:]) if number else ("", "", "")
    return mean if low == high else f"{mean} ({low} to {high})"
