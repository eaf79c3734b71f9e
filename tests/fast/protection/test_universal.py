"""`disrupt protect --universal`: alone, without a network, and as the start of an ascent; from the words of the call to files."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.boxes import region_box
from pipeline.images.orientation import upright_size
from pipeline.photos.decode import decode_photo
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig
from pipeline.protection.stages.measure_some import is_measured
from pipeline.protection.stages.perturb import read_perturber
from pipeline.signals.key import VARIABLE
from pipeline.universal.add import with_perturbation
from pipeline.universal.bundle import Broken, Universal, read_universal
from tests.fast.runs import files, rows, run, statuses
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import BUILD, build, photo_bytes, photo_folder, picture
from tests.fast.universal.bundles import tiny_file
from tests.verbs import universal

SECRET = b"Never-Write-This-Down-4711"
ROOT = Path(__file__).resolve().parents[3]
ALONE = ["--recipe", "none"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """One perturbation for the tiny network."""
    return tiny_file(tmp_path / "one", networks=(Broken("tiny", build().fingerprint, ("Smile", "Glasses")),))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (file := tmp_path / "key").write_bytes(SECRET + b"\n")
    return file


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


def pixels(path: Path) -> np.ndarray:
    return decode_photo(path.read_bytes()).pixels_HWC


def expected(photo: Path, found: Universal, which: int = 0, region: str = "square") -> np.ndarray:
    read = decode_photo(photo.read_bytes())
    box = region_box(region, *upright_size(read.width, read.height, read.orientation), None)
    return with_perturbation(read.pixels_HWC, found, which, boxes=[box], orientation=read.orientation)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("region", ["square", "whole"])
def test_alone_the_file_is_the_photo_plus_the_perturbation(photos: Path, out: Path, bundle: Path, region: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(30, 20).save(photos / "turned.jpg", exif=exif)
    picture(20, 20, mode="L").save(photos / "grey.png")
    assert run(photos, out, *ALONE, "--universal", str(bundle), "--region", region, "--generator", "no:such") == 0
    assert len(rows(out)) == 5
    for key, row in rows(out).items():
        assert np.array_equal(pixels(out / row["output"]), expected(photos / key, read_universal(bundle), region=region))
        assert (row["status"], row["recipe"], row["universal"]) == ("protected", "none", read_universal(bundle).id)
        assert (row["region"], row["moved"], row["linf_levels"]) == (region, True, 6)
        assert {row[name] for name in ("generator", "classes", "l1", "l2", "disrupted", "steps", "signals", "reason")} == {None}


@pytest.mark.usefixtures("no_report")
def test_it_lies_in_the_boxes_of_a_table(tmp_path: Path, out: Path, bundle: Path) -> None:
    picture(60, 50).save(tmp_path / "a.png")
    table = tmp_path / "table.csv"
    table.write_text("path,left,top,right,bottom\na.png,0,0,30,30\na.png,20,20,55,45\na.png,40,0,80,30\n")
    assert run(table, out, *ALONE, "--universal", str(bundle), "--region", "box") == 0
    assert statuses(out)["a.png"] == "skipped"  # one of its boxes leaves the photo
    table.write_text("path,left,top,right,bottom\na.png,0,0,30,30\na.png,20,20,55,45\n")
    assert run(table, out.with_name("two"), *ALONE, "--universal", str(bundle), "--region", "box") == 0
    change = np.abs(pixels(out.with_name("two") / "a.png").astype(int) - pixels(tmp_path / "a.png"))
    assert change.max() == 6
    assert change[:20, :20].min() == change[35:, 35:].min() - change[35:, 35:].min() == 0
    assert not change[:19, 31:].any()
    assert not change[46:].any()
    assert rows(out.with_name("two"))["a.png"]["boxes"] == [0, 0, 30, 30, 20, 20, 55, 45]


@pytest.mark.usefixtures("no_report")
def test_of_a_set_each_photo_gets_the_one_of_its_key_and_name(photos: Path, out: Path, tmp_path: Path, key: Path) -> None:
    many = photo_folder(photos, {f"p{i}.png": i for i in range(9)})
    file = tiny_file(tmp_path / "set", count=4)
    assert run(many, out, *ALONE, "--universal", str(file), "--key-file", str(key)) == 0
    chosen = set()
    for name, row in rows(out).items():
        which = int.from_bytes(hmac.digest(SECRET, name.rpartition(".")[0].encode(), hashlib.sha256), "big") % 4
        assert np.array_equal(pixels(out / row["output"]), expected(photos / name, read_universal(file), which))
        chosen.add(which)
    assert len(chosen) > 2
    before = files(out)
    key.write_bytes(SECRET[::-1])
    assert run(many, out, *ALONE, "--universal", str(file), "--key-file", str(key)) == 2
    assert files(out) == before


WITHOUT_TORCH = """
import sys
from tests.verbs import protect
code = protect(sys.argv[1:])
loaded = [name for name in ("torch", "ray") if name in sys.modules]
sys.exit(f"loaded {loaded}" if loaded else code)
"""


def test_alone_and_with_a_signal_it_needs_no_torch(photos: Path, out: Path, bundle: Path, key: Path, tmp_path: Path) -> None:
    words = [str(photos), str(out), *ALONE, "--universal", str(bundle), "--engine", "local", "--examples", "1", "--no-tracking"]
    words += ["--signals", str(tiny_bundle(tmp_path)), "--key-file", str(key), "--epsilon", "9"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert len(files(out)) == 3


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("recipe", [ALONE, ["--recipe", "pgd"]])
def test_with_signals_both_share_epsilon(
    photos: Path, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str], recipe: list[str]
) -> None:
    out, folder = photos.with_name("out"), photos.with_name("signals")
    folder.mkdir()
    signals = ["--signals", str(tiny_bundle(folder)), "--key-file", str(key), "--universal", str(bundle), *recipe]
    assert run(photos, out, *signals, "--epsilon", "8") == 2
    assert "take 6 levels, the signals 3; give --epsilon 9 or more" in " ".join(capsys.readouterr().err.split())
    run(photos, out, *signals, "--epsilon", "9")
    for row in rows(out).values():
        assert 6 < row["linf_levels"] <= 9
        assert row["signals"]
        assert row["universal"] == read_universal(bundle).id


@pytest.mark.usefixtures("no_report")
def test_no_step_is_the_perturbation_alone_but_measured(photos: Path, out: Path, bundle: Path) -> None:
    run(photos, out, "--universal", str(bundle), "--steps", "0")
    for name, row in rows(out).items():
        assert np.array_equal(pixels(out / row["output"]), expected(photos / name, read_universal(bundle)))
        assert row["steps"] == 0
        assert len(row["class_l2"]) == 2


@pytest.mark.usefixtures("no_report")
def test_an_ascent_that_starts_from_a_learned_one_needs_fewer_steps(photos: Path, out: Path, tmp_path: Path) -> None:
    learned, started = tmp_path / "learned", tmp_path / "started"
    assert universal([str(photos), str(learned), "--generator", BUILD, "--steps", "40", "--examples", "0", "--no-tracking"]) == 0
    words = ["--recipe", "pgd", "--step-size", "0.5", "--until", "1", "--steps", "40", "--epsilon", "8"]
    assert run(photos, out, *words) == 0
    assert run(photos, started, *words, "--universal", str(learned / "universal.safetensors")) == 0
    before, after = rows(out), rows(started)
    assert all(after[name]["steps"] <= before[name]["steps"] for name in before)
    assert sum(row["steps"] for row in after.values()) < sum(row["steps"] for row in before.values())
    assert all(row["linf_levels"] <= 8 for row in after.values())


@pytest.mark.usefixtures("no_report")
def test_a_run_goes_on_with_the_same_bundle_only_wherever_it_lies(
    photos: Path, out: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photos, out, *ALONE, "--universal", str(bundle)) == 0
    before = files(out)
    (photos / "d.jpg").write_bytes(photo_bytes(seed=4))
    moved = bundle.rename(bundle.with_name("moved.safetensors"))
    assert run(photos, out, *ALONE, "--universal", str(moved)) == 0
    assert files(out).items() > before.items()
    for words in (["--universal", str(tiny_file(tmp_path / "other", seed=1))], ["--universal", str(moved), "--region", "whole"]):
        assert run(photos, out, *ALONE, *words) == 2
        assert "holds another run" in " ".join(capsys.readouterr().err.split())


def test_a_wrong_call_ends_before_anything_is_written(
    photos: Path, bundle: Path, key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    out, tmp_path = photos.with_name("out"), photos.parent
    one, several = ["--universal", str(bundle)], ["--universal", str(tiny_file(tmp_path / "set", count=2))]
    for words, message in [
        ([*ALONE], "--universal BUNDLE to add"),
        (["--universal", str(photos / "x")], "no such bundle of universal perturbations"),
        ([*ALONE, *several], "several perturbations need a secret"),
        ([*ALONE, *one, "--key-file", str(key)], "holds one: leave it out"),
        ([*one, "--epsilon", "5"], "give --epsilon 6 or more"),
        ([*ALONE, *one, "--classes", "Old"], "was not learned for class Old: it breaks Smile, Glasses"),
        ([*one, "--start", "clean"], "leave out --start clean"),
        (["--steps", "0"], "--steps must be from 1"),
        ([*one, "--measure-share", "0.5", "--until", "2"], "--until measures every photo"),
        ([*ALONE, *one, "--measure-share", "2"], "--measure-share must be from 0 to 1"),
    ]:
        assert run(photos, out, *words) == 2, words
        assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


@pytest.mark.usefixtures("no_report")
def test_networks_that_it_was_not_learned_on_are_told(
    photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(photos, out, "--universal", str(bundle))
    assert "note:" not in capsys.readouterr().out
    run(photos, out.with_name("other"), "--universal", str(bundle), generator="tests.fast.tiny:build_other")
    assert "were learned on tiny, not on tests.fast.tiny:build_other" in " ".join(capsys.readouterr().out.split())


def test_the_report_says_that_nothing_was_measured(
    photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(photos, out, *ALONE, "--universal", str(bundle)) == 0
    page, said = (" ".join(text.split()) for text in ((out / "report.html").read_text(encoding="utf-8"), capsys.readouterr().out))
    for text in (page, said):
        assert "was not measured on these files" in text
        assert read_universal(bundle).id in text
        assert "% dis." not in text
    run(photos, out.with_name("both"), "--universal", str(bundle))
    assert "keep this page to yourself" in page
    page = (out.with_name("both") / "report.html").read_text(encoding="utf-8")
    assert "or its ascent started there" in page
    assert "was measured on" not in page


@pytest.mark.parametrize("share", ["0.5", "1"])
def test_a_share_of_the_files_is_measured_where_that_is_asked_for(
    tmp_path: Path, out: Path, bundle: Path, share: str, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photo_folder(tmp_path / "many", {f"p{i}.png": i for i in range(9)})
    words = ["--universal", str(bundle), "--measure-share", share, "--region", "whole"]
    run(photos, out, *ALONE, *words)
    run(photos, out.with_name("all"), "--universal", str(bundle), "--steps", "0", "--region", "whole")
    found, every = rows(out), rows(out.with_name("all"))
    measured = {name for name, row in found.items() if row["l2"] is not None}
    assert measured == {name for name in found if is_measured(name, float(share))}
    assert files(out) == files(out.with_name("all"))
    for name in found:
        columns = ("class_l1", "class_l2", "class_levelled", "l2", "disrupted", "status")
        if name in measured:
            assert [found[name][column] for column in columns] == [every[name][column] for column in columns]
        assert found[name]["generator"] == BUILD
    said = " ".join(capsys.readouterr().out.split())
    assert (f"The effect was measured on {len(measured)} of 9 files." in said) == (share == "0.5")
    assert 0 < len(measured) < 9 or share == "1"


@pytest.mark.usefixtures("no_report")
def test_a_dry_run_writes_nothing(photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, out, *ALONE, "--universal", str(bundle), "--dry-run") == 0
    assert "MB of png files" in capsys.readouterr().out
    assert not out.exists()


def test_what_travels_to_the_workers_shows_the_secret_to_nobody(tmp_path: Path, key: Path) -> None:
    config = ProtectConfig("in", "out", recipe="none", universal=tiny_file(tmp_path / "set", count=3), key_file=key)
    perturber = read_perturber(config, None)
    assert perturber is not None
    assert SECRET.decode() not in f"{perturber} {perturber!r} {perturber.facts()}"
    assert not dataclasses.is_dataclass(perturber)
    assert not hasattr(perturber, "__dict__")
    grey, again = np.full((20, 20, 3), 128, np.uint8), pickle.loads(pickle.dumps(perturber))
    first, second = (one(grey, "a", boxes=[(0, 0, 20, 20)], orientation=1) for one in (perturber, again))
    assert np.array_equal(first, second)


def test_faces_are_the_region_where_the_bundle_is_for_faces(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.protection.job.finder_version", lambda: "made up 1")
    for faces, region in ((True, "faces"), (False, "square")):
        config = ProtectConfig(str(photos), "out", recipe="none", universal=tiny_file(tmp_path / region, faces=faces))
        assert prepare(config).config.region == region
