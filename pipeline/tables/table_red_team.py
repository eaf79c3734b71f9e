"""What a determined attacker does: washes the file, uses a hardened generator, or fine-tunes a generator on protected photos."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pipeline.channels.channels import RED_TEAM
from pipeline.evaluation.look import look
from pipeline.evaluation.summary import CLEAN
from pipeline.generators.checkpoint import save_weights
from pipeline.generators.generator import Generator, fingerprint_of
from pipeline.tables.bench import CONSOLE, digest, evaluation_of, folder_of, protect
from pipeline.tables.cells import Net, Row, Run, Table, row
from pipeline.tables.nets import load, training_photos
from pipeline.tables.options import TableError, TablesConfig

LEFT, OUTCOME = "his output on the photo, treated alike", "the untouched output"
RANK = 4


class LowRank(nn.Module):
    """A weight (a, b, ...) plus the product of (a, rank) and (rank, b * ...): zero at first. Source: Hu et al. 2022, LoRA."""

    def __init__(self, weight: Tensor, rank: int, rng: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns, generator=rng).to(weight) / columns**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def fine_tune(
    generator: Generator, photo_NCHW: Tensor, protected_NCHW: Tensor, *, rank: int, batch: int = 4, lr: float = 5e-3, seed: int = 0
) -> tuple[Generator, list[float]]:
    """The generator after one pass over the pairs, and the loss of each step: mean (G'(protected, c) - G(photo, c))^2.

    The pairs are what the generator sees of photos and of their protected files, (N, 3, S, S) in [-1, 1]. Only low-rank adapters on
    the convolutions learn; they are added to the weights at the end. ``seed`` decides order, classes and first adapters.
    ``generator`` stays as it is. Raises TableError for a net without convolutions.
    """
    net = copy.deepcopy(generator.net).requires_grad_(False)
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    if not convolutions:
        raise TableError(f"{generator.name} has no convolutions to adapt")
    rng = torch.Generator().manual_seed(seed)
    for module in convolutions:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, rng))
    optimiser = torch.optim.Adam([weight for weight in net.parameters() if weight.requires_grad], lr=lr)
    losses, rng = [], torch.Generator().manual_seed(seed)
    for index_B in torch.randperm(len(photo_NCHW), generator=rng).split(batch):
        name = list(generator.classes)[int(torch.randint(len(generator.classes), (), generator=rng))]
        with torch.no_grad():
            wanted_BCHW = generator(photo_NCHW[index_B], name)
        c_BK = photo_NCHW.new_tensor([generator.classes[name]]).expand(len(index_B), -1)
        loss = (generator.translate(net, protected_NCHW[index_B], c_BK) - wanted_BCHW).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    for module in convolutions:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return dataclasses.replace(generator, net=net, fingerprint=fingerprint_of(net)), losses


def rows_of(config: TablesConfig, nets: Mapping[str, Net]) -> list[Row]:
    """Every attacker for plain and robust files; the generator is fine-tuned first."""
    net, hardened = nets["stargan"], nets["hardened"]
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
    path = config.work.resolve() / "adapted" / f"{digest(facts)}.safetensors"
    if not path.exists():
        protect(config, [run])
        job, size = evaluation_of(config, run), generator.size
        views = [look([pair], job.config, [size])[0].seen.get((CLEAN, size)) for pair in job.pairs]
        photo, file, _ = torch.stack([torch.from_numpy(view) for view in views if view is not None]).unbind(1)
        tuned, losses = fine_tune(generator, photo, file, rank=RANK, seed=config.seed)
        CONSOLE.print(f"fine-tuned: loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(tuned.net, path, metadata={"size": str(size), "classes": json.dumps(dict(tuned.classes))})
    return dataclasses.replace(net, label="fine-tuned", weights=path)


TABLE = Table(
    name="table-red-team",
    title="What a determined attacker does",
    caption="Files protected against the shipped StarGAN (epsilon 6 levels, all classes in turn), and an attacker who wants the "
    "translation anyway. Low numbers are good for the attacker.",
    photos=12,
    rows=rows_of,
    lines=("attacker", "compared"),
    columns="files",
    drawn="disrupted",
)
