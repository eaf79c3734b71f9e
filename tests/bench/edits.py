"""Edits of a part of signed faces: are they caught, and does the map say where? ``python tests/bench/edits.py FACES BUNDLE``.

One photo each of people of ``--split``, with a signal, then a feathered part of it replaced by another face, warped, painted over
or recoloured. Prints the share that is caught at the bundle's decision and the mean IoU of the map (from 0.5 on) with
the part (from half its weight on), the share of untouched files that is called out, and how many files without a signal carry one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from pipeline.images.resize import pixels_to_tensor
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import U8
from pipeline.signals import edits
from pipeline.signals.bundle import Bundle, Thresholds, bundle_path, read_bundle
from pipeline.signals.judge import HONEST
from pipeline.signals.judgement import Judgement
from pipeline.tables.signals.scores import judge_of, sign
from pipeline.training.data.faces import TABLE, label_rows

KINDS = {"another face": edits.swap, "warped": edits.warp, "painted over": edits.fill, "recoloured": edits.recolour}


def people(folder: Path, split: str, count: int) -> list[U8]:
    """One photo of each person of a split."""
    rows = [row for _, row in label_rows(folder / TABLE, ("file", "split", "identity")) if row["split"] == split]
    first = {row["identity"]: folder / row["file"] for row in reversed(rows)}
    return [decode_photo(path.read_bytes()).pixels_HWC for path in sorted(first.values())[:count]]


def edited(photos: Sequence[U8], kind: edits.Edit, area: float, side: int) -> Iterator[tuple[U8, np.ndarray]]:
    """Each photo with a part of this share of its area edited, and where, (side, side) of bool."""
    for i, pixels in enumerate(photos):
        draws = edits.Draws(torch.Generator().manual_seed(i))
        x, other = pixels_to_tensor(pixels), pixels_to_tensor(photos[(i + 1) % len(photos)])
        mask = edits.blob(tuple(x.shape[2:]), draws, area=area)
        y = (x + mask * (kind(x, other, draws) - x)).clamp(-1, 1)
        where = F.interpolate(mask, (side, side), mode="area")[0, 0].numpy() > 0.5
        yield ((y[0].permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy(), where


def caught(judgement: Judgement, limits: Thresholds) -> bool:
    """Whether one signed picture is anything but untouched."""
    lost = limits.carries is not None and judgement.likeness_B[0] <= limits.carries
    return bool(lost or judgement.manipulated_B[0] > limits.manipulated)


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--area", type=float, nargs="+", default=[0.05, 0.12, 0.25])
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = read_bundle(bundle_path(options.bundle))
    judge, limits, rate = judge_of(bundle), *_limits(bundle)
    photos = people(options.faces, options.split, options.people)
    signed = sign(photos, bundle)
    print(f"{len(photos)} people of split {options.split}, rate {rate:.4f}, {limits}")
    for name, handle in HONEST.items():
        untouched = np.mean([caught(judge([handle(x, i)]), limits) for i, x in enumerate(signed)])
        carries = np.mean([judge([handle(x, i)]).likeness_B[0] > (limits.carries or -1) for i, x in enumerate(photos)])
        print(f"  {name:10} untouched called out {untouched:.3f}, unsigned said to carry a signal {carries:.3f}", flush=True)
    for area in options.area:
        for kind, edit in KINDS.items():
            pairs = list(edited(signed, edit, area, bundle.size // 2))
            judgements = [judge([pixels]) for pixels, _ in pairs]
            marked = [one.changed_BHW[0] > 0.5 for one in judgements]
            iou = [(m & w).sum() / max((m | w).sum(), 1) for m, (_, w) in zip(marked, pairs, strict=True)]
            share = np.mean([caught(one, limits) for one in judgements])
            print(f"  {area:.0%} of the area {kind:13} caught {share:.3f}, IoU {np.mean(iou):.3f}", flush=True)


def _limits(bundle: Bundle) -> tuple[Thresholds, float]:
    rate = max(0.01, bundle.least_rate)
    return bundle.thresholds(rate), rate


if __name__ == "__main__":
    main()
