"""Which colours and how fine a signal is found best: ``python tests/bench/colours.py FACES``. Prints a table; takes a minute.

A random signal of at most 1.5 levels is added to photos of FACES, sent through a channel, and looked for by a matched filter that
knows the mean power spectrum of photos without one. The number is how many standard deviations photos with it lie above those
without, for a whole photo. No network takes part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.channels.channels import find_channels
from pipeline.photos.photo import U8
from pipeline.tables.nets import photos_of
from pipeline.tables.signals.scores import read_photos

SIDE, LEVELS, TRAINED, MEASURED = 64, 1.5, 400, 150
COLOURS: dict[str, tuple[float, float, float] | None] = {
    "each plane its own": None,
    "grey": (1, 1, 1),
    "blue to yellow": (0, -0.2, 1),
    "red to cyan": (1, -0.5, 0),
    "red to blue": (1, -0.33, -0.9),
    "green to magenta": (1, -1, 1),
}


def spectrum(pixels_HWC: np.ndarray) -> Tensor:
    """The spectrum of a picture at the detector's side, faded out at its edges, (S, S, 3)."""
    x_1CHW = torch.from_numpy(np.ascontiguousarray(pixels_HWC)).permute(2, 0, 1)[None].float()
    x_CHW = F.interpolate(x_1CHW, (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    window = torch.hann_window(SIDE, periodic=False)
    spectrum_CHW: Tensor = torch.fft.fft2((x_CHW - x_CHW.mean((1, 2), keepdim=True)) * window[:, None] * window, norm="ortho")
    return spectrum_CHW.permute(1, 2, 0)


def fresh(cells: int, colour: tuple[float, float, float] | None, side: int) -> np.ndarray:
    """A random signal with details of SIDE / cells pixels, (side, side, 3) in levels."""
    coarse = torch.randn(1, 1 if colour else 3, cells, cells, generator=torch.Generator().manual_seed(5))
    planes = torch.tanh(2 * F.interpolate(coarse, (SIDE, SIDE), mode="bicubic"))
    planes = planes * torch.tensor(colour)[:, None, None] if colour else planes
    return LEVELS * F.interpolate(planes, (side, side), mode="bicubic")[0].permute(1, 2, 0).numpy()


def deviations(signal_HWC: np.ndarray, photos: Sequence[U8], whitening_HWCC: Tensor, channel: str) -> float:
    """How far photos with the signal lie above those without it after a channel, in standard deviations of the latter."""
    (sent,) = find_channels([channel])
    template = spectrum(signal_HWC).conj()

    def answers(files: Sequence[U8]) -> np.ndarray:
        seen = [spectrum(sent.apply(x, i)) for i, x in enumerate(files)]
        return np.array([torch.einsum("hwc,hwcd,hwd->", template, whitening_HWCC, one).real.item() for one in seen])

    signed = [np.clip(np.rint(x + signal_HWC), 0, 255).astype(np.uint8) for x in photos]
    plain = answers(photos)
    return float((answers(signed).mean() - plain.mean()) / plain.std())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="folder of faces with labels.csv; split train is used")
    faces, channels = parser.parse_args().faces, ("clean", "jpeg-85", "webp-80", "half-size")
    photos = read_photos(photos_of(faces, "train"), TRAINED)
    print("| colours | details, px of 64 |" + "".join(f" {channel} |" for channel in channels))
    whitening = {}
    for channel in channels:
        (sent,) = find_channels([channel])
        X = torch.stack([spectrum(sent.apply(x, i)) for i, x in enumerate(photos)])
        whitening[channel] = torch.linalg.inv(torch.einsum("bhwc,bhwd->hwcd", X.conj(), X) / len(X) + 0.1 * torch.eye(3))
    for cells in (16, 32, 64):
        for name, colour in COLOURS.items():
            signal_HWC = fresh(cells, colour, photos[0].shape[0])
            found = [deviations(signal_HWC, photos[:MEASURED], whitening[channel], channel) for channel in channels]
            print(f"| {name} | {SIDE // cells} |" + "".join(f" {value:.1f} |" for value in found), flush=True)


if __name__ == "__main__":
    main()
