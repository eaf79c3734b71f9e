"""The memory of a whole run on a large photo: its pixels as 8-bit values a few times, and floating point of its region alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from pathlib import Path
from pipeline.cli import run_verb
code = run_verb("protect", sys.argv[1:])
print("peak", Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
sys.exit(code)
"""
"""VmHWM is the peak of this program. That of `getrusage` begins at the peak of the program that started it."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")


@pytest.mark.parametrize(("width", "height", "words", "most_MB"), [
    (8000, 6000, ("--region", "box"), 1200),
    (8000, 6000, ("--region", "box", "--format", "jpeg"), 1200),
    (4000, 3000, ("--region", "square", "--steps", "2"), 1400),  # 1,338 seen; one image more of the region takes 108
])  # fmt: skip
def test_a_large_photo_needs_memory_for_its_8_bit_pixels_and_its_region(
    tmp_path: Path, width: int, height: int, words: tuple[str, ...], most_MB: int
) -> None:
    red, green = np.linspace(0, 255, width, dtype=np.uint8), np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    planes = np.broadcast_arrays(red, green, red // 2 + green // 2)
    Image.fromarray(np.stack(planes, axis=2)).save(tmp_path / "photo.png", compress_level=1)
    (tmp_path / "photos.csv").write_text("path,left,top,right,bottom\nphoto.png,3001,2003,3513,2515\n")
    run = [sys.executable, "-c", RUN, str(tmp_path / "photos.csv"), str(tmp_path / "out"), "--engine", "local", "--no-tracking"]
    done = subprocess.run([*run, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: a gradient is no face, and need not be disrupted
    peak_MB = int(done.stdout.split()[-1]) * 1024 / 1e6
    print(f"{width}x{height} {' '.join(words)}: {peak_MB:.0f} MB")
    (row,) = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert row["moved"]
    assert peak_MB < most_MB
