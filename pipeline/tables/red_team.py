"""What a determined attacker does: washes the file, uses a hardened generator, or fine-tunes a generator on protected photos."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import torch

from pipeline.channels.channels import RED_TEAM
from pipeline.evaluation.look import look
from pipeline.evaluation.summary import CLEAN
from pipeline.generators.checkpoint import save_weights
from pipeline.jobs.options import signature_of
from pipeline.tables.bench import CONSOLE, evaluation_of, folder_of, protect
from pipeline.tables.cells import Net, Row, Run, Table, row
from pipeline.tables.nets import load, training_photos
from pipeline.tables.options import TablesConfig
from pipeline.training.fine_tuning import fine_tune

LEFT, OUTCOME = "his output on the photo, treated alike", "the untouched output"
RANK = 4


def attackers(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every attacker for plain and robust files; the generator is fine-tuned first."""
    net, hardened = nets["plain"], nets["hardened"]
    tuned = Net("fine-tuned", missing=net.missing) if net.missing else fine_tuned(config, net)
    rows: list[Row] = []
    for recipe in ("pgd", "robust"):
        run = Run((net,), net, recipe)
        on_tuned = dataclasses.replace(run, target=tuned, frozen=net)
        runs = [("does nothing", LEFT, run)]
        for name in RED_TEAM:
            washed = dataclasses.replace(run, channel=name)
            runs += [(name, LEFT, washed), (name, OUTCOME, dataclasses.replace(washed, measure="to untouched output"))]
        runs += [
            ("uses a hardened generator", LEFT, dataclasses.replace(run, target=hardened)),
            ("the same, and the protection was made for it", LEFT, Run((hardened,), recipe=recipe)),
            ("fine-tunes the generator", LEFT, on_tuned),
            ("fine-tunes the generator", OUTCOME, dataclasses.replace(on_tuned, measure="to untouched output")),
            ("the same, photos without protection", OUTCOME, dataclasses.replace(on_tuned, measure="drift")),
        ]
        rows += [row(run, attacker=attacker, compared=compared, files=recipe) for attacker, compared, run in runs]
    return rows


def fine_tuned(config: TablesConfig, net: Net) -> Net:
    """The net after one pass over photos that the attacker protected himself, as a file of weights that is made once."""
    photos = training_photos(config.faces, config.work, config.adapter_photos, measured=net.photos.limit)
    run, generator = Run((net,), other_photos=photos), load(net)
    facts = [folder_of(config, run).name, photos.limit, RANK, config.seed, generator.fingerprint]
    path = config.work.resolve() / "adapted" / f"{signature_of(facts)}.safetensors"
    if not path.exists():
        protect(config, [run])
        job, size = evaluation_of(config, run), generator.size
        views = [look([pair], job.config, [size])[0].seen.get((CLEAN, size)) for pair in job.pairs]
        photo, file, _ = torch.stack([torch.from_numpy(view[0]) for view in views if view is not None]).unbind(1)
        tuned, losses = fine_tune(generator, photo, file, rank=RANK, seed=config.seed)
        CONSOLE.print(f"fine-tuned: loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(tuned.net, path, metadata={"size": str(size), "classes": json.dumps(dict(tuned.classes))})
    return net._replace(label="fine-tuned", weights=path)


TABLE = Table(
    name="table-red-team",
    title="What a determined attacker does",
    photos=12,
    rows=attackers,
    lines=("attacker", "compared"),
    columns="files",
)
