"""`disrupt protect --find-signed`: how many signed and unsigned photos get the note, and what it costs beside signing alone.

``python -m tests.bench.find_signed FACES PHOTOS``: FACES is a folder of faces with ``labels.csv``, of which the people of split
test under MIT (real ones) are taken; PHOTOS a folder of larger ones. With the shipped bundle, one thread, processor time. The pace
is that of smooth made-up photos, from bytes to written files. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.containers.listing import PhotoRef
from pipeline.photos.decode import decode_photo
from pipeline.photos.photo import Photo, PhotoBrokenError, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.add import Add
from pipeline.protection.stages.find_signed import SIGNED_BEFORE, FindSigned
from pipeline.protection.stages.read import read_photos
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_photos
from pipeline.signals.bundle import read_bundle
from pipeline.storage import Folder
from tests.bench.throughput import make_photos

SHIPPED, SECRET = Path("shipped"), b"0123456789abcdef"
SIDES = {128: 120, 1024: 12, 3464: 4}
"""Sides in pixels, and how many photos of each are timed."""


def readable(files: Sequence[Path]) -> dict[str, Photo]:
    """The photos that are read, by name."""
    photos = {}
    for file in files:
        try:
            photos[file.name] = decode_photo(file.read_bytes())
        except (PhotoRefusedError, PhotoBrokenError):
            continue
    return photos


def noted(find: FindSigned, photos: dict[str, Photo]) -> int:
    """How many of them get the note."""
    return sum(SIGNED_BEFORE in find([Work(PhotoRef(name, "", 0), name, photo=photo)])[0].notes for name, photo in photos.items())


def seconds(does: Callable[[Sequence[Work]], object], works: Sequence[Work]) -> float:
    """Processor seconds for each."""
    began = time.process_time()
    for work in works:
        does([work])
    return (time.process_time() - began) / len(works)


def sign(works: Sequence[Work], *, add: Add, config: ProtectConfig, to: Destination) -> None:
    """The lane of signals alone."""
    write_photos(add(read_photos(works, max_pixels=10**9)), config, to)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Photos that carry a signal already.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("photos", type=Path)
    args = parser.parse_args()
    bundle = read_bundle(SHIPPED)
    signer, find = Signer(bundle, SECRET), FindSigned(bundle, list, threads=1)
    with (args.faces / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["licence"]) == ("test", "MIT")]
    faces = [args.faces / row["file"] for row in rows if row["source"] != "openpeople"]
    print("| photos | all | unsigned, noted | signed, noted |\n|---|---|---|---|")
    for name, files in (("faces", faces), ("photos", sorted(args.photos.glob("*.jpg")))):
        photos = readable(files)
        signed = {key: dataclasses.replace(photo, pixels_HWC=signer(photo)) for key, photo in photos.items()}
        print(f"| {name} | {len(photos)} | {noted(find, photos)} | {noted(find, signed)} |")
    print("\n| side | ms signing alone | ms finding | share |\n|---|---|---|---|")
    for side, count in SIDES.items():
        with tempfile.TemporaryDirectory() as place:
            folder, add = make_photos(Path(place) / "in", count, side), Add(signer)
            works = [Work(PhotoRef(file.name, str(file), file.stat().st_size), file.name) for file in sorted(folder.iterdir())]
            config = ProtectConfig(str(folder), place, recipe="none", signals=SHIPPED)
            to = Destination(Folder(f"{place}/out"), "", None, bundle.id)
            signing = seconds(partial(sign, add=add, config=config, to=to), works)
            finding = seconds(find, read_photos(works, max_pixels=10**9))
        print(f"| {side} | {1000 * signing:.1f} | {1000 * finding:.1f} | {finding / signing:.2f} |")


if __name__ == "__main__":
    main()
