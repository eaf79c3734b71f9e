"""The estimate before a long run: a few photos go through the stages in memory, nothing is written."""

from __future__ import annotations

import time
from itertools import islice

from rich.console import Console

from pipeline.containers.find import walk_photos
from pipeline.containers.listing import PhotoRef
from pipeline.containers.samples import limit_photos
from pipeline.photos.encode import encode_photo
from pipeline.protection.flow import pixel_stage
from pipeline.protection.job import Job
from pipeline.protection.repack import works_in
from pipeline.protection.row import Work
from pipeline.protection.stages.read import reader

TRIED = 5
LOOKED_AT = 10_000
"""Photos of which those that are tried are chosen."""


def estimate(job: Job, *, console: Console) -> int:
    """Print how long the run would take and how much disk it would fill; returns 0, or 1 when no tried photo could be used."""
    config = job.config
    works, count, total_in = look_at(job)
    tried = _spread(works)
    on_ray = config.compute.on_ray(count)
    protect = pixel_stage(config, job.signer, job.perturber)
    seconds, bytes_in, bytes_out, used = 0.0, 0, 0, 0
    for i, each in enumerate(tried):
        began = time.monotonic()
        (work,) = reader(config)([each])
        photo = work.photo
        (work,) = protect([work])
        if work.pixels_HWC is None or photo is None:
            continue
        data = work.encoded or encode_photo(photo, work.pixels_HWC, format=config.format, jpeg_quality=config.jpeg_quality)
        if i or len(tried) == 1:  # the first photo also pays for the warm-up
            seconds, used = seconds + time.monotonic() - began, used + 1
        bytes_in, bytes_out = bytes_in + each.ref.size_bytes, bytes_out + len(data)
    if not used:
        console.print(f"none of {len(tried)} tried photos could be used; run without --dry-run to see the reasons")
        return 1
    workers = config.compute.known_actors if on_ray else 1
    guess = "about " if any(work.data for work in works) else ""
    console.print(f"{guess}{count} photos, {total_in / 1e6:.1f} MB; tried {len(tried)}, written nothing", highlight=False)
    whole = _span(seconds / used * count / workers)
    console.print(
        f"{seconds / used:.2f} s a photo; about {whole} with {workers} x {config.compute.threads} threads", highlight=False
    )
    console.print(f"about {total_in * bytes_out / max(bytes_in, 1) / 1e6:.1f} MB of {config.format} files", highlight=False)
    return 0


def look_at(job: Job) -> tuple[list[Work], int, int]:
    """Some of the photos, how many there are (a guess, where they are in containers), and the bytes of all."""
    some: list[PhotoRef] = []
    count, size, limit, image = 0, 0, job.config.photos.limit, job.config.image
    for ref in limit_photos(walk_photos(job.config.input, containers=True), limit, image=image):
        count, size = count + 1, size + ref.size_bytes
        if not ref.refused and len(some) < LOOKED_AT:
            some.append(ref)
    if not any(ref.container for ref in some):
        return [Work(ref, "") for ref in some], count, size
    inside = (work for ref in some for work in works_in(ref, job.config) if work.data)
    first = list(islice(inside, TRIED))
    mean = sum(work.ref.size_bytes for work in first) / max(1, len(first))
    count = size // max(1, round(mean))
    return (first, limit, round(limit * mean)) if limit is not None and limit < count else (first, count, size)


def _spread(works: list[Work]) -> list[Work]:
    """A few photos of evenly spread file sizes."""
    ordered = sorted(works, key=lambda work: (work.ref.size_bytes, work.key))
    count = min(TRIED, len(ordered))
    return [ordered[round((i + 0.5) * len(ordered) / count - 0.5)] for i in range(count)]


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
