"""What an independent probe reads off a generator's edits, how much of a photo is given back, and how the net breaks.

``python -m tests.bench.probe FACES --generator stargan-faces --picture sheet.png``. The probe is a small classifier that learns
from photos with the licence ``--probe-licence`` alone, which the generator never saw; ``--probe FILE`` keeps it. A row of the sheet
is a photo, the photo given back, and each class.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.recipes import RECIPES
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images.effect import breakage, l2
from pipeline.images.levels import level_to_unit, pixels_to_unit, unit_to_pixels
from pipeline.images.resize import resize
from pipeline.training.data.batches import crop_flip_resize, draw_views, for_discriminator, resized, stream_of
from pipeline.training.data.faces import Faces, load_faces
from pipeline.training.data.labels import ATTRIBUTES
from pipeline.training.loop import grid
from pipeline.training.systems.losses import classification

SIDE = 64
"""Of what the probe is shown, whatever the side of the generator."""


def probe_net(count: int) -> nn.Sequential:
    """Images (B, 3, 64, 64) to logits (B, count)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((32, 2), (48, 1), (64, 2), (96, 1), (128, 2), (192, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels * 16, count))


def train_probe(faces: Faces, *, steps: int, batch: int = 32, seed: int = 0) -> nn.Sequential:
    """A probe that read each attribute off ``steps`` batches, present and absent alike often; frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = probe_net(len(ATTRIBUTES)).train()
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
        share_K = (faces.labels_NK * faces.known_NK).sum(0) / faces.known_NK.sum(0)
        for step in range(steps):
            rng = stream_of(seed, step)
            index_B = torch.randint(len(faces.names), (batch,), generator=rng)
            x_BCHW = crop_flip_resize(faces.u8_NCHW[index_B], SIDE, rng)
            x_BCHW = for_discriminator(x_BCHW, draw_views(batch, SIDE, rng))
            labels_BK, known_BK = faces.labels_NK[index_B], faces.known_NK[index_B]
            weights_BK = torch.where(labels_BK > 0, 0.5 / share_K, 0.5 / (1 - share_K)) * known_BK
            logits_BK = net(x_BCHW)
            optimiser.zero_grad()
            classification(logits_BK, labels_BK * 0.9 + 0.05, weights_BK).backward()
            optimiser.step()
            schedule.step()
    return net.requires_grad_(False).eval()


def read(net: nn.Module, x_BCHW: Tensor) -> Tensor:
    """The probe's logits (B, count) of images of any side."""
    logits_BK: Tensor = net(resize(x_BCHW, (SIDE, SIDE)))
    return logits_BK


def balanced_accuracy(net: nn.Module, x_BCHW: Tensor, faces: Faces) -> list[float]:
    """The mean of the shares that are read right among photos with and without each attribute."""
    right_NK = ((read(net, x_BCHW) > 0) == (faces.labels_NK > 0)).float()
    values = []
    for k in range(right_NK.shape[1]):
        known_N = faces.known_NK[:, k] > 0
        with_N = known_N & (faces.labels_NK[:, k] > 0)
        values.append(0.5 * (right_NK[with_N, k].mean() + right_NK[known_N & ~with_N, k].mean()).item())
    return values


def agreement(logits_BK: Tensor, condition: tuple[float, ...]) -> Tensor:
    """Whether the probe reads every asked label as asked, (B,); of hair colours only the one that is set, above the other."""
    asked = torch.tensor(condition)
    if (asked[:2] > 0).any():
        return logits_BK[:, :2].argmax(1) == int(asked[:2].argmax())
    k = int(asked.abs().argmax())
    return (logits_BK[:, k] > 0) == (asked[k] > 0)


def lacks(faces: Faces, condition: tuple[float, ...]) -> Tensor:
    """Which faces do not have what the condition asks for, (N,)."""
    asked = torch.tensor(condition)
    k = int(asked.argmax()) if (asked > 0).any() else int(asked.abs().argmax())
    return faces.labels_NK[:, k] != float(asked[k] > 0)


def print_edits(generator: Generator, probe: nn.Module, x_BCHW: Tensor, faces: Faces) -> None:
    """A row for each class."""
    print("| class | L1 to the photo | probe agrees, before | after | after, of the faces without it |\n" + "| --- " * 5 + "|")
    rows = []
    for name, condition in generator.classes.items():
        y_BCHW = generator(x_BCHW, name)
        before_B, after_B = (agreement(read(probe, image), condition).float() for image in (x_BCHW, y_BCHW))
        without_B = lacks(faces, condition)
        rows.append((before_B.mean().item(), after_B.mean().item(), after_B[without_B].mean().item()))
        shares = " | ".join(f"{100 * share:.0f} %" for share in rows[-1])
        print(f"| {name} | {(y_BCHW - x_BCHW).abs().mean().item():.3f} | {shares} |")
    means = " | ".join(f"{100 * sum(column) / len(rows):.0f} %" for column in zip(*rows, strict=True))
    print(f"| mean | | {means} |\n")


