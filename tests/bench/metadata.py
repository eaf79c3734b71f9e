"""Every tag of photos before and after a run, read by exiftool: what stays, what moves, what has to change, what is lost.

``python -m tests.bench.metadata OUT`` copies the photos of the shared data set faces_large, makes further ones in every format that
is read, has exiftool write GPS, IPTC, XMP, copyright, rating and orientation into them, runs ``disrupt protect --recipe none
--signals shipped`` once for each output format, and compares ``exiftool -j -G1 -a -n`` of both. Prints Markdown. A tag is

* the same; or moved: the value stands under another name, since the output format keeps it elsewhere;
* one of coding: size, compression, layout, which another file has to have otherwise, and thumbnails, which are removed;
* named: the row's note says that it was not kept;
* lost: none of these.

Needs exiftool (Debian: libimage-exiftool-perl).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageCms, PngImagePlugin

from pipeline.cli import run_verb

Tags = dict[str, Any]
ENRICHED = {
    "copyright": ["-Copyright=(c) A. Person", "-Artist=A. Person", "-IFD0:Rating=4", "-UserComment=a day out"],
    "gps": ["-GPSLatitude=48.2", "-GPSLatitudeRef=N", "-GPSLongitude=16.37", "-GPSLongitudeRef=E", "-GPSAltitude=180"],
    "iptc": ["-IPTC:Caption-Abstract=at the sea", "-IPTC:Keywords=sea", "-IPTC:Keywords=sand", "-IPTC:By-line=A. Person"],
    "xmp": ["-XMP-dc:Title=The sea", "-XMP-dc:Rights=(c) A. Person", "-XMP-xmp:Rating=4", "-XMP-photoshop:City=Vienna"],
    "turned": ["-IFD0:Orientation#=6", "-IFD0:XResolution=300", "-IFD0:YResolution=300", "-IFD0:ResolutionUnit#=2"],
    "camera": [
        "-Make=Maker",
        "-Model=M1",
        "-DateTimeOriginal=2024:05:01 10:00:00",
        "-ExposureTime=1/250",
        "-FNumber=2.8",
        "-ISO=200",
    ],
    "comment": ["-Comment=seen at the sea, \u00e9t\u00e9"],
}
ALIKE = {
    "JFIF:XResolution": "PNG-pHYs:PixelsPerUnitX|IFD0:XResolution",
    "JFIF:YResolution": "PNG-pHYs:PixelsPerUnitY|IFD0:YResolution",
    "JFIF:ResolutionUnit": "PNG-pHYs:PixelUnits|IFD0:ResolutionUnit",
    "PNG-pHYs:PixelsPerUnitX": "JFIF:XResolution",
    "PNG-pHYs:PixelsPerUnitY": "JFIF:YResolution",
    "PNG-pHYs:PixelUnits": "JFIF:ResolutionUnit",
    "File:PixelsPerMeterX": "PNG-pHYs:PixelsPerUnitX|JFIF:XResolution",
    "File:PixelsPerMeterY": "PNG-pHYs:PixelsPerUnitY|JFIF:YResolution",
    "File:Comment": "PNG:Comment",
    "GIF:Comment": "PNG:Comment|File:Comment",
    "PNG:Comment": "File:Comment",
}
"""Where else a value may stand, in the units of that place."""
CODING = (
    *(
        "SourceFile",
        "ExifTool:",
        "System:",
        "Composite:",
        "IFD1:",
        "SubIFD",
        "MPF",
        "MPImage",
        "Adobe:",
        "RIFF:",
        "QuickTime:",
        "Track",
    ),
    *("Meta:", "ItemList", "JFIF:JFIFVersion", "ICC_Profile:ProfileID", "GIF:GIFVersion", "GIF:HasColorMap", "GIF:ColorResolution"),
    *("GIF:BitsPerPixel", "GIF:BackgroundColor", "GIF:ImageWidth", "GIF:ImageHeight", "PNG:ImageWidth", "PNG:ImageHeight"),
    *("PNG:BitDepth", "PNG:ColorType", "PNG:Compression", "PNG:Filter", "PNG:Interlace", "PNG:Palette", "PNG:Transparency"),
    *("PNG:ProfileName", "Photoshop:PhotoshopThumbnail", "Photoshop:IPTCDigest", "GIF:TransparentColor", "IFD0:ExifByteOrder"),
)
LAYOUT = {
    *("SubfileType", "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets"),
    *("SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "PlanarConfiguration", "Predictor", "ColorMap", "ExtraSamples"),
    *("SampleFormat", "Orientation", "YCbCrSubSampling", "YCbCrPositioning", "ReferenceBlackWhite", "TileWidth", "TileLength"),
    *("TileOffsets", "TileByteCounts", "FillOrder", "JPEGTables"),
}
"""Tags of a TIFF that say how its pixels lie in the file. Pillow turns TIFFs and HEIC upright."""
NAMED = {"IPTC:": "IPTC", "Photoshop:": ("IPTC", "Photoshop"), "File:Comment": "comment", "GIF:Comment": "comment", "PNG:": "PNG "}
NAMED |= {"JFIF:": "resolution", "PNG-pHYs:": "resolution", "File:PixelsPer": "resolution", "XMP-xmpNote": "extended XMP"}
NAMED |= {"Ducky:": "APP12", "ICC": "ICC profile", "PictureInfo:": "APP12", "XMP": "XMP"}


def exiftool(*words: str) -> str:
    """What exiftool prints; raises CalledProcessError where it fails."""
    return subprocess.run(["exiftool", *words], capture_output=True, text=True, check=True).stdout


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth noise that is large enough for a signal."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((320, 256), Image.Resampling.BICUBIC).convert(mode)


def srgb() -> bytes:
    """The profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png_info() -> PngImagePlugin.PngInfo:
    """Texts of the three kinds."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "A. Person")
    info.add_text("Description", "the sea " * 40, zip=True)
    info.add_itxt("Title", "\u6d77", "ja", "Title")
    info.add_text("Comment", "seen at the sea")
    return info


def png_colours() -> PngImagePlugin.PngInfo:
    """What says sRGB in PNG's own way, the time of the last change and a background."""
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    info.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    info.add(b"tIME", bytes([7, 232, 5, 1, 10, 0, 0]))
    info.add(b"bKGD", bytes(6))
    return info


