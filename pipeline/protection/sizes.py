"""Whether another format would take less room: measured on a few of the files as written."""

from __future__ import annotations

from pipeline.ledger.run import RunFolder
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import FORMATS, encode_photo
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.protection.options import ProtectConfig
from pipeline.protection.sums import Sums
from pipeline.report.examples import spread

TRIED = 3
MOST_PIXELS = 30_000_000
"""Of all that are tried, so that it takes no more than seconds."""


def with_webp_tried(sums: Sums, config: ProtectConfig, run: RunFolder) -> Sums:
    """The sums of a run that wrote PNG files with ``as_webp``: how many were tried as lossless WebP, and the bytes of both.

    They are spread from the weakest effect to the strongest. Files that are gone, changed or inside containers are left out.
    """
    suffix = FORMATS["png"].suffix
    rows = [row for row in sums["samples"] if row["output"].endswith(suffix)] if config.format == "png" else []
    tried, pixels, bytes_png, bytes_webp = 0, 0, 0, 0
    for row in (rows[i] for i in spread(len(rows), TRIED)):
        pixels += row["width"] * row["height"]
        if pixels > MOST_PIXELS:
            break
        try:
            data = run.folder.read(row["output"])
            photo = decode_photo(data, max_pixels=config.photos.max_pixels)
            webp = encode_photo(photo, photo.pixels_HWC, format="webp")
        except (OSError, PhotoBrokenError, PhotoRefusedError):
            continue
        tried, bytes_png, bytes_webp = tried + 1, bytes_png + len(data), bytes_webp + len(webp)
    return sums | {"as_webp": [tried, bytes_png, bytes_webp]} if tried else sums
