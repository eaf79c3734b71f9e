"""The plain training loop: batches in, a trained state out; one process, no Ray.

``python -m pipeline.training.loop DATA OUT`` trains the StarGAN for faces that the package ships.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from pipeline.training.attributes import ATTRIBUTES
from pipeline.training.augment import crop_flip_resize
from pipeline.training.faces import Faces, balanced_weights, load_faces
from pipeline.training.picture import sample_grid
from pipeline.training.stargan import StarGANLosses, train_step, warm_up_step
from pipeline.training.state import TrainState

WARM_UP_LR = 4.0
"""The generator's learning rate in the warm-up, as a multiple of the later one."""


def learning_rate(step: int, *, steps: int, lr: float) -> float:
    """``lr`` for the first half, then a straight line down to a twentieth of it."""
    done = min(step / steps, 1.0)
    return lr * (1.0 if done < 0.5 else 1.0 - 0.95 * (done - 0.5) / 0.5)


def train(
    state: TrainState,
    faces: Faces,
    *,
    size: int,
    batch: int,
    steps: int,
    warm_up: int,
    lr: float,
    losses: StarGANLosses,
    out: Path,
    every: int,
    held_out: Faces | None = None,
) -> TrainState:
    """Train up to step ``steps``; checkpoint, log line and sample grid under ``out`` every ``every`` steps."""
    out.mkdir(parents=True, exist_ok=True)
    weights_N = balanced_weights(faces.labels_NK)
    began, began_step = time.monotonic(), state.step
    sums: dict[str, list[float]] = {}
    while state.step < steps:
        warming = state.step < warm_up
        for optimiser, factor in ((state.opt_G, WARM_UP_LR if warming else 1.0), (state.opt_D, 1.0)):
            optimiser.param_groups[0]["lr"] = factor * learning_rate(state.step, steps=steps, lr=lr)
        index_B = torch.multinomial(weights_N, batch, replacement=True, generator=state.rng)
        x_BCHW = crop_flip_resize(faces.u8_NCHW[index_B], size, state.rng)
        step = warm_up_step if warming else train_step
        for name, value in step(state, x_BCHW, faces.labels_NK[index_B], faces.known_NK[index_B], losses).items():
            sums.setdefault(name, []).append(value)
        if state.step % every == 0 or state.step == steps:
            rate = (time.monotonic() - began) / (state.step - began_step)
            line = {"step": state.step, "s_per_step": round(rate, 3)} | {k: round(sum(v) / len(v), 4) for k, v in sums.items()}
            sums = {}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            state.save(out / "state.pt")
            if held_out is not None:
                sample_grid(state.G_ema, held_out, size=size, attributes=ATTRIBUTES).save(out / f"grid_{state.step:06d}.png")
    return state


def main() -> None:
    """Parse the options, then train from the start or from the checkpoint in OUT."""
    parser = argparse.ArgumentParser(description="Train the StarGAN for faces.")
    parser.add_argument("data", type=Path, help="folder with labels.csv and square faces")
    parser.add_argument("out", type=Path, help="folder for the checkpoint, the log and sample grids")
    parser.add_argument("--size", type=int, default=96, help="side of the images in pixels")
    parser.add_argument("--conv-dim", type=int, default=32, help="width of the generator's first layer")
    parser.add_argument("--d-conv-dim", type=int, default=32, help="width of the discriminator's first layer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4000, help="step to stop at; a checkpoint in OUT is continued")
    parser.add_argument("--warm-up", type=int, default=0, help="first steps, which only teach G to give photos back")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--rec", type=float, default=StarGANLosses.rec, help="weight of the cycle loss")
    parser.add_argument(
        "--keep", type=float, default=StarGANLosses.keep, help="weight of the distance of a translation to its photo"
    )
    parser.add_argument("--cls", type=float, default=StarGANLosses.cls, help="weight of the attribute loss")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    faces = load_faces(a.data, attributes=ATTRIBUTES, split="train", licences=("MIT",))
    held_out = load_faces(a.data, attributes=ATTRIBUTES, split="val", licences=("MIT",))
    state = TrainState.fresh(conv_dim=a.conv_dim, d_conv_dim=a.d_conv_dim, c_dim=len(ATTRIBUTES), size=a.size, lr=a.lr, seed=a.seed)
    if (a.out / "state.pt").exists():
        state.restore(a.out / "state.pt")
    losses = StarGANLosses(rec=a.rec, cls=a.cls, keep=a.keep)
    settings = {"size": a.size, "batch": a.batch, "steps": a.steps, "warm_up": a.warm_up, "every": a.every}
    train(state, faces, **settings, lr=a.lr, losses=losses, out=a.out, held_out=held_out)


if __name__ == "__main__":
    main()