TIFF_TAGS = {
    269: "roll 7",
    270: "the sea",
    271: "Maker",
    272: "M1",
    285: "page",
    305: "scanner",
    315: "A. Person",
    33432: "(c) A. Person",
}
MADE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "all.jpg": (
        lambda to: picture().save(to, icc_profile=srgb(), dpi=(300, 300), comment=b"hello"),
        ("copyright", "gps", "iptc", "xmp", "turned", "camera"),
    ),
    "density.jpg": (lambda to: picture(seed=1).save(to, dpi=(240, 240)), ()),
    "grey.jpg": (lambda to: picture("L").save(to), ("iptc", "copyright", "comment")),
    "progressive.jpg": (lambda to: picture(seed=2).save(to, progressive=True), ("camera", "gps", "xmp")),
    "texts.png": (
        lambda to: picture(seed=3).save(to, pnginfo=png_info(), dpi=(200, 200), icc_profile=srgb()),
        ("copyright", "gps"),
    ),
    "colours.png": (lambda to: picture(seed=4).save(to, pnginfo=png_colours()), ()),
    "palette.png": (lambda to: picture(seed=5).quantize(64).save(to, pnginfo=png_info()), ("xmp", "turned")),
    "iptc.png": (lambda to: picture("L", 6).save(to), ("iptc", "xmp")),
    "all.webp": (lambda to: picture(seed=7).save(to, icc_profile=srgb()), ("copyright", "gps", "xmp", "turned", "camera")),
    "scan.tif": (lambda to: picture(seed=8).save(to, tiffinfo=TIFF_TAGS, dpi=(600, 600)), ("copyright", "iptc", "xmp")),
    "turned.tif": (lambda to: picture(seed=9).save(to, compression="tiff_lzw", icc_profile=srgb()), ("camera", "gps", "turned")),
    "scan.bmp": (lambda to: picture(seed=10).save(to, dpi=(150, 150)), ()),
    "words.gif": (lambda to: picture(seed=11).quantize(64).save(to, comment=b"hello"), ("xmp",)),
    "phone.heic": (lambda to: save_heic(picture(seed=12), to), ("copyright", "gps", "camera", "xmp")),
    "phone.avif": (lambda to: picture(seed=13).save(to, icc_profile=srgb()), ("copyright", "gps", "camera", "xmp")),
}


def save_heic(image: Image.Image, to: Path) -> None:
    """By the extra heic."""
    import pillow_heif

    pillow_heif.from_pillow(image).save(to, quality=90)


