"""XMP of a photo: its orientation, and the parts that would be wrong beside new pixels."""

from __future__ import annotations

import re

GAIN_MAP_SIGN = re.compile(rb"hdr-gain-map|HDRGainMap")
_SMALL_PICTURES = b"http://ns.adobe.com/xap/1.0/g/img/"
_WRONG_SOON = (
    b"http://ns.adobe.com/hdr-gain-map/1.0/",
    b"http://ns.apple.com/HDRGainMap/1.0/",
    b"http://ns.google.com/photos/1.0/container/",
    b"http://ns.google.com/photos/1.0/container/item/",
    _SMALL_PICTURES,
)
"""Namespaces of gain maps, of the list of further pictures and videos in the file, and of thumbnails."""
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_CAMERA_NAMES = rb"(?:MotionPhoto|MicroVideo)\w*"
_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([0-9])")
_TAG = re.compile(rb"<(/?)([\w.-]+:[\w.-]+)[^<>]*?(/?)>")


def orientation_of_xmp(xmp: bytes) -> int:
    """The number of `tiff:Orientation`, written as an attribute or as an element; 1 when there is none or it makes no sense."""
    match = _ORIENTATION.search(xmp)
    return int(match[2]) if match and 1 <= int(match[2]) <= 8 else 1


def marked_upright(xmp: bytes) -> bytes:
    """The same XMP with orientation 1, for pixels that were turned when they were read."""
    return _ORIENTATION.sub(rb"\g<1>1", xmp)


def without_wrong_parts(xmp: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """The XMP without what the written file will not hold (gain map, further pictures, video, thumbnails), and notes.

    None is left where the parts cannot be told from the rest.
    """
    names = [prefix + rb":[\w.-]+" for uri in _WRONG_SOON for prefix in _prefixes(xmp, uri)]
    names += [prefix + b":" + _CAMERA_NAMES for prefix in _prefixes(xmp, _CAMERA)]
    if not names:
        return (None, ("XMP not kept: it names a gain map",)) if GAIN_MAP_SIGN.search(xmp) else (xmp, ())
    wrong = b"(?:" + b"|".join(names) + b")"
    rest = re.sub(rb"\s+" + wrong + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", _without_elements(xmp, re.compile(wrong)))
    uris = b"|".join(re.escape(uri) for uri in _WRONG_SOON)
    rest = re.sub(rb"\s+xmlns:[\w.-]+\s*=\s*[\"'](?:" + uris + rb")[\"']", b"", rest)
    if GAIN_MAP_SIGN.search(rest) or any(uri in rest for uri in _WRONG_SOON):
        return None, ("XMP not kept: it describes further pictures in a way that is not known here",)
    return (xmp, ()) if rest == xmp else (rest, ("XMP without its parts on further pictures, video and thumbnails",))


def _prefixes(xmp: bytes, uri: bytes) -> list[bytes]:
    return [re.escape(name) for name in re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(uri) + rb"[\"']", xmp)]


def _without_elements(xmp: bytes, wrong: re.Pattern[bytes]) -> bytes:
    """Without elements of these names and all in them; what follows one that never ends is left out too."""
    kept, start, depth, name = [], 0, 0, b""
    for tag in _TAG.finditer(xmp):
        if depth:
            depth += 0 if tag[2] != name or tag[3] else -1 if tag[1] else 1
            start = tag.end()
        elif wrong.fullmatch(tag[2]) and not tag[1]:
            kept.append(xmp[start : tag.start()])
            start, depth, name = tag.end(), 0 if tag[3] else 1, tag[2]
    return b"".join([*kept, xmp[start:]])
