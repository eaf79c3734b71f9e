"""The numbers as CSV and as a Markdown page that says how they were made."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

from pipeline.tables.signals.attacks import Outcome
from pipeline.tables.signals.numbers import ACTIVE, DIFFERENCE, PASSIVE, Number
from pipeline.tables.signals.together import Together

METHODS = (ACTIVE, PASSIVE, DIFFERENCE)
ABOUT = """Pictures that are published are either untouched or made by a generator from a published picture. Beside the detector
with signals stands the *passive* one: the same net, trained in the same way on the same photos and generators, without signals.
What signals are worth is the difference. A picture that was never signed counts for neither. *Unseen* generators are those that
the detector was not trained on; the notes say which of them chose something, or descend from one that was trained on."""


def as_csv(numbers: Sequence[Number]) -> str:
    """One line a number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(Number)])
    writer.writerows([f"{v:.5f}" if isinstance(v, float) else v for v in dataclasses.astuple(number)] for number in numbers)
    return text.getvalue()


def as_page(
    numbers: Sequence[Number], attacks: Sequence[Outcome], both: Sequence[Together], *, made: Mapping[str, str], notes: str
) -> str:
    """The page."""
    facts = "\n".join(f"* {name}: {value}" for name, value in made.items())
    parts = [
        f"# Signals that expose manipulation\n\n{ABOUT}",
        f"## How it was made\n{facts}",
        f"## By generator, as published (AP)\n{_by_line(numbers, 'AP', 'clean')}",
        f"## By channel (AP)\n{_by_channel(numbers, 'AP')}",
        f"## By channel (ROC-AUC)\n{_by_channel(numbers, 'ROC-AUC')}",
        f"## By channel (TPR at 1 % FPR)\n{_by_channel(numbers, 'TPR at 1 % FPR')}",
        f"## Attacks\n{_attacks(attacks)}" if attacks else "",
        f"## A signal and a disruption in one file\n{_both(both)}" if both else "",
        f"## Notes\n{notes.strip()}" if notes.strip() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _by_line(numbers: Sequence[Number], measure: str, channel: str) -> str:
    found = {(n.who, n.method): n for n in numbers if n.measure == measure and n.channel == channel}
    whose = dict.fromkeys((n.who, n.group) for n in numbers)
    rows = ([who, group, *(_shown(found.get((who, method))) for method in METHODS)] for who, group in whose)
    return _table(["generator", "trained on", *METHODS], rows)


def _by_channel(numbers: Sequence[Number], measure: str) -> str:
    means = [n for n in numbers if n.measure == measure and n.who.startswith("mean")]
    found = {(n.channel, n.who, n.method): n for n in means}
    whose, channels = list(dict.fromkeys(n.who for n in means)), list(dict.fromkeys(n.channel for n in means))
    columns = [(who, method) for who in whose for method in METHODS]
    rows = ([channel, *(_shown(found.get((channel, *column))) for column in columns)] for channel in channels)
    return _table(["channel", *(f"{who}: {method}" for who, method in columns)], rows)


def _attacks(attacks: Sequence[Outcome]) -> str:
    rows = ([a.attack, f"{100 * a.called_manipulated:.1f} %", a.wants] for a in attacks)
    said = (
        "The share of pictures that the detector calls manipulated, at the bundle's own threshold for 1 % false positives; "
        "what the owner of the photos wants."
    )
    return f"{said}\n\n{_table(['attack', 'called manipulated', 'wanted'], rows)}"


def _both(both: Sequence[Together]) -> str:
    rows = ([t.files, f"{100 * t.disrupted:.1f}", f"{t.l2:.3f}", f"{t.ap:.3f}", str(t.linf_levels), f"{t.psnr:.1f}"] for t in both)
    return _table(["files", "% dis.", "L2", "AP", "farthest pixel, levels", "lowest PSNR, dB"], rows)


def _shown(number: Number | None) -> str:
    if number is None:
        return ""
    mean, low, high = (f"{value:.3f}" for value in (number.mean, number.low, number.high))
    return mean if low == high else f"{mean} ({low} to {high})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
