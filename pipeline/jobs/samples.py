"""Sample photos for the demo: portraits of people who do not exist, from the package ``openpeople`` (MIT licence)."""

from __future__ import annotations

import io
import re
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from PIL import Image, ImageOps

from pipeline.storage import write_uri

SELFIES = 2
"""Beside one studio portrait a person; faces seen less straight."""
LONGEST_SIDE = 1024
"""Pixels. The originals have 2048 and more, which makes a demo four times as long and shows nothing more."""
_PERSON = re.compile(r"P\d+")


class SamplesMissingError(RuntimeError):
    """The package with the sample photos is not installed; the message says how to get it."""


def copy_samples(folder: str | Path) -> list[Path]:
    """The sample photos in ``folder`` (made if need be), 1024 px at the longest side; those already there are left as they are.

    Raises SamplesMissingError without the package ``openpeople``, OSError when the folder cannot be written.
    """
    return [_copy(photo, Path(folder) / name) for name, photo in sample_photos().items()]


def sample_people() -> list[Traversable]:
    """The folder of each person; raises SamplesMissingError without the package ``openpeople``."""
    try:
        curated = files("openpeople") / "data" / "curated"
    except ModuleNotFoundError as error:
        raise SamplesMissingError('the sample photos are not installed; get them with: pip install -e ".[samples]"') from error
    return sorted((entry for entry in curated.iterdir() if _PERSON.fullmatch(entry.name)), key=lambda entry: entry.name)


def sample_photos() -> dict[str, Traversable]:
    """The photos of the package by the name that their copies get: a studio portrait of each person, selfies of the first two."""
    people = sample_people()
    portraits = {f"{person.name}-portrait.jpg": person / "assets" / "studio_portrait.jpg" for person in people}
    selfies = {f"{person.name}-selfie.jpg": person / "assets" / "amateur_selfie.jpg" for person in people[:SELFIES]}
    return portraits | selfies


def _copy(photo: Traversable, to: Path) -> Path:
    if not to.exists():
        with photo.open("rb") as handle, Image.open(handle) as image:
            small = ImageOps.contain(image.convert("RGB"), (LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        small.save(file, "JPEG", quality=95, subsampling=0)
        write_uri(to, file.getvalue())
    return to


def main() -> int:
    """``python -m pipeline.jobs.samples FOLDER``: copy, say how many; returns the exit code."""
    if len(sys.argv) != 2:
        print("usage: python -m pipeline.jobs.samples FOLDER", file=sys.stderr)
        return 2
    try:
        copies = copy_samples(sys.argv[1])
    except SamplesMissingError as error:
        print(f"pipeline.jobs.samples: {error}", file=sys.stderr)
        return 2
    print(f"{len(copies)} sample photos of people who do not exist (package openpeople, MIT) in {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
