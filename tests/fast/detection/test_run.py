"""Runs of `disrupt detect` from the words of the call to rows and report, against the detector called by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.containers.find import find_photos
from pipeline.detection.options import DetectConfig
from pipeline.detection.stages import Detect, Picture, Sight, look
from pipeline.signals.bundle import GREY, read_bundle, write_bundle
from pipeline.signals.judge import Judge
from pipeline.signals.key import offsets_of
from tests.fast import tiny
from tests.fast.signals.bundles import tiny_bundle
from tests.verbs import detect

Said = pytest.CaptureFixture[str]
SECRET = "a secret of more than sixteen bytes"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several kinds and a bundle beside them; every picture carries something by its scores."""
    folder = tmp_path_factory.mktemp("made")
    photos = tiny.photo_folder(folder / "photos", {"a.jpg": 1, "b.png": 2, "in/c.jpg": 3, "d.webp": 4})
    tiny.picture(26, 22, seed=5, mode="L").save(photos / "grey.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    tiny.picture(40, 22, seed=6).save(photos / "turned.png", exif=turned)
    rescored(tiny_bundle(folder), untouched=[0.0, 1.0] * 50, plain=[-9.0] * 100)
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "work"))


@pytest.fixture(autouse=True)
def outside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret from outside; and no page, whose plots take a second a run."""
    monkeypatch.delenv("DISRUPT_SIGNAL_KEY", raising=False)
    if "one_page" not in request.node.name:
        monkeypatch.setattr("pipeline.detection.run.write_page", lambda *arguments, **options: "")


def rescored(path: Path, *, untouched: list[float], plain: list[float]) -> Path:
    """The bundle with other scores of its held-out people, none of whom lost a signal."""
    old, scores = read_bundle(path), {"untouched": untouched, "carried": [1.0] * len(untouched), "plain": plain}
    return write_bundle(
        path,
        signals_nCHW=old.signals_nCHW,
        budget=old.budget,
        detector=old.detector_weights(),
        width=old.width,
        scores={grey + kind: np.asarray(values, float) for grey in ("", GREY) for kind, values in scores.items()},
        card={},
    )


def call(folder: Path, *words: str) -> int:
    quick = ["--signals", str(folder / "bundle.safetensors"), "--engine", "local", "--no-tracking"]
    return detect([str(folder / "photos"), *quick, *words])


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    found = pq.read_table(folder / "photos-detection" / "detection.parquet").to_pylist()
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: row for row in found}


def refused(said: Said, folder: Path, *words: str) -> str:
    assert call(folder, *words) == 2
    error = said.readouterr().err
    assert len(error.splitlines()) == 1
    return error


def key_file(folder: Path) -> str:
    (folder / "key").write_text(SECRET + "\n")
    return str(folder / "key")


def test_every_picture_has_a_row_with_what_the_detector_says_of_it_upright(made: Path, tmp_path: Path, capsys: Said) -> None:
    assert call(made, "--out", str(tmp_path / "out")) == 0
    found = {row["key"]: row for row in pq.read_table(tmp_path / "out" / "detection.parquet").to_pylist()}
    bundle = read_bundle(made / "bundle.safetensors")
    judge = Judge.from_bundle(bundle)
    assert set(found) == {"a.jpg", "b.png", "in/c.jpg", "d.webp", "grey.png", "turned.png"}
    for key, row in found.items():
        with Image.open(made / "photos" / key) as image:
            pixels = np.array(ImageOps.exif_transpose(image))
        said = judge([pixels.reshape(*pixels.shape[:2], -1)])
        assert (row["status"], row["width"], row["height"]) == ("judged", pixels.shape[1], pixels.shape[0])
        assert (row["manipulated"], row["likeness"]) == (said.manipulated_B[0], said.likeness_B[0]), key
        assert (row["carries"], row["fit"]) == (True, None)
    assert found["turned.png"]["width"] == 22
    out = capsys.readouterr().out
    assert "6/6 photos" in out
    assert "false-positive rate 0.01" in out


def test_the_false_positive_rate_draws_the_line_and_one_that_nobody_vouches_for_is_refused(work: Path, capsys: Said) -> None:
    assert call(work) == 0
    found = rows(work)
    probabilities = sorted(row["manipulated"] for row in found.values())
    rescored(work / "bundle.safetensors", untouched=probabilities, plain=[-9.0] * 6)
    for rate in ("0.15", "0.3", "0.5"):
        assert call(work, "--false-positive-rate", rate) == 0
        limit = probabilities[int(np.ceil(7 * (1 - float(rate)))) - 1]
        wanted = {key for key, row in found.items() if row["manipulated"] > limit}
        assert {key for key, row in rows(work).items() if row["decision"] == "manipulated"} == wanted
    assert "6 held-out people cannot vouch for a false-positive rate of 0.1; the least is 0.1429" in refused(
        capsys, work, "--false-positive-rate", "0.1"
    )
    assert call(work) == 0, "without the option it is the least"
    assert "0.14" in capsys.readouterr().out


def test_pictures_that_cannot_be_judged_have_rows_with_the_reason_and_nothing_stops(work: Path, capsys: Said) -> None:
    photos = work / "photos"
    (photos / "note.png").write_text("not a picture")
    (photos / "cut[red].jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "dot.png").write_bytes(tiny.photo_bytes(1, 1, suffix=".png"))
    (photos / "link.png").symlink_to(photos / "b.png")
    assert call(work) == 1
    found = rows(work)
    ended = {key: (row["status"], row["stage"]) for key, row in found.items() if row["status"] != "judged"}
    assert ended == {
        "note.png": ("failed", "decode"),
        "cut[red].jpg": ("failed", "decode"),
        "dot.png": ("skipped", "decode"),
        "link.png": ("skipped", "list"),
    }
    assert all(found[key]["reason"] and found[key]["manipulated"] is None for key in ended)
    assert len(found) == 10
    assert "(cut[red].jpg)" in re.sub(r"[\s│]+", "", capsys.readouterr().out)
    for key in ("note.png", "cut[red].jpg"):
        (photos / key).unlink()
    assert call(work) == 0
    assert len(rows(work)) == 8


def test_a_picture_smaller_than_the_bundle_allows_is_skipped_with_both_sizes(made: Path) -> None:
    pictures = list(map(Picture, find_photos(made / "photos").refs))
    looked = {one.row.key: one for one in look(pictures, Sight(16, 22, 10**6))}
    assert looked["a.jpg"].row.status == "skipped"
    assert looked["a.jpg"].row.reason == "too small: 21 x 23 pixels; signals of this bundle need 22 a side"
    assert looked["a.jpg"].seen_13SS is None
    assert looked["turned.png"].row.status == "judged"


def test_pictures_together_or_alone_give_the_same_rows_to_the_last_digit(made: Path) -> None:
    detect_all = Detect(DetectConfig(str(made / "photos"), made / "bundle.safetensors"))
    looked = look(list(map(Picture, find_photos(made / "photos").refs)), Sight(16, 8, 10**6))
    assert detect_all(looked) == [row for one in looked for row in detect_all([one])]


def test_with_the_secret_every_picture_is_compared_with_the_signal_that_its_tints_ask_for(work: Path, capsys: Said) -> None:
    rescored(work / "bundle.safetensors", untouched=[0.0] * 99, plain=[-9.0] * 99)
    assert call(work, "--key-file", key_file(work)) == 0
    found, bundle = rows(work), read_bundle(work / "bundle.safetensors")
    judge = Judge.from_bundle(bundle, offsets_of(SECRET.encode(), bundle.count))
    for key in ("a.jpg", "b.png"):
        said = judge([np.asarray(Image.open(work / "photos" / key))])
        assert (found[key]["fit"], found[key]["manipulated"]) == (said.fit_B[0], said.manipulated_B[0])
    unfit = sum(row["fit"] < 0.5 for row in found.values())
    assert unfit, "nothing here was signed"
    assert f"{unfit} carry a signal that does not fit their tints" in " ".join(capsys.readouterr().out.split())


def test_a_secret_in_the_environment_counts_and_another_one_is_another_detection(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []
    for secret in (SECRET, SECRET[::-1]):
        monkeypatch.setenv("DISRUPT_SIGNAL_KEY", secret)
        assert call(work) == 0
        fits.append({key: row["fit"] for key, row in rows(work).items()})
    assert None not in fits[0].values()
    assert fits[0] != fits[1]


def test_where_nothing_carries_a_signal_no_tint_is_compared(work: Path) -> None:
    rescored(work / "bundle.safetensors", untouched=[0.0] * 99, plain=[99.0] * 99)
    assert call(work, "--key-file", key_file(work)) == 0
    assert {(row["carries"], row["fit"], row["decision"]) for row in rows(work).values()} == {(False, None, "no signal")}


def test_a_bundle_without_signals_judges_by_the_picture_alone(work: Path, capsys: Said) -> None:
    tiny_bundle(work, count=0)
    assert call(work, "--key-file", key_file(work)) == 0
    assert {(row["likeness"], row["carries"], row["fit"]) for row in rows(work).values()} == {(None, None, None)}
    assert {row["decision"] for row in rows(work).values()} <= {"untouched", "manipulated"}
    assert "no signals" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--signals", "nowhere.safetensors"], "nowhere.safetensors: no such bundle of signals"),
        (["--false-positive-rate", "0"], "--false-positive-rate must be from 0.0001 to 0.5"),
        (["--false-positive-rate", "5"], "not 5"),
        (["--key-file", "nowhere"], "nowhere: no such file"),
        (["--actors", "0"], "--actors must be from 1"),
        (["--limit", "0"], "--limit must be from 1"),
        (["--gpus-per-actor", "1"], "--gpus-per-actor asks for a GPU"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(
    made: Path, capsys: Said, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert message in refused(capsys, made, *words)
    assert not (made / "photos-detection").exists()


def test_a_bundle_of_another_version_and_a_file_that_is_none_are_refused(work: Path, capsys: Said) -> None:
    path = work / "bundle.safetensors"
    with safe_open(path, framework="np") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["disrupt-signals"]  # noqa: SIM118
    save_file(tensors, path, {"disrupt-signals": about.replace('"version": 3', '"version": 7')})
    assert "is a bundle of version 7; this program reads version 3" in refused(capsys, work)
    path.write_bytes(b"not a bundle")
    assert "no bundle of signals" in refused(capsys, work)


def test_places_that_cannot_be_are_refused(work: Path, capsys: Said) -> None:
    assert "lies inside the input" in refused(capsys, work, "--out", str(work / "photos" / "results"))
    (work / "own").mkdir()
    (work / "own" / "report.html").write_text("mine")
    assert "not of a detection" in refused(capsys, work, "--out", str(work / "own"))
    assert (work / "own" / "report.html").read_text() == "mine"
    (work / "short").write_text("short")
    assert "a secret needs at least 16" in refused(capsys, work, "--key-file", str(work / "short"))
    shutil.rmtree(work / "photos")
    assert "no such folder" in refused(capsys, work)


def test_a_detection_takes_the_place_of_an_older_one(work: Path) -> None:
    assert call(work, "--limit", "1") == 0
    assert set(rows(work)) == {"a.jpg"}
    assert call(work) == 0
    assert len(rows(work)) == 6


def test_the_rows_are_the_same_for_a_folder_a_glob_and_a_table(work: Path) -> None:
    assert call(work) == 0
    whole = pq.read_table(work / "photos-detection" / "detection.parquet")
    names = [row["key"] for row in whole.to_pylist()]
    pq.write_table(pa.table({"path": names}), work / "photos" / "list.parquet")
    for place in ("photos/**/*.*g*", "photos/list.parquet"):
        words = [str(work / place), "--signals", str(work / "bundle.safetensors"), "--engine", "local", "--no-tracking"]
        assert detect([*words, "--out", str(work / "again")]) == 0
        assert set(pq.read_table(work / "again" / "detection.parquet")["key"].to_pylist()) <= set(names)
    assert pq.read_table(work / "again" / "detection.parquet").equals(whole)


def test_the_secret_and_loose_markup_are_not_in_the_report_which_is_one_page_that_loads_nothing(work: Path) -> None:
    (work / "photos" / "<script>x&.jpg").write_bytes(tiny.photo_bytes(seed=9))
    (work / "photos" / "<b>.png").write_text("broken")
    rescored(work / "bundle.safetensors", untouched=[0.0] * 99, plain=[-9.0] * 99)
    assert call(work, "--key-file", key_file(work)) == 1
    page = (work / "photos-detection" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page and "&lt;b&gt;.png" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("<svg") == 2
    for said in ("Knowing which photos were signed", "Most suspicious", "7 judged pictures"):
        assert said in page, said
    for file in (work / "photos-detection").iterdir():
        assert SECRET.encode() not in file.read_bytes()
