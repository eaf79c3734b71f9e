"""The sample photos of the demo: faces, copied once, never half written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.jobs.samples import LONGEST_SIDE, SamplesMissingError, copy_samples, sample_photos


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    pytest.importorskip("openpeople", reason='the sample photos are not installed: pip install -e ".[samples]"')
    return copy_samples(tmp_path_factory.mktemp("samples") / "new" / "photos")


def test_there_are_about_a_dozen_portraits_of_different_people(copied: list[Path]) -> None:
    assert 10 <= len(copied) <= 12
    assert {path.name.split("-")[1] for path in copied} == {"portrait.jpg", "selfie.jpg"}
    assert len({path.name for path in copied if "portrait" in path.name}) == 10
    assert sorted(path.name for path in copied[0].parent.iterdir()) == sorted(path.name for path in copied)


def test_samples_are_upright_colour_photos_of_the_stated_size(copied: list[Path]) -> None:
    for path in copied:
        with Image.open(path) as image:
            image.load()
            assert (image.mode, image.format) == ("RGB", "JPEG")
            assert max(image.size) == LONGEST_SIDE
            assert min(image.size) > LONGEST_SIDE / 2


def test_samples_are_the_photos_that_show_one_face_large(copied: list[Path]) -> None:
    originals = sample_photos()
    assert originals.keys() == {path.name for path in copied}
    assert {photo.name for photo in originals.values()} == {"studio_portrait.jpg", "amateur_selfie.jpg"}


def test_samples_show_the_photos_of_the_package(copied: list[Path]) -> None:
    originals = sample_photos()
    for path in copied[:3]:
        with originals[path.name].open("rb") as handle, Image.open(handle) as original, Image.open(path) as copy:
            assert abs(original.width / original.height - copy.width / copy.height) < 0.01
            before, after = (image.convert("L").resize((8, 8), Image.Resampling.BOX).tobytes() for image in (original, copy))
        assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= 3


def test_copying_again_leaves_what_is_there(copied: list[Path], tmp_path: Path) -> None:
    first = copied[0]
    mine = tmp_path / first.name
    mine.write_bytes(b"a photo of my own")
    again = copy_samples(tmp_path)
    assert mine.read_bytes() == b"a photo of my own"
    assert [path.name for path in again] == [path.name for path in copied]
    assert (tmp_path / copied[1].name).read_bytes() == copied[1].read_bytes()


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpeople", None)
    with pytest.raises(SamplesMissingError, match=r"pip install -e .*samples"):
        sample_photos()


def test_the_script_asks_for_a_folder() -> None:
    done = subprocess.run([sys.executable, "-m", "pipeline.jobs.samples"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m pipeline.jobs.samples FOLDER" in done.stderr
