"""Photos per second of the lane of signals alone against decode + encode alone. ``python tests/bench/signals.py [--photos N]``.

All run in this process, on one thread, over the same photos, in turns. The lane is that of ``disrupt protect --recipe none`` in one
process: read, decode, add the signal, encode, read back and compare, PSNR, SSIM, hashes, write, commit. Against it stand three ways
of decoding and encoding the unchanged pixels: by Pillow alone, with options that give files of about the same size; by this
project's decoder and encoder; by these with the file read back and compared, as the lane does it. All write their files alike.
A photo with a signal is harder to compress than without, so the lane also encodes more; the sizes are printed.
"""

from __future__ import annotations

import argparse
import hmac
import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.containers.find import find_photos
from pipeline.jobs.parts import fold
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import PNG_LEVEL, WEBP_EFFORT, encode_photo, read_back
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.add import Add
from pipeline.protection.stages.read import read_photos
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_photos
from pipeline.signals.bundle import read_bundle, write_bundle
from pipeline.storage import Folder

SIZE, BUDGET, COUNT = 128, 3.0, 4


def make_photos(folder: Path, count: int, low: int, high: int) -> Path:
    """A folder of JPEG photos of mixed sizes: smooth areas, edges and a little grain."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        width, height = (int(side) for side in rng.integers(low, high, 2, endpoint=True))
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        edges = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        mixed = 0.7 * np.asarray(coarse) + 0.3 * np.asarray(edges) + rng.normal(0, 2, (height, width, 3))
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(folder / f"p{i:04}.jpg", quality=90)
    return folder


def make_signer(folder: Path) -> Signer:
    """A signer with smooth random signals."""
    rng = np.random.default_rng(1)
    planes = [Image.fromarray(rng.normal(0, 3, (32, 32)).astype(np.float32)).resize((SIZE, SIZE)) for _ in range(3 * COUNT)]
    signals = np.stack([np.asarray(plane) for plane in planes]).reshape(COUNT, 3, SIZE, SIZE).clip(-BUDGET, BUDGET)
    path = write_bundle(
        folder / "b.safetensors", signals_nCHW=signals, budget=BUDGET, detector={}, width=32, scores={}, card={"for": "bench"}
    )
    return Signer(read_bundle(path), hmac.digest(b"bench", b"secret", "sha256"))


def lane(works: list[Work], signer: Signer, out: Path, form: str) -> None:
    """The photos through the lane as a run in one process takes them."""
    config = ProtectConfig("in", str(out), recipe="none", signals=signer.bundle.path, format=form)  # type: ignore[arg-type]
    to = Destination(Folder(out), signature="0" * 16, generator=None, signals=signer.bundle.id)
    stages: list[Callable[..., Any]] = [
        partial(read_photos, max_pixels=10**8),
        Add(signer),
        partial(write_photos, config=config, to=to),
    ]
    rows = [row for work in works for row in fold(stages, [work])]
    if {row.status for row in rows} != {"protected"}:
        raise SystemExit(f"not all photos were protected: {[row.reason for row in rows if row.reason][:3]}")


def by_pillow(works: list[Work], out: Path, form: str) -> None:
    """The photos opened and saved by Pillow alone."""
    options = {"compress_level": PNG_LEVEL} if form == "png" else {"lossless": True, **WEBP_EFFORT}
    for work in works:
        with Image.open(work.ref.uri) as image:
            image.save(file := io.BytesIO(), form, **options)
        Folder(out).write(work.output, file.getvalue())


def alone(works: list[Work], out: Path, form: str, *, checked: bool) -> None:
    """The photos decoded, encoded without a change, checked if ``checked``, and written."""
    folder = Folder(out)
    for work in works:
        photo = decode_photo(Path(work.ref.uri).read_bytes())
        data = encode_photo(photo, photo.pixels_HWC, format=form)
        if checked:
            read_back(data, photo, photo.pixels_HWC, format=form)
        folder.write(work.output, data)


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock and of this process's CPU time."""
    clock, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Make the photos, run the ways in turns, print the table."""
    parser = argparse.ArgumentParser(description="The lane of signals alone against decode + encode alone.")
    parser.add_argument("--folder", help="photos of your own; without it they are made")
    parser.add_argument("--photos", type=int, default=40, help="how many to make, or to take of the folder")
    parser.add_argument("--low", type=int, default=256, help="shortest side in pixels")
    parser.add_argument("--high", type=int, default=1000, help="longest side in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="png", choices=["png", "webp"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = given.folder or str(make_photos(folder / "photos", given.photos, given.low, given.high))
        refs = find_photos(made).refs[: given.photos]
        works = [Work(ref, f"{Path(ref.key).stem}.{given.format}") for ref in refs]
        signer = make_signer(folder)
        ways: dict[str, Callable[[Path], None]] = {
            "signals alone (the lane)": lambda out: lane(works, signer, out, given.format),
            "decode + encode, Pillow alone": lambda out: by_pillow(works, out, given.format),
            "decode + encode, as the lane": lambda out: alone(works, out, given.format, checked=False),
            "the same, and read back": lambda out: alone(works, out, given.format, checked=True),
        }
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for i in range(given.rounds + 1):
            for way, run in ways.items():
                (out := folder / f"{i} {way}").mkdir()
                taken = timed(lambda run=run, out=out: run(out))  # type: ignore[misc]
                seconds[way] += [taken] if i else []  # the first round warms up
        sizes = [sum(file.stat().st_size for file in (folder / f"1 {way}").glob(f"*.{given.format}")) / 1e6 for way in ways]
    table = Table(
        title=f"{len(works)} photos {given.folder or f'of {given.low} to {given.high} px a side'}, {given.format}, one thread"
    )
    for column in ("way", "photos/s", "photos per CPU second", "lane's speed against it (clock)", "(CPU)", "MB written"):
        table.add_column(column, justify="left" if column == "way" else "right")
    lane_seconds = seconds["signals alone (the lane)"]
    for (way, rounds), size in zip(seconds.items(), sizes, strict=True):
        rates = [len(works) / median(one[k] for one in rounds) for k in (0, 1)]
        ratios = [median(other[k] / mine[k] for mine, other in zip(lane_seconds, rounds, strict=True)) for k in (0, 1)]
        table.add_row(way, f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{ratios[0]:.2f}", f"{ratios[1]:.2f}", f"{size:.1f}")
    console = Console(width=140)
    console.print(table)
    console.print("medians over the rounds", highlight=False)


if __name__ == "__main__":
    main()
