"""``python -m pipeline.tables.signals --faces FOLDER --active BUNDLE ... --passive BUNDLE ...``: the table of signals."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
import tyro
from rich.console import Console

from pipeline.cli import exit_code
from pipeline.photos.photo import U8
from pipeline.signals.bundle import Bundle, read_bundle
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.page import notes_of
from pipeline.tables.signals.attacks import AVERAGED, outcomes
from pipeline.tables.signals.config import SignalsTableConfig
from pipeline.tables.signals.numbers import numbers_of
from pipeline.tables.signals.page import as_csv, as_page
from pipeline.tables.signals.pictures import Translator, pixels_of, psnr_each, signed, translator
from pipeline.tables.signals.scores import GREY, scores_of
from pipeline.tables.signals.together import together
from pipeline.tables.sources import listed

PROG = "python -m pipeline.tables.signals"
NAME = "table-signals"
SEEN, UNSEEN = "seen", "unseen"
DISRUPTED = 16
"""Photos that are also disrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""

    def run() -> int:
        config = tyro.cli(SignalsTableConfig, prog=PROG, args=arguments)
        return run_table(config, Console(markup=False, emoji=False))

    return exit_code(run, prog=PROG, after_stop="stopped; nothing is written.")


def run_table(config: SignalsTableConfig, console: Console) -> int:
    """Measure and write CSV and page; returns the exit code. Errors of the call are raised as ValueError."""
    config.check()
    torch.set_num_threads(config.threads)
    active, passive = ([read_bundle(path) for path in paths] for paths in (config.active, config.passive))
    photos = pixels_of(listed(config.faces, "test"), config.photos)
    channels = list(dict.fromkeys(("clean", *config.channels)))
    translators = [translator(words, seen=seen) for words, seen in _named(config)]
    found = {}
    for kind, bundles in (("active", active), ("passive", passive)):
        found[kind] = [scores_of(bundle, photos, translators, channels) for bundle in bundles]
        console.print(f"{kind}: {len(bundles)} bundles measured", highlight=False)
    numbers = numbers_of(
        found["active"], found["passive"], _whose(translators), [*channels, GREY], photos=len(photos), times=config.bootstrap
    )
    attacked = list(outcomes(active[0], photos, _others(config), translators[0])) if active[0].count else []
    both = together(active[0], photos[:DISRUPTED], translators[0]) if config.disrupted else []
    made = _made(config, active, photos, translators)
    page = as_page(numbers, attacked, both, made=made, notes=notes_of(config.out, NAME))
    config.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("csv", as_csv(numbers)), ("md", page)):
        place = config.out / f"{NAME}.{suffix}"
        write_atomic(*open_storage(str(place)), text.encode())
        console.print(str(place), soft_wrap=True, highlight=False)
    return 0


def _named(config: SignalsTableConfig) -> list[tuple[str, bool]]:
    return [*((words, True) for words in config.seen), *((words, False) for words in config.unseen)]


def _whose(translators: Sequence[Translator]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Each generator by itself, then the means of those seen in training and of the others."""
    groups = {SEEN: [t.label for t in translators if t.seen], UNSEEN: [t.label for t in translators if not t.seen]}
    single = [(label, group, (label,)) for group, labels in groups.items() for label in labels]
    return [*single, *((f"mean, {group}", group, tuple(labels)) for group, labels in groups.items() if labels)]


def _others(config: SignalsTableConfig) -> list[U8]:
    """Photos that the attacker collects: those of split train."""
    return pixels_of(listed(config.faces, "train"), max(AVERAGED))


def _made(
    config: SignalsTableConfig, active: Sequence[Bundle], photos: Sequence[U8], translators: Sequence[Translator]
) -> dict[str, str]:
    """How the table was made, in words that name no place of this machine."""
    psnr = min(min(psnr_each(photos, signed(photos, bundle))) for bundle in active)
    return {
        "Command": f"`make {NAME} FACES=FOLDER ACTIVE=... PASSIVE=... UNSEEN=...`",
        "Data": f"{len(photos)} photos of split test of FOLDER (`{config.faces.name}`), {photos[0].shape[1]} px",
        "Seeds": f"{len(config.active)} trainings with signals, {len(config.passive)} passive, of {active[0].card['steps']} steps",
        "Signals": f"{active[0].count} of at most {active[0].budget:g} levels, {active[0].size} px",
        "Lowest PSNR of a signed photo": f"{psnr:.1f} dB",
        "Generators": ", ".join(f"{t.label} ({SEEN if t.seen else UNSEEN})" for t in translators),
        "Intervals": f"95 %, photos and seeds drawn anew {config.bootstrap} times, the same photos for both methods; "
        "a number without one is the same to three digits in every drawing",
    }


if __name__ == "__main__":
    sys.exit(main())
