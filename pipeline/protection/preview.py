"""--preview: the first photo at each --quality, side by side, before anything is protected."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from scipy import ndimage

from pipeline.images import LOST, THRESHOLD
from pipeline.images.quality import psnr, ssim
from pipeline.jobs.options import ConfigError, beside
from pipeline.jobs.versions import versions
from pipeline.ledger.layout import REPORT_FILE
from pipeline.photos.photo import U8, Photo
from pipeline.photos.visibility import jnd_levels
from pipeline.protection.dry_run import look_at
from pipeline.protection.examples import as_rgb, outputs_of
from pipeline.protection.flow import pixel_stage
from pipeline.protection.job import Job
from pipeline.protection.options import ProtectConfig
from pipeline.protection.quality import QUALITIES
from pipeline.protection.row import Work
from pipeline.protection.stages.read import reader
from pipeline.report.examples import Outputs, picture_png
from pipeline.report.page import as_yaml, template
from pipeline.storage import Folder

ENDING = "-preview"
PHOTO = "photo.png"
TRIED = 20
"""Photos of which the first that can be used is shown."""
DETAIL, ZOOM = 112, 3
"""Side of the detail in pixels of the photo, and how much larger the page shows it."""


@dataclass(frozen=True)
class Strength:
    """The photo at one quality: its pictures as PNG bytes and what was measured.

    ``refused`` says why there is nothing, if so.
    """

    name: str
    words: str
    pixels_HWC: U8 | None = None
    psnr: float = 0.0
    ssim: float = 0.0
    epsilon: int = 0
    seconds: float = 0.0
    outputs: tuple[Outputs, ...] = ()
    refused: str = ""

    @property
    def broken(self) -> int:
        """How many outputs count as broken, by both measures."""
        return sum(one.share_of_goal >= 1 for one in self.outputs)


def preview(job: Job, *, command: str, console: Console) -> int:
    """Write the page and its pictures into OUT-preview and say how to go on; returns 0, or 1 when no photo could be used."""
    config = dataclasses.replace(job.config, identity=False)  # the page does not show it
    place = beside(config.output, ENDING)
    folder = Folder(place)
    ours = {REPORT_FILE, PHOTO, *(f"{name}.png" for name in QUALITIES)}
    if folder.is_folder() and (others := sorted(folder.names() - ours)):
        raise ConfigError(f"--preview writes into {place}, which holds {others[0]}: move it away, or give another OUT")
    work, photo = _first(job)
    if work is None or photo is None:
        console.print(f"none of the first {TRIED} photos could be used; run without --preview to see the reasons")
        return 1
    shown = [_strength(name, dataclasses.replace(config, **values), job, work, photo) for name, values in QUALITIES.items()]
    folder.write(PHOTO, _whole(photo, photo.pixels_HWC))
    for one in shown:
        if one.pixels_HWC is not None:
            folder.write(f"{one.name}.png", _whole(photo, one.pixels_HWC))
            numbers = f"PSNR {one.psnr:.1f} dB, SSIM {one.ssim:.4f}, {one.broken} of {len(one.outputs)} outputs broken"
            console.print(f"{one.name:7} {one.words}: {numbers}, {one.seconds:.1f} s", highlight=False)
        else:
            console.print(f"{one.name:7} {one.words}: {one.refused}", highlight=False)
    folder.write(REPORT_FILE, _page(job, work, photo, shown, command=command).encode())
    console.print(f"look at {folder.at(REPORT_FILE)}; nothing was protected", soft_wrap=True, highlight=False)
    console.print("go on with --quality high, medium or strong in place of --preview", highlight=False)
    return 0


def _first(job: Job) -> tuple[Work, Photo] | tuple[None, None]:
    for planned in look_at(job)[0][:TRIED]:
        (work,) = reader(job.config)([planned])
        if work.photo is not None:
            return work, work.photo
    return None, None


def _strength(name: str, config: ProtectConfig, job: Job, work: Work, photo: Photo) -> Strength:
    config.check()
    words = f"--epsilon {config.epsilon} --recipe {config.recipe} --mask"
    began = time.perf_counter()
    (done,) = pixel_stage(config, job.signer, job.perturber)([work])
    if done.pixels_HWC is None:
        return Strength(name, words, refused=(done.ended.reason if done.ended else None) or "no result")
    seconds = time.perf_counter() - began
    protected = dataclasses.replace(photo, pixels_HWC=done.pixels_HWC)
    quality = psnr(photo.pixels_HWC, done.pixels_HWC), ssim(photo.pixels_HWC, done.pixels_HWC)
    outputs = outputs_of(photo, protected, done.boxes, job.generators, config)
    return Strength(name, words, done.pixels_HWC, *quality, done.epsilon or config.epsilon, seconds, tuple(outputs))


def detail_at(photo_HWC: U8, changed: list[U8]) -> tuple[int, int]:
    """Row and column of the corner of the detail in which these changes of a photo are most visible: largest beside its JND."""
    height, width = photo_HWC.shape[:2]
    side = min(DETAIL, height, width)
    jnd = jnd_levels(photo_HWC)
    seen = sum(np.abs(one.astype(np.int16) - photo_HWC).mean(axis=2) / jnd for one in changed)
    mean = ndimage.uniform_filter(seen, side, mode="constant")[
        side // 2 : height - (side - 1) // 2, side // 2 : width - (side - 1) // 2
    ]
    row, column = np.unravel_index(int(np.argmax(mean)), mean.shape)
    return int(row), int(column)


def _page(job: Job, work: Work, photo: Photo, shown: list[Strength], *, command: str) -> str:
    usable = [one for one in shown if one.pixels_HWC is not None]
    before = as_rgb(photo)
    after = {
        one.name: as_rgb(dataclasses.replace(photo, pixels_HWC=one.pixels_HWC)) for one in usable if one.pixels_HWC is not None
    }
    row, column = detail_at(before, [*after.values()]) if after else (0, 0)

    def columns_of(pixels_HWC: U8) -> dict[str, bytes]:
        detail = np.ascontiguousarray(pixels_HWC[row : row + DETAIL, column : column + DETAIL])
        enlarged = np.repeat(np.repeat(detail, ZOOM, axis=0), ZOOM, axis=1)
        return {"whole": picture_png(pixels_HWC, max_side=480), "detail": picture_png(enlarged, max_side=ZOOM * DETAIL)}

    weakest = [min(one.outputs, key=lambda output: output.share_of_goal) if one.outputs else None for one in usable]
    text: str = template("preview.html").render(
        summary={"total": 0, "counts": {}, "reasons": ()},
        verdict="Nothing is protected yet: the first photo at each strength.",
        facts=[],
        key=work.key,
        photo=columns_of(before),
        strengths=[(one, columns_of(after[one.name]), least) for one, least in zip(usable, weakest, strict=True)],
        refused=[one for one in shown if one.pixels_HWC is None],
        zoom=ZOOM,
        max_reasons=0,
        command=command,
        config=as_yaml(_without_qualities(job.options)),
        versions=versions(),
        threshold=THRESHOLD,
        lost=LOST,
    )
    return text.encode("utf-8", "backslashreplace").decode()


def _without_qualities(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run but for those that the words of --quality stand for."""
    return {name: value for name, value in options.items() if name not in ("epsilon", "recipe", "mask")}


def _whole(photo: Photo, pixels_HWC: U8) -> bytes:
    """The picture at its own size, turned the way it is shown."""
    shown = as_rgb(dataclasses.replace(photo, pixels_HWC=pixels_HWC))
    return picture_png(shown, max_side=max(shown.shape[:2]))
