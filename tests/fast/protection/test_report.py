"""The report as a browser takes it: what it shows, what it escapes, what it never loads."""

from __future__ import annotations

import math
import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.ledger.schema import BY_CLASS, MANIFEST, ManifestRow, rows_to_table
from pipeline.protection.report import write_report
from pipeline.protection.sums import sums_of
from pipeline.report.examples import Example, Outputs, picture_png

EVIL = """<script>alert("1")</script>'"><img src=x onerror=alert(2)>&amp;{{ 7*7 }}\u202egpj.exe"""
PICTURE = picture_png(np.full((8, 12, 3), 90, np.uint8))


class Page(HTMLParser):
    """Tags with attributes, and the text outside of style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "path", "use"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def row(key: str, **changes: Any) -> ManifestRow:
    known: dict[str, Any] = {
        "status": "protected",
        "output": "x.png",
        "sha256_out": "0" * 64,
        "width": 640,
        "height": 480,
        "mode": "RGB",
        "epsilon": 6,
        "linf_levels": 6,
        "psnr": 36.25,
        "ssim": 0.93,
        "classes": ["smile", "hair"],
        "class_l1": [0.3, 0.1],
        "class_l2": [0.4, 0.02],
        "class_levelled": [0.2, 0.01],
        "class_local": [0.1, 0.005],
        "class_lost": [0.45, 0.125],
        "class_ssim": [0.5, 0.9],
        "class_edit": [0.1, 0.2],
        "l1": 0.2,
        "l2": 0.21,
        "steps": 4,
        "sha256_in": "1" * 64,
        "bytes_in": 2_000_000,
        "bytes_out": 5_000_000,
        "seconds": 2.5,
        "generator": "g",
        "recipe": "pgd",
        "signature": "4be1c09a",
    }
    return ManifestRow(key=key, **(known | changes))


def example(key: str, l2: float = 0.4) -> Example:
    return Example(
        key, PICTURE, PICTURE, PICTURE, [Outputs("smile", PICTURE, PICTURE, l2, 0.4), Outputs("hair", PICTURE, PICTURE, 0.3, 0.2)]
    )


def page_of(rows: list[ManifestRow], *, examples: list[Example] | None = None, **options: Any) -> tuple[str, Page]:
    html = write_report(
        sums_of(rows_to_table(rows, shard="s")),
        options.pop("config", {}),
        examples or [],
        options.pop("command", "disrupt"),
        **options,
    )
    return html, Page(html)


def test_the_page_shows_counts_numbers_classes_and_how_to_reproduce() -> None:
    rows = [row("a.jpg"), row("b.jpg", psnr=math.inf), ManifestRow.failed("c.jpg", stage="decode", reason="truncated")]
    config = {"epsilon": 6, "recipe": {"name": "pgd", "steps": 10}}
    html, page = page_of(
        rows, config=config, command="disrupt protect 'my photos' out", versions={"torch": "2.13.0"}, wall_seconds=6.0
    )
    for expected in ("2 of 3 photos protected; 1 failed.", "50.0 %", "36.2 dB", "1 files unchanged", "0.50 inputs/s", "truncated"):
        assert expected in page.text
    for expected in ("disrupt protect 'my photos' out", "4be1c09a", "torch 2.13.0", "mean square and not a norm", "L2 ≥ 0.05"):
        assert expected in page.text
    for expected in ("4.0", "mean steps", "at most 4", "10.0 MB", "4.0 MB in, 10.0 MB out, 2.5 times as large"):
        assert expected in page.text
    shown = page.text[page.text.rindex("options") + len("options") : page.text.index("What the numbers mean")]
    assert yaml.safe_load(shown) == config
    assert html.count("<svg") == 3


def test_every_example_shows_both_outputs_of_every_class_weakest_effect_first() -> None:
    examples = [example("strong.jpg", 0.9), example("weak.jpg", 0.04)]
    html, page = page_of([row("strong.jpg"), row("weak.jpg")], examples=examples)
    assert html.index("weak.jpg") < html.index("strong.jpg")
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 2 * (3 + 2 * 2)
    assert all(attributes["alt"] for attributes in pictures)
    assert "✓ L2 0.900" in page.text and "✗ L2 0.040" in page.text
    assert "640 × 480 RGB" in page.text and "amplified 21 times" in page.text
    source = pictures[0]["src"]
    assert source is not None
    assert Image.open(BytesIO(b64decode(source.removeprefix("data:image/png;base64,")))).size == (12, 8)


def test_at_most_twelve_examples_are_shown() -> None:
    _, page = page_of([row(f"{k}.jpg") for k in range(20)], examples=[example(f"{k}.jpg") for k in range(20)])
    assert sum(tag == "section" for tag, _ in page.tags) == 12


def test_text_from_outside_is_never_markup() -> None:
    rows = [
        row(EVIL, classes=[EVIL, "hair"], generator=EVIL, recipe=EVIL, signature=EVIL, note=EVIL, mode=EVIL),
        ManifestRow.failed(f"{EVIL}2", stage="read", reason=EVIL),
        ManifestRow.failed(f"{EVIL}3", stage="read", reason=EVIL),
    ]
    evil = Example(EVIL, PICTURE, PICTURE, PICTURE, [Outputs(EVIL, PICTURE, PICTURE, 0.4, 0.4)])
    html, page = page_of(rows, examples=[evil], config={EVIL: EVIL}, command=EVIL, versions={EVIL: EVIL})
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script" not in html
    assert page.text.count('<script>alert("1")</script>') >= 8
    assert "{{ 7*7 }}" in page.text


def test_nothing_is_loaded_from_anywhere_and_the_page_itself_forbids_it() -> None:
    html, page = page_of([row("a.jpg")], examples=[example("a.jpg")])
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source"}
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/png;base64,", "#")), f"{tag} {name}={value[:60]}"
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    policy = next(
        attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None and "default-src 'none'" in policy and "script" not in policy


def test_the_page_is_well_formed_fits_phones_and_knows_the_dark() -> None:
    html, page = page_of([row("a.jpg"), ManifestRow.failed("b", stage="read", reason="gone")], examples=[example("a.jpg")])
    assert page.open == []
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert "prefers-color-scheme: dark" in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "rows", [[], [ManifestRow.failed("a", stage="read", reason="gone")], [row("a", **{name: [] for name in BY_CLASS})]]
)
def test_a_run_without_measurements_still_has_a_page(rows: list[ManifestRow]) -> None:
    table = rows_to_table(rows, shard="s") if rows else MANIFEST.empty_table()
    page = Page(write_report(sums_of(table), {}, [], "disrupt protect in out"))
    assert f"of {len(rows)} photos protected" in page.text
    assert "nan" not in page.text.lower().replace("finance", "")


def test_more_reasons_than_fit_are_counted_and_many_files_of_one_reason_are_folded() -> None:
    rows = [ManifestRow.failed(f"{k:03}.jpg", stage="read", reason=f"reason {k}") for k in range(130)]
    rows += [ManifestRow.skipped(f"same{k:03}.gif", stage="decode", reason="animated") for k in range(50)]
    _, page = page_of(rows)
    assert "31 more reasons" in page.text
    _, page = page_of(rows[130:])
    assert "the first 20 files" in page.text
    assert "same019.gif" in page.text and "same020.gif" not in page.text


def test_the_same_run_gives_the_same_page_and_odd_text_can_be_written() -> None:
    rows = [row("a.jpg")]
    assert page_of(rows)[0] == page_of(rows)[0]
    html, _ = page_of(rows, command="disrupt protect caf\udce9 out", config={"path": "\udcff"})
    assert "caf\\udce9" in html
    html.encode("utf-8")