def make_files(folder: Path, found: Path | None) -> list[str]:
    """Photos of the data set and made ones in ``folder``, enriched; the names of those that exiftool cannot write to."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds, untouched = list(ENRICHED), []
    work: list[tuple[Path, tuple[str, ...]]] = []
    for number, path in enumerate(sorted(found.glob("*.*[gp]")) if found else ()):
        work.append((Path(shutil.copyfile(path, folder / path.name)), tuple(kinds[(number + i) % len(kinds)] for i in range(3))))
    for name, (save, wanted) in MADE.items():
        save(folder / name)
        work.append((folder / name, wanted))
    for path, wanted in work:
        path.chmod(0o644)
        words = [word for kind in wanted for word in ENRICHED[kind]]
        try:
            if words:
                exiftool("-overwrite_original", "-m", "-q", *words, str(path))
        except subprocess.CalledProcessError:
            untouched.append(path.name)
    return untouched


def tags_of(folder: Path, names: list[str]) -> dict[str, Tags]:
    """All tags of these files, by the file's name."""
    told = json.loads(exiftool("-j", "-G1", "-a", "-n", "-struct", *(str(folder / name) for name in names)))
    return {str(Path(one["SourceFile"]).relative_to(folder)): one for one in told}


def is_coding(tag: str, format_in: str) -> bool:
    """Whether a tag says how the file is coded, or is of a thumbnail."""
    if tag.startswith("File:"):
        return not tag.startswith(("File:Comment", "File:PixelsPer"))
    name = tag.rpartition(":")[2]
    turned = format_in in {"TIFF", "HEIF"} and (name in LAYOUT if tag.startswith("IFD0:") else name == "Orientation")
    return tag.startswith(CODING) or turned


def same(tag: str, value: Any, after: Tags) -> str | None:
    """`same` or `moved` where the value stands in the file, for resolutions in one of its units, else None."""
    if after.get(tag) == value:
        return "same"
    others = [other for other in ALIKE.get(tag, "").split("|") if other in after]
    return "moved" if any(value == after[other] or is_in_other_units(tag, value, after[other]) for other in others) else None


def is_in_other_units(tag: str, value: Any, other: Any) -> bool:
    """Whether two resolutions are the same up to one in a hundred, in inches, centimetres or metres; units themselves are."""
    if tag.endswith("Comment"):
        return False
    return tag.endswith(("Unit", "Units")) or any(
        abs(value / other / by - 1) < 0.01 for by in (1, 2.54, 1 / 2.54, 100, 0.01, 39.37, 0.0254)
    )


def judge(before: Tags, after: Tags, note: str, format_in: str) -> dict[str, str]:
    """What became of each tag."""
    became = {}
    for tag, value in before.items():
        words = next((words for start, words in NAMED.items() if tag.startswith(start)), ())
        is_named = any(word in note for word in ((words,) if isinstance(words, str) else words))
        here = same(tag, value, after)
        is_usual = tag.startswith("JFIF:") and before.get("JFIF:XResolution") in (1, 72, 96)
        became[tag] = here or ("coding" if is_coding(tag, format_in) or is_usual else "named" if is_named else "LOST")
    return became


def compare(
    out: Path, found: Path | None, formats: tuple[str, ...] = ("png", "webp", "jpeg")
) -> dict[str, dict[str, dict[str, str]]]:
    """For each output format and file that was protected: what became of each tag."""
    make_files(out / "photos", found)
    (out / "key").write_text("k" * 32)
    results: dict[str, dict[str, dict[str, str]]] = {}
    for format in formats:  # noqa: A001
        words = ["--recipe", "none", "--signals", "shipped", "--key-file", str(out / "key"), "--format", format]
        words += ["--engine", "local", "--no-tracking", "--examples", "0"]
        with redirect_stdout(io.StringIO()):
            run_verb("protect", [str(out / "photos"), str(out / format), *words])
        rows = [row for row in pq.read_table(out / format / "manifest.parquet").to_pylist() if row["output"]]
        before = tags_of(out / "photos", [row["key"] for row in rows])
        after = tags_of(out / format, [row["output"] for row in rows])
        results[format] = {
            row["key"]: judge(before[row["key"]], after[row["output"]], row["note"] or "", row["format_in"]) for row in rows
        }
    return results


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description="Every tag before and after a run.")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    shared = os.environ.get("DISRUPT_SHARED")
    results = compare(args.out, Path(shared) / "data" / "faces_large" if shared else None)
    print("| output | files | tags | same | moved | coding | named | lost |\n|---|---|---|---|---|---|---|---|")
    for format, files in results.items():  # noqa: A001
        counts = Counter(what for tags in files.values() for what in tags.values())
        columns = [str(counts[what]) for what in ("same", "moved", "coding", "named", "LOST")]
        print(f"| {format} | {len(files)} | {counts.total()} | {' | '.join(columns)} |")
    for format, files in results.items():  # noqa: A001
        for name, tags in files.items():
            if lost := [tag for tag, what in tags.items() if what == "LOST"]:
                print(f"\n{format} {name}: {', '.join(lost)}")


if __name__ == "__main__":
    main()
