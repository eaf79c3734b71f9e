"""How far outputs are from the person in the photo, and how the recogniser was chosen. ``python tests/bench/identity.py FACES``.

FACES holds labels.csv (columns file, split, identity). Without ``--choose`` one photo each of people of split test is protected in
each way, and what generators make of files and photos is compared with the photos. ``--choose`` compares, on all photos of split
val, ways to show a small face to the recogniser: by the distances of photos of one person and of two people, and of the
undisrupted outputs of the generator to their photos. Needs the extra identity.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.containers.listing import PhotoRef
from pipeline.generators.zoo import load_generator
from pipeline.images import OTHER_PERSON
from pipeline.images.effect import as_pictures
from pipeline.images.resize import pixels_to_tensor, resize
from pipeline.images.types import F64, U8
from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.photos import identity
from pipeline.photos.decode import decode_photo
from pipeline.photos.faces import find_faces
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.disrupt import Protect
from pipeline.tables.nets import one_of_each, photos_of
from pipeline.training.data.faces import TABLE, label_rows

Embed = Callable[[U8, U8], F64 | None]
"""The embedding of a picture, and the photo that it was made of."""
PEOPLE = 24


def resized(picture_HWC: U8, _: U8) -> F64:
    """The whole crop as the recogniser's chip."""
    chip = Image.fromarray(picture_HWC).resize((identity.CHIP, identity.CHIP), Image.Resampling.BICUBIC)
    return np.array(identity._recogniser().compute_face_descriptor(np.asarray(chip)))


def in_box(picture_HWC: U8, box: Sequence[int]) -> F64:
    """The chip at the landmarks that are found in a box of the enlarged picture."""
    import dlib

    large_HWC = identity._enlarged(picture_HWC)
    landmarks = identity._landmarks()(large_HWC, dlib.rectangle(*box))
    return identity._embedding(large_HWC, dlib.get_face_chip_details(landmarks, identity.CHIP, identity.PADDING))


def in_whole(picture_HWC: U8, _: U8) -> F64:
    """Landmarks sought in the whole crop."""
    side = identity.LEAST_SIDE - 1
    return in_box(picture_HWC, (0, 0, side, side))


def in_face(picture_HWC: U8, photo_HWC: U8) -> F64 | None:
    """Landmarks of the picture itself, sought where dlib finds the face of the photo."""
    faces = find_faces(identity._enlarged(photo_HWC))
    return in_box(picture_HWC, (*faces[0][:2], *(edge - 1 for edge in faces[0][2:]))) if faces else None


def of_photo(picture_HWC: U8, photo_HWC: U8) -> F64 | None:
    """The chip at the landmarks of the photo: what `pipeline.photos.identity` takes."""
    person = identity.find_person(photo_HWC)
    return None if person is None else identity._embedding(identity._enlarged(picture_HWC), person.place)


WAYS: dict[str, Embed] = {
    "whole crop resized": resized,
    "landmarks in the whole crop": in_whole,
    "landmarks in the face found": in_face,
    "the same, of outputs those of the photo": of_photo,
}


def choose(faces: Path, generator_name: str) -> None:
    """Print, for each way, the distances of one person's photos, of two people's, and of outputs to their photos."""
    paths = photos_of(faces, "val")
    names = {row["file"]: row["identity"] for _, row in label_rows(faces / TABLE, ("file", "identity"))}
    photos, people = [decode_photo(path.read_bytes()).pixels_HWC for path in paths], [names[path.name] for path in paths]
    outputs = list(_outputs([photos[paths.index(path)] for path in one_of_each(faces, paths)[:PEOPLE]], generator_name))
    print(f"{len(paths)} photos of {len(set(people))} people of split val\n")
    print("| way | no face | one person | >= 0.6 | two people | < 0.6 | AUC | outputs |\n|---|---|---|---|---|---|---|---|")
    for name, embed in WAYS.items():
        found = [embed(photo, photo) for photo in photos]
        pairs = itertools.combinations([(who, e) for who, e in zip(people, found, strict=True) if e is not None], 2)
        distances: dict[bool, list[float]] = {True: [], False: []}
        for (one, a), (other, b) in pairs:
            distances[one == other].append(float(np.linalg.norm(a - b)))
        same, other_people = np.array(distances[True]), np.sort(distances[False])
        auc = 1 - np.searchsorted(other_people, same).mean() / len(other_people)
        of_outputs = [_apart(embed(photo, photo), embed(output, photo)) for photo, output in outputs]
        shares = [f"{100 * np.mean(same >= OTHER_PERSON):.1f} %", f"{100 * np.mean(other_people < OTHER_PERSON):.1f} %"]
        print(
            f"| {name} | {sum(e is None for e in found)} | {same.mean():.3f} | {shares[0]} | {other_people.mean():.3f} | "
            f"{shares[1]} | {auc:.3f} | {np.nanmean(of_outputs):.3f} |",
            flush=True,
        )


def _outputs(photos: Sequence[U8], name: str) -> Any:
    """What the generator saw of each photo with each of its undisrupted outputs."""
    generator = load_generator(name)
    for photo_HWC in photos:
        seen_BCHW = resize(pixels_to_tensor(photo_HWC), (generator.size, generator.size))
        with torch.no_grad():
            made_BCHW = generator.each(seen_BCHW, tuple(generator.classes)).flatten(0, 1)
        yield from ((as_pictures(seen_BCHW)[0], picture) for picture in as_pictures(made_BCHW))


def _apart(a: F64 | None, b: F64 | None) -> float:
    return math.nan if a is None or b is None else float(np.linalg.norm(a - b))


def measure(faces: Path, generator: str, recipes: Sequence[str], photos: int) -> None:
    """Print what the recogniser says of clean and broken outputs, and what it costs."""
    paths = one_of_each(faces, photos_of(faces, "test"))[:photos]
    print(f"{generator}, {len(paths)} people of split test\n")
    heads = ("recipe", "pairs", "clean", "broken", "clean >= 0.6", "broken >= 0.6", "broken further", "cpu s", "without")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for recipe in recipes:
        seconds = dict.fromkeys((False, True), 0.0)
        rows: list[tuple[float, float]] = []
        for measured in seconds:
            config = ProtectConfig("in", "out", generator=(generator,), recipe=recipe, identity=measured)
            stage = Protect(config, threads=1)
            for path in paths:
                data = path.read_bytes()
                began = time.process_time()
                (work,) = stage([Work(PhotoRef(path.name, "", len(data)), path.name, data=data, photo=decode_photo(data))])
                seconds[measured] += time.process_time() - began
                if measured and work.effect:
                    rows += zip(work.effect.identity_clean, work.effect.identity, strict=True)
        clean, broken = np.array([row for row in rows if not math.isnan(row[0])]).T
        shares = [100 * np.mean(values) for values in (clean >= OTHER_PERSON, broken >= OTHER_PERSON, broken > clean)]
        print(
            f"| {recipe} | {len(clean)} of {len(rows)} | {clean.mean():.3f} | {broken.mean():.3f} | "
            f"{' | '.join(f'{share:.1f} %' for share in shares)} | {seconds[True] / len(paths):.2f} | "
            f"{seconds[False] / len(paths):.2f} |",
            flush=True,
        )


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description="Distances of face embeddings.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--generator", default=DEFAULT_GENERATOR)
    parser.add_argument("--recipes", nargs="+", default=["quick", "pgd"])
    parser.add_argument("--photos", type=int, default=PEOPLE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.choose:
        choose(args.faces, args.generator)
    else:
        measure(args.faces, args.generator, args.recipes, args.photos)


if __name__ == "__main__":
    main()
