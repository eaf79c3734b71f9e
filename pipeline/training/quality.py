"""How good a trained generator is on faces it has not seen: does it keep the photo, does the edit arrive.

``python -m pipeline.training.quality STATE FACES --size 64`` prints the table of the model card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from pipeline.generators.checkpoint import load_weights, read_state_dict
from pipeline.generators.stargan import StarGANDiscriminator, stargan_from_state
from pipeline.training.attributes import ATTRIBUTES, class_conditions
from pipeline.training.augment import resized
from pipeline.training.faces import load_faces


def agreement(logits_BK: Tensor, c_BK: Tensor) -> float:
    """The share of asked attributes (c = +-1) that the classifier sees as asked, in [0, 1]."""
    asked = c_BK != 0
    return ((logits_BK > 0) == (c_BK > 0))[asked].float().mean().item()


@torch.no_grad()
def main() -> None:
    """Print L1 of giving photos back, of the edit, of the way there and back, and the classifier's agreement per class."""
    parser = argparse.ArgumentParser(description="Measure a training checkpoint on held-out faces.")
    parser.add_argument("state", type=Path)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--licence", default="MIT")
    a = parser.parse_args()
    G = stargan_from_state(read_state_dict(a.state, part="G_ema"), source=str(a.state))
    state_D = read_state_dict(a.state, part="D")
    D = StarGANDiscriminator(a.size, state_D["main.0.weight"].shape[0], len(ATTRIBUTES))
    load_weights(D, state_D, source=str(a.state))
    faces = load_faces(a.faces, attributes=ATTRIBUTES, split=a.split, licences=(a.licence,))
    x_BCHW = resized(faces.u8_NCHW, a.size)
    nothing_BK = torch.zeros(len(x_BCHW), len(ATTRIBUTES))
    correct = ((D(x_BCHW)[1] > 0) == (faces.labels_NK > 0))[faces.known_NK > 0].float().mean().item()
    print(f"{len(x_BCHW)} faces; L1 of G(x, nothing) to x: {(G(x_BCHW, nothing_BK) - x_BCHW).abs().mean():.4f}; ", end="")
    print(f"classifier right on photos: {100 * correct:.1f} %\n")
    print("| class | L1 to the photo | L1 there and back | classifier agrees, before | after |\n" + "| --- " * 5 + "|")
    for name, condition in class_conditions().items():
        c_BK = torch.tensor([condition]).expand(len(x_BCHW), -1)
        y_BCHW = G(x_BCHW, c_BK)
        back_BCHW = G(y_BCHW, (faces.labels_NK * 2 - 1) * (c_BK != 0))
        moved, cycle = (y_BCHW - x_BCHW).abs().mean(), (back_BCHW - x_BCHW).abs().mean()
        before, after = (100 * agreement(D(image)[1], c_BK) for image in (x_BCHW, y_BCHW))
        print(f"| {name} | {moved:.3f} | {cycle:.3f} | {before:.0f} % | {after:.0f} % |")


if __name__ == "__main__":
    main()
