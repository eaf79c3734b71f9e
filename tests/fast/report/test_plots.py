"""Drawings of distributions, read back as XML."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from pipeline.report.plots import BAD, FAINT, GOOD, INK, histogram

ROOT = Path(__file__).resolve().parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(values: list[float], *, threshold: float | None = None) -> str:
    return histogram(np.array(values), name="plot", label="dB", counted="photos", threshold=threshold)


def heights(svg: str, colour: str) -> list[float]:
    """The heights of the bars of one colour, from their paths."""
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if colour in path.get("style", "") and "clip-path" in path.attrib:
            ys = [float(part.split()[1]) for part in path.attrib["d"].replace("z", "").replace("L", "M").split("M") if part.strip()]
            found.append(max(ys) - min(ys))
    return [height for height in found if height > 0]


def test_a_drawing_is_one_svg_element_that_takes_colours_from_the_page() -> None:
    svg = drawn([30, 31, 32, 33], threshold=31.5)
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    style = (ROOT / "pipeline" / "report" / "style.css").read_text(encoding="utf-8").partition("@media")[0]
    for colour in (INK, FAINT, GOOD, BAD):
        assert colour in svg
        assert colour in style
    assert "dB" in svg and "photos" in svg


def test_values_below_the_threshold_have_the_colour_of_a_warning_and_the_threshold_itself_does_not() -> None:
    svg = drawn([0.01] * 3 + [0.05] * 6, threshold=0.05)
    (below,), (above,) = heights(svg, BAD), heights(svg, GOOD)
    assert above == pytest.approx(2 * below, rel=1e-3)


@pytest.mark.parametrize("values", [[5.0], [5.0] * 9, [0.0, 1e9], [float("inf"), 3.0, float("nan")]])
def test_one_value_equal_values_and_infinite_ones_can_be_drawn(values: list[float]) -> None:
    assert heights(drawn(values), GOOD)


def test_where_there_is_nothing_to_draw_there_is_no_drawing() -> None:
    assert drawn([]) == ""
    assert drawn([float("nan"), float("inf")]) == ""


def test_matplotlib_waits_until_something_is_drawn() -> None:
    code = "import sys, pipeline.report.page; print('matplotlib' in sys.modules, 'torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3
