"""What a determined attacker does: washes the file, uses a hardened generator, or fine-tunes his on protected photos."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

import torch

from pipeline.channels.channels import RED_TEAM
from pipeline.containers.find import find_photos
from pipeline.evaluation.adapters import Views, fine_tuned
from pipeline.evaluation.look import look
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import match, read_manifest
from pipeline.generators.checkpoint import save_weights
from pipeline.tables.bench import Bench
from pipeline.tables.cells import CLEAN, Attack, Cell, Net, Run, cell, in_turn
from pipeline.tables.nets import Shelf, load
from pipeline.tables.numbers import Result
from pipeline.tables.sources import training_photos
from pipeline.tables.table import Layout, Table, by_label

FILES = ("pgd", "robust")
LEFT, OUTCOME = "his output on the photo, treated alike", "the untouched output"
NOTHING, TUNED, DRIFT = "does nothing", "fine-tunes the generator", "the same, photos without protection"
HARDENED, HARDENED_KNOWN = "uses a hardened generator", "the same, and the protection was made for it"
RANK = 4


def cells(bench: Bench, shelf: Shelf) -> list[Cell]:
    """Every attacker for plain and robust files; the generator is fine-tuned first."""
    net = shelf.stargan
    tuned = Net("fine-tuned", missing=net.missing) if net.missing else adapted(bench, net)
    found = []
    for recipe in FILES:
        attack = in_turn(net, recipe)
        found += [_cell(NOTHING, LEFT, recipe, Run(attack, net))]
        for channel in RED_TEAM:
            found += [
                _cell(channel, LEFT, recipe, Run(attack, net, channel=channel)),
                _cell(channel, OUTCOME, recipe, Run(attack, net, channel=channel, measure="to untouched output")),
            ]
        against = in_turn(shelf.hardened, recipe)
        found += [
            _cell(HARDENED, LEFT, recipe, Run(attack, shelf.hardened)),
            _cell(HARDENED_KNOWN, LEFT, recipe, Run(against, shelf.hardened)),
            _cell(TUNED, LEFT, recipe, Run(attack, tuned)),
            _cell(TUNED, OUTCOME, recipe, Run(attack, tuned, measure="to untouched output", frozen=net)),
            _cell(DRIFT, OUTCOME, recipe, Run(attack, tuned, measure="drift", frozen=net)),
        ]
    return found


def adapted(bench: Bench, net: Net) -> Net:
    """The net after one pass over photos that the attacker protected himself, as a file of weights that is made once."""
    config = bench.config
    if net.photos is None:
        return net
    photos = training_photos(config.faces, config.work, config.adapter_photos, measured=net.photos.limit)
    attack = Attack((net,), photos=photos)
    facts = [bench.folder_of(attack).name, photos.limit, RANK, config.seed, load(net).fingerprint]
    place = bench.work / "adapted" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.safetensors"
    if not place.exists():
        bench.protect([attack])
        tuned = fine_tuned(load(net), _views(bench, attack), rank=RANK, seed=config.seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        losses = [float(loss) for loss in tuned.losses]
        half = max(1, len(losses) // 2)
        bench.console.print(f"fine-tuned: loss {sum(losses[:half]) / half:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
        metadata = {"size": str(tuned.generator.size), "classes": json.dumps(dict(tuned.generator.classes))}
        save_weights(tuned.generator.net, place, metadata=metadata)
    return dataclasses.replace(net, label="fine-tuned", weights=place)


def _views(bench: Bench, attack: Attack) -> list[Views]:
    """What the generator sees of each training photo and of its protected file."""
    if attack.on is None:
        return []
    net, protected = load(attack.nets[0]), str(bench.folder_of(attack))
    config = EvaluateConfig(str(attack.on.place), protected, channels=(CLEAN,), region="square", epsilon=attack.epsilon)
    pairs = match(
        find_photos(attack.on.place).refs[: attack.on.limit], find_photos(protected).refs, read_manifest(protected), whole=False
    )
    views = []
    for pair in pairs:
        seen = look([pair], config, [net.size])[0].seen
        if (CLEAN, net.size) in seen:
            photo, file, _ = torch.from_numpy(seen[CLEAN, net.size]).split(1)
            views.append(Views(photo, file))
    return views


def _cell(attacker: str, compared: str, files: str, run: Run) -> Cell:
    return cell([run], attacker=attacker, compared=compared, files=files)


def findings(results: Sequence[Result]) -> list[str]:
    """For each kind of files, what weakens the protection most, and how far the fine-tuned generator gets."""
    said = []
    for files in FILES:
        found = {n: r for n, r in by_label(results, "attacker", files=files, compared=LEFT).items() if r.estimates}
        if NOTHING not in found:
            return ["No net, so nothing to compare."]
        worst = min(found, key=lambda name: found[name].mean("disrupted"))
        said.append(
            f"{files}: {100 * found[NOTHING].mean('disrupted'):.1f} % dis. when the attacker does nothing; the worst that he "
            "can do here "
            f"is {worst}, which leaves {100 * found[worst].mean('disrupted'):.1f} %."
        )
        aim = by_label(results, "attacker", files=files, compared=OUTCOME)
        said.append(
            f"{files}: fine-tuning brings the output to an L2 of {aim[TUNED].mean('l2'):.3f} from what the untouched photo gives "
            f"(before: {found[NOTHING].mean('l2'):.3f}); on photos without protection it costs {aim[DRIFT].mean('l2'):.3f}."
        )
    return said


TABLE = Table(
    name="table-red-team",
    title="What a determined attacker does",
    about=(
        "Files protected against the shipped StarGAN with plain PGD and with the recipe `robust` (epsilon 6 levels, all classes in "
        "turn), and an attacker who wants the translation anyway. He washes the file (median, Gaussian, bilateral and wavelet "
        "filters, JPEG twice, resizing), uses a generator that was hardened by adversarial training, or fine-tunes the generator: "
        f"low-rank adapters (rank {RANK}) on its convolutions, one pass over faces that he protected himself with plain PGD, "
        "so that the "
        "output on the protected face becomes what the untouched face gives; none of those faces is measured.\n\n"
        f"Compared with *{LEFT}*: what is left of the disruption, as everywhere. Compared with *{OUTCOME}*: how far what the "
        "attacker gets "
        "is from what he would have got without any protection; a filter itself is part of that. Low numbers are good for him."
    ),
    photos=12,
    cells=cells,
    layout=Layout(("attacker", "compared"), "files", drawn="disrupted"),
    findings=findings,
)