def print_breakage(generator: Generator, x_NCHW: Tensor, *, steps: int, epsilon: float, objectives: list[Any]) -> None:
    """What PGD does to the photos over all classes jointly, rounded to 8 bits: a row for each objective."""
    target = Target(lambda x: x, {name: generator.output(name) for name in generator.classes})
    print("| PGD, objective | L2 | L2 >= .05 | levelled | local | SSIM of outputs |\n" + "| --- " * 6 + "|")
    for objective in objectives:
        recipe = dataclasses.replace(RECIPES["pgd"], steps=steps, objective=objective)
        streams = streams_for([str(i) for i in range(len(x_NCHW))], 0)
        y = disrupt(x_NCHW, [target], recipe, epsilon=level_to_unit(epsilon), streams=streams)
        y = pixels_to_unit(unit_to_pixels(y))
        found = []
        for name in generator.classes:
            broken, clean = generator(y, name), generator(x_NCHW, name)
            one, d = breakage(broken, clean, x_NCHW), l2((broken - clean).double())
            found.append(torch.stack([d, (d >= 0.05).double(), one.levelled, one.local, one.ssim]))
        m = torch.cat(found, 1).mean(1).tolist()
        print(f"| {objective} | {m[0]:.3f} | {100 * m[1]:.0f} % | {m[2]:.4f} | {m[3]:.4f} | {m[4]:.2f} |", flush=True)


@torch.no_grad()
def main() -> None:
    """Print what the probe reads, then the breakage; write the sheet."""
    parser = argparse.ArgumentParser(description="Edits read by an independent probe, and how the net breaks.")
    parser.add_argument("faces", type=Path, help="folder with labels.csv")
    parser.add_argument("--generator", default="stargan-faces")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--split", default="test")
    parser.add_argument("--licence", default="MIT")
    parser.add_argument("--probe", type=Path, default=None, help="file of the probe; made where there is none")
    parser.add_argument("--probe-licence", default="photos-unstated")
    parser.add_argument("--probe-steps", type=int, default=800)
    parser.add_argument("--break", dest="broken", type=int, default=0, help="so many faces are disrupted")
    parser.add_argument("--objectives", nargs="+", default=["l2"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--epsilon", type=float, default=6, help="levels")
    parser.add_argument("--picture", type=Path, default=None)
    parser.add_argument("--only", default="", help="part of the names of the faces of the picture")
    parser.add_argument("--rows", type=int, default=8)
    a = parser.parse_args()
    generator = load_generator(a.generator, weights=a.weights)
    faces = load_faces(a.faces, attributes=ATTRIBUTES, split=a.split, licences=(a.licence,))
    x_NCHW = resized(faces.in_memory, generator.size)
    nothing_NK = torch.zeros(len(x_NCHW), len(ATTRIBUTES))
    same_NCHW = generator.translate(generator.net, x_NCHW, nothing_NK)
    print(f"{len(x_NCHW)} faces; L1 of giving a photo back: {(same_NCHW - x_NCHW).abs().mean().item():.4f}\n", flush=True)
    if a.picture:
        pick = [i for i, name in enumerate(faces.names) if a.only in name]
        pick = [pick[i] for i in torch.linspace(0, len(pick) - 1, min(a.rows, len(pick))).long().tolist()]
        columns = [x_NCHW[pick], same_NCHW[pick], *(generator(x_NCHW[pick], name) for name in generator.classes)]
        sheet = grid(columns)
        sheet.resize((3 * sheet.width, 3 * sheet.height), Image.Resampling.BICUBIC).save(a.picture, quality=90)
    if a.probe and a.probe.exists():
        probe = probe_net(len(ATTRIBUTES))
        probe.load_state_dict(torch.load(a.probe, weights_only=True))
        probe.eval()
    else:
        theirs = load_faces(a.faces, attributes=ATTRIBUTES, split="train", licences=(a.probe_licence,))
        with torch.enable_grad():
            probe = train_probe(theirs, steps=a.probe_steps)
        if a.probe:
            torch.save(probe.state_dict(), a.probe)
    right = balanced_accuracy(probe, x_NCHW, faces)
    print("probe on photos: " + ", ".join(f"{n} {100 * r:.0f} %" for n, r in zip(ATTRIBUTES, right, strict=True)) + "\n")
    print_edits(generator, probe, x_NCHW, faces)
    if a.broken:
        broken = torch.linspace(0, len(x_NCHW) - 1, a.broken).long()
        with torch.enable_grad():
            print_breakage(generator, x_NCHW[broken], steps=a.steps, epsilon=a.epsilon, objectives=a.objectives)


if __name__ == "__main__":
    main()
