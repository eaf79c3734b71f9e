"""Faces found and broken: recall of the finder, and what is left of a protection on the exact crop and on crops beside it.

``python -m tests.bench.faces recall PHOTOS`` where each file of the folder shows one face: upright, tilted, small; and the people
of the package openpeople from three sides. ``python -m tests.bench.faces groups OUT --people 2 5 20`` makes group pictures of them,
protects each without and with --jitter, and measures the files on the exact crops and on eight beside each. Prints Markdown.
With ``--faces FOLDER --split test`` the groups are made of people of that split of its ``labels.csv``, one photo each.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.cli import run_verb
from pipeline.containers.listing import boxes_of
from pipeline.disruption.view import View
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import load_generator
from pipeline.images import LOST, THRESHOLD
from pipeline.images.boxes import jitter_box
from pipeline.images.effect import l2, structure_lost
from pipeline.images.resize import pixels_to_tensor
from pipeline.images.types import U8, Box
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.jobs.samples import sample_people
from pipeline.photos.faces import find_faces

PANELS = {
    "from the front": (0.029, 0.079, 0.229, 0.357),
    "half to the side": (0.277, 0.079, 0.477, 0.357),
    "profile": (0.772, 0.079, 0.971, 0.357),
}
"""Where the sheet of a person shows the head from three sides: left, top, right, bottom as shares."""
PORTRAIT, STEP = 500, 330
"""Side of a pasted portrait in pixels, whose face has about 180, and how far they are apart: less than the sides of their crops."""
CROP, CROP_STEP, MARGIN = 256, 234, 40
"""The same for crops of faces, which are twice the side of the face, and the grey around the group: room for crops beside."""
HEADS = (
    *("people", "`--jitter`", "found", "% dis., exact", "8 crops beside", "of the weakest face, exact", "8 crops beside"),
    *("by both measures, exact", "8 crops beside", "mean L2, exact", "8 crops beside", "PSNR", "s"),
)
NOBODY = "nobody in it"
Point = tuple[float, float]


def picture_of(path: Path) -> Image.Image:
    """The picture as it is shown."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def centre_of(box: Box) -> Point:
    """The middle of a box."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def hits(boxes: Sequence[Box], centre: Point) -> list[Box]:
    """The boxes whose middle lies within half of their side from where the face is."""
    return [box for box in boxes if math.dist(centre_of(box), centre) < (box[2] - box[0]) / 2]


def tilted(image: Image.Image, degrees: float, centre: Point) -> tuple[Image.Image, Point]:
    """The picture turned around its middle on a larger canvas, and where the face is then."""
    turned = image.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
    x, y, angle = centre[0] - image.width / 2, centre[1] - image.height / 2, math.radians(degrees)
    moved = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return turned, (turned.width / 2 + moved[0], turned.height / 2 + moved[1])


def shrunk(image: Image.Image, share: float, centre: Point) -> tuple[Image.Image, Point]:
    """The picture smaller, in the middle of a grey canvas of its own size, and where the face is then."""
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    canvas = Image.new("RGB", image.size, (128, 128, 128))
    at = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    canvas.paste(image.resize(size, Image.Resampling.LANCZOS), at)
    return canvas, (at[0] + centre[0] * share, at[1] + centre[1] * share)


Finder = Callable[[U8], Sequence[Box]]


def recall(photos: Path, without: Sequence[Path], find: Finder) -> None:
    """Print for each kind of picture in how many the face is found, and boxes that are no face; dlib says where each face is.

    The files of ``without`` show nobody.
    """
    kinds: dict[str, list[tuple[int, int, float]]] = {}

    def look(kind: str, image: Image.Image, centre: Point | None) -> None:
        began = time.process_time()
        boxes = find(np.asarray(image))
        right = hits(boxes, centre) if centre else boxes[:0] if kind == NOBODY else boxes[:1]
        seconds = (time.process_time() - began) / (image.width * image.height / 1e6)
        kinds.setdefault(kind, []).append((bool(right), len(boxes) - len(right), seconds))

    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in {".jpg", ".png", ".webp"})
    for path in files:
        image = picture_of(path)
        image.thumbnail((1024, 1024))
        found = find_faces(np.asarray(image))
        if not found:
            kinds.setdefault("upright", []).append((False, 0, 0.0))
            continue
        centre, side = centre_of(found[0]), found[0][2] - found[0][0]
        look("upright", image, centre)
        for degrees in (15, 30, 45, 90):
            for sign in (-1, 1):
                look(f"tilted by {degrees} degrees", *tilted(image, sign * degrees, centre))
        for pixels in (80, 60, 45, 30):
            if side > pixels:
                look(f"small: face of {pixels} px", *shrunk(image, pixels / side, centre))
    for person in sample_people():
        with (person / "assets" / "character_sheet.jpg").open("rb") as file, Image.open(file) as sheet:
            for name, (left, top, right, bottom) in PANELS.items():
                w, h = sheet.size
                panel = sheet.convert("RGB").crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))
                look(f"sheet: {name}", panel, None)
    for path in without:
        look(NOBODY, picture_of(path), None)
    print("| picture | face found | other boxes | s a megapixel |\n|---|---|---|---|")
    for kind, seen in kinds.items():
        hit, other, times = (np.array(column) for column in zip(*seen, strict=True))
        print(f"| {kind} | {hit.sum()} of {len(seen)} | {other.sum()} | {np.median(times):.2f} |")


def generated_people() -> tuple[list[Image.Image], list[Point]]:
    """A portrait of each generated person, and the middle of its face."""
    portraits = []
    for person in sample_people():
        with (person / "assets" / "studio_portrait.jpg").open("rb") as file, Image.open(file) as image:
            portraits.append(image.convert("RGB").resize((PORTRAIT, PORTRAIT), Image.Resampling.LANCZOS))
    return portraits, [centre_of(find_faces(np.asarray(portrait))[0]) for portrait in portraits]


def held_out_people(folder: Path, split: str, people: int) -> tuple[list[Image.Image], list[Point]]:
    """The first photo of as many people of a split of ``labels.csv``, evenly spread over them, and the middle of each face.

    The files are square crops with the face in their middle. Photos whose licence is not stated are left out.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split and row["licence"] == "MIT"]
    first = {row["identity"]: row["file"] for row in reversed(rows)}
    files = [first[name] for name in sorted(first)]
    chosen = [files[number * len(files) // people] for number in range(people)]
    crops = [picture_of(folder / name).resize((CROP, CROP), Image.Resampling.LANCZOS) for name in chosen]
    return crops, [(CROP / 2, CROP / 2)] * people


def group_of(
    people: int, portraits: Sequence[Image.Image], centres: Sequence[Point], step: int, margin: int = 0
) -> tuple[Image.Image, list[Point]]:
    """As many people side by side, in rows of five, and the middles of their faces; where portraits come again, mirrored."""
    columns, rows, side = min(people, 5), math.ceil(people / 5), portraits[0].width
    canvas = Image.new("RGB", tuple(step * (n - 1) + side + 2 * margin for n in (columns, rows)), (128, 128, 128))  # type: ignore[arg-type]
    faces = []
    for number in range(people):
        at = margin + step * (number % 5), margin + step * (number // 5)
        portrait, (x, y) = portraits[number % len(portraits)], centres[number % len(portraits)]
        if number >= len(portraits):
            portrait, x = ImageOps.mirror(portrait), side - x
        canvas.paste(portrait, at)
        faces.append((at[0] + x, at[1] + y))
    return canvas, faces


def groups(
    out: Path,
    people: Sequence[int],
    ways: Sequence[str],
    words: Sequence[str],
    *,
    faces_of: Path | None,
    split: str,
    generator: str,
) -> None:
    """Print for each group and way, exact or jitter, how many faces were found and how many pairs are broken."""
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for count in people:
        photos = out / f"{count}"
        photos.mkdir(parents=True, exist_ok=True)
        if faces_of:
            image, faces = group_of(count, *held_out_people(faces_of, split, count), CROP_STEP, MARGIN)
        else:
            image, faces = group_of(count, *generated_people(), STEP)
        image.save(photos / "group.png")
        for way in ways:
            line = measure(photos, out / f"{count}-{way}", faces, way == "jitter", words, name=generator)
            print(f"| {' | '.join(line)} |", flush=True)


def measure(photos: Path, protected: Path, faces: list[Point], jitter: bool, words: Sequence[str], *, name: str) -> list[str]:
    """The line of one group."""
    options = [
        "--engine",
        "local",
        "--no-tracking",
        "--examples",
        "0",
        "--region",
        "faces",
        "--recipe",
        "pgd",
        "--generator",
        name,
        *(["--jitter"] if jitter else []),
        *words,
    ]
    with redirect_stdout(io.StringIO()):
        run_verb("protect", [str(photos), str(protected), *options])
    (row,) = pq.read_table(protected / "manifest.parquet").to_pylist()
    boxes = list(boxes_of(row["boxes"]))
    found = sum(any(math.dist(centre_of(box), face) < (box[2] - box[0]) / 4 for box in boxes) for face in faces)
    generator = load_generator(name)
    before, after = (pixels_to_tensor(np.asarray(picture_of(path))) for path in (photos / "group.png", protected / "group.png"))
    size = (before.shape[3], before.shape[2])
    exact = np.stack([np.array(row[name]).reshape(len(boxes), -1) for name in ("face_l2", "face_lost")], -1)
    rng = np.random.default_rng(0)
    crops = [[jitter_box(box, rng.uniform(-1, 1, 3).tolist(), size) for _ in range(8)] for box in boxes]
    beside = np.array([[broken(generator, before, after, crop) for crop in own] for own in crops])
    shares = [values[..., 0] >= THRESHOLD for values in (exact[:, None], beside)]
    visible = [share & (values[..., 1] >= LOST) for share, values in zip(shares, (exact[:, None], beside), strict=True)]
    return [
        f"{len(faces)}",
        "yes" if jitter else "no",
        f"{found} of {len(faces)}, {len(boxes) - found} others",
        *(f"{100 * share.mean():.1f} %" for share in shares),
        *(f"{100 * share.mean((1, 2)).min():.1f} %" for share in shares),
        *(f"{100 * share.mean():.1f} %" for share in visible),
        *(f"{values[..., 0].mean():.3f}" for values in (exact, beside)),
        f"{row['psnr']:.1f} dB",
        f"{row['seconds']:.0f}",
    ]


@torch.no_grad()
def broken(generator: Generator, before_1CHW: Tensor, after_1CHW: Tensor, crop: Box) -> list[tuple[float, float]]:
    """L2 and lost share of each class on one crop of both pictures."""
    view = View(crop, 1, generator.size)
    x, y = view(before_1CHW), view(after_1CHW)
    pairs = [(generator(y, name), generator(x, name)) for name in generator.classes]
    return [(float(l2(after - before)), float(structure_lost(after, before))) for after, before in pairs]


def centerface(model: Path, least: float) -> Finder:
    """CenterFace as a finder; imported here, since onnxruntime is not everywhere."""
    from tests.bench.centerface import CenterFace

    return CenterFace(model, least)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Faces found and broken.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    found = verbs.add_parser("recall")
    found.add_argument("photos", type=Path)
    found.add_argument("--without", type=Path, nargs="+", default=[], help="pictures of nobody")
    found.add_argument("--centerface", type=Path, help="the file of tests/bench/centerface.py, to find faces instead of dlib")
    found.add_argument("--least", type=float, default=0.5, help="the score that CenterFace has to give")
    broken = verbs.add_parser("groups")
    broken.add_argument("out", type=Path)
    broken.add_argument("--people", type=int, nargs="+", default=[2, 5, 20])
    broken.add_argument("--ways", nargs="+", default=["exact", "jitter"], choices=("exact", "jitter"))
    broken.add_argument("--faces", type=Path, help="folder of square crops of faces with labels.csv, for people held out")
    broken.add_argument("--generator", default=DEFAULT_GENERATOR)
    broken.add_argument("--split", default="test", help="the split of --faces that people are taken from")
    args, words = parser.parse_known_args()
    if args.verb == "recall":
        recall(args.photos, args.without, centerface(args.centerface, args.least) if args.centerface else find_faces)
    else:
        groups(args.out, args.people, args.ways, words, faces_of=args.faces, split=args.split, generator=args.generator)


if __name__ == "__main__":
    main()
