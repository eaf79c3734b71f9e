"""`disrupt protect --signals`: a signal alone or with a disruption, on real small folders, from the words of the call to files."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from pipeline.images.levels import pixels_to_unit
from pipeline.jobs.options import ConfigError
from pipeline.photos.decode import decode_photo
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig
from pipeline.protection.stages.sign import read_signer
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import read_bundle, write_bundle
from pipeline.signals.key import VARIABLE, offsets_of
from tests.fast.runs import files, rows, run, statuses
from tests.fast.signals.bundles import tiny_bundle
from tests.fast.tiny import BUILD, build, photo_bytes, photo_folder, picture

SECRET = b"Never-Write-This-Down-4711"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return tiny_bundle(tmp_path / "set")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")


def key_file(folder: Path, secret: bytes = SECRET) -> Path:
    (file := folder / "key").write_bytes(secret + b"\n")
    return file


def sign(photos: Path, out: Path, bundle: Path, *words: str, secret: bytes = SECRET) -> int:
    """A run with signals; alone unless ``words`` name a recipe."""
    recipe = [] if "--recipe" in words else ["--recipe", "none"]
    return run(photos, out, "--signals", str(bundle), "--key-file", str(key_file(bundle.parent, secret)), *recipe, *words)


def expected_pixels(photo: Path, bundle: Path, secret: bytes = SECRET) -> np.ndarray:
    found = read_bundle(bundle)
    return with_signal(decode_photo(photo.read_bytes()), found, offsets_of(secret, found.count))


def pixels(path: Path) -> np.ndarray:
    return decode_photo(path.read_bytes()).pixels_HWC


@pytest.mark.usefixtures("no_report")
def test_a_signal_alone_is_the_photo_plus_the_signal_of_its_tints_and_the_secret(photos: Path, out: Path, bundle: Path) -> None:
    assert sign(photos, out, bundle, "--generator", "no:such") == 0
    assert len(rows(out)) == 3
    for key, row in rows(out).items():
        assert np.array_equal(pixels(out / row["output"]), expected_pixels(photos / key, bundle))
        assert (row["status"], row["recipe"], row["signals"], row["moved"]) == ("protected", "none", read_bundle(bundle).id, True)
        assert 0 < row["linf_levels"] <= 3
        assert {row[name] for name in ("generator", "l1", "l2", "disrupted", "stage", "reason")} == {None}
        assert [row[name] for name in ("classes", "class_l1", "class_l2")] == [None] * 3


@pytest.mark.usefixtures("no_report")
def test_orientation_grey_alpha_and_metadata_are_kept(tmp_path: Path, out: Path, bundle: Path) -> None:
    (photos := tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    picture(30, 20).save(photos / "turned.jpg", exif=exif)
    picture(20, 20, mode="L").save(photos / "grey.png")
    picture(20, 20, mode="RGBA").save(photos / "alpha.png")
    assert sign(photos, out, bundle) == 0
    with Image.open(out / "turned.png") as turned, Image.open(out / "grey.png") as grey, Image.open(out / "alpha.png") as alpha:
        assert (turned.size, turned.getexif()[0x0112], turned.getexif()[0x010F]) == ((30, 20), 6, "Camera")
        assert (grey.mode, alpha.mode) == ("L", "RGBA")


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("form", ["webp", "jpeg"])
def test_other_formats_carry_the_signal_too(photos: Path, out: Path, bundle: Path, form: str) -> None:
    assert sign(photos, out, bundle, "--format", form, "--jpeg-quality", "100") == 0
    for key, row in rows(out).items():
        distance = np.abs(pixels(out / row["output"]).astype(int) - expected_pixels(photos / key, bundle))
        assert distance.mean() < (0.001 if form == "webp" else 1.5)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("recipe", ["none", "pgd"])
def test_a_photo_that_is_too_small_for_a_signal_is_skipped_with_the_reason(
    photos: Path, out: Path, bundle: Path, recipe: str
) -> None:
    (photos / "tiny.png").write_bytes(photo_bytes(30, 18, suffix=".png"))
    wide = np.random.default_rng(0).uniform(-3, 3, (2, 3, 40, 40)).astype(np.float32)
    write_bundle(bundle, signals_nCHW=wide, budget=3.0, detector={}, width=8, scores={}, card={})
    assert sign(photos, out, bundle, "--recipe", recipe, "--epsilon", "12") == 0
    row = rows(out)["tiny.png"]
    assert (row["status"], row["stage"], row["output"], row["signals"]) == ("skipped", "protect", None, None)
    assert row["reason"] == "30x18 is too small for a signal, which needs 20 pixels a side"
    assert len(files(out)) == 3


@pytest.mark.usefixtures("no_report")
def test_a_signal_that_changes_nothing_is_not_called_protected(photos: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "weak").mkdir()
    assert sign(photos, out, tiny_bundle(tmp_path / "weak", budget=0.3)) == 1
    assert {(row["status"], row["reason"]) for row in rows(out).values()} == {
        ("not_disrupted", "the signal changes no pixel of it")
    }


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("epsilon", "budget"), [(4, 3.0), (9, 3.0), (9, 2.2)])
def test_signal_and_disruption_share_one_ball_around_the_photo(
    photos: Path, out: Path, tmp_path: Path, epsilon: int, budget: float
) -> None:
    (tmp_path / "set").mkdir()
    bundle = tiny_bundle(tmp_path / "set", budget=budget)
    sign(photos, out, bundle, "--recipe", "pgd", "--epsilon", str(epsilon))
    for key, row in rows(out).items():
        written, original = pixels(out / row["output"]).astype(int), pixels(photos / key).astype(int)
        carrier = expected_pixels(photos / key, bundle).astype(int)
        assert np.abs(written - original).max() == row["linf_levels"] <= epsilon
        assert 0 < np.abs(written - carrier).max() <= epsilon - 3
        assert row["signals"] == read_bundle(bundle).id
        assert row["generator"] == BUILD


@pytest.mark.usefixtures("no_report")
def test_the_effect_is_measured_against_the_output_on_the_original(photos: Path, out: Path, bundle: Path) -> None:
    sign(photos, out, bundle, "--recipe", "pgd", "--epsilon", "7", "--region", "whole")
    generator = build()
    for key, row in rows(out).items():
        before, after = (
            torch.from_numpy(pixels(path)).permute(2, 0, 1)[None].float() for path in (photos / key, out / row["output"])
        )
        seen = [
            torch.nn.functional.interpolate(pixels_to_unit(x), size=(16, 16), mode="bilinear", antialias=True)
            for x in (before, after)
        ]
        with torch.no_grad():
            d = generator(seen[1], "Smile") - generator(seen[0], "Smile")
        assert row["class_l2"][0] == pytest.approx(float(d.square().mean()), rel=1e-4)
        assert row["class_l1"][0] == pytest.approx(float(d.abs().mean()), rel=1e-4)


@pytest.mark.usefixtures("no_report")
def test_the_run_goes_on_with_the_same_key_and_signals_only(
    photos: Path, out: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(photos, out, bundle) == 0
    before = files(out)
    (photos / "d.jpg").write_bytes(photo_bytes(seed=4))
    assert sign(photos, out, bundle) == 0
    assert files(out).items() > before.items()
    assert sign(photos, out, bundle, secret=SECRET[::-1]) == 2
    assert "signal_key: " in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    assert sign(photos, out, tiny_bundle(tmp_path / "other", seed=1)) == 2
    assert "signals: " in capsys.readouterr().err
    assert sign(photos, out, bundle, "--recipe", "pgd") == 2
    assert run(photos, out) == 2
    assert set(statuses(out)) == {"a.jpg", "b.png", "d.jpg", "in/c.jpg"}


@pytest.mark.usefixtures("no_report")
def test_where_a_bundle_lies_does_not_matter(photos: Path, out: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sign(photos, out, bundle) == 0
    moved = bundle.rename(bundle.with_name("moved.safetensors"))
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    assert run(photos, out, "--recipe", "none", "--signals", str(moved)) == 0


@pytest.mark.parametrize(
    ("epsilon", "budget", "recipe", "message"),
    [
        (2, 2.4, "none", "--epsilon 2 is too small: the signals of"),
        (2, 2.4, "none", "take 3 levels (budget 2.4); give --epsilon 3 or more"),
        (2, 3.0, "pgd", "--epsilon 2 leaves nothing for the disruption"),
        (3, 3.0, "pgd", "(budget 3); give --epsilon 4 or more, or --recipe none for the signal alone"),
    ],
)
def test_an_epsilon_without_room_for_the_signals_is_refused_with_the_numbers(
    tmp_path: Path, epsilon: int, budget: float, recipe: str, message: str
) -> None:
    bundle = tiny_bundle(tmp_path, budget=budget)
    config = ProtectConfig(
        str(photo_folder(tmp_path / "in")), "out", recipe=recipe, epsilon=epsilon, signals=bundle, key_file=key_file(tmp_path)
    )
    with pytest.raises(ConfigError) as refusal:
        prepare(config)
    assert message in str(refusal.value)


def test_a_wrong_call_ends_before_anything_is_written(
    photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (photos.parent / "none").mkdir()
    empty = tiny_bundle(photos.parent / "none", count=0)
    for words, message in [
        (["--recipe", "none"], "give --signals BUNDLE"),
        (["--signals", str(bundle)], "signals need a secret"),
        (["--signals", str(photos / "x.safetensors")], "no such bundle"),
        (["--signals", str(empty), "--key-file", str(key_file(photos.parent))], "a detector without signals"),
    ]:
        assert run(photos, out, *words) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_a_dry_run_of_signals_alone_estimates_and_writes_nothing(
    photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(photos, out, bundle, "--dry-run") == 0
    assert "MB of png files" in capsys.readouterr().out
    assert not out.exists()


def test_what_travels_to_the_workers_shows_the_secret_to_nobody(bundle: Path) -> None:
    config = ProtectConfig("in", "out", recipe="none", signals=bundle, key_file=key_file(bundle.parent))
    signer = read_signer(config)
    assert signer is not None
    assert SECRET.decode() not in f"{signer} {signer!r} {signer.facts()}"
    assert not dataclasses.is_dataclass(signer)  # Ray takes dataclasses apart for its own records
    assert not hasattr(signer, "__dict__")
    assert SECRET not in pickle.dumps(signer)
    photo = decode_photo(photo_bytes())
    assert np.array_equal(copy.deepcopy(signer)(photo), signer(photo)), "a copy is made of what travels"


def test_no_generator_is_loaded_for_signals_alone(photos: Path, out: Path, bundle: Path) -> None:
    config = ProtectConfig(
        str(photos), str(out), generator=("no:such",), recipe="none", signals=bundle, key_file=key_file(bundle.parent)
    )
    assert prepare(config).generators == []
    with pytest.raises((ConfigError, ValueError), match="no"):
        prepare(dataclasses.replace(config, recipe="pgd"))


def test_the_report_says_what_the_lane_is_and_shows_no_number_that_is_none(
    photos: Path, out: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign(photos, out, bundle, "--examples", "2") == 0
    page, said = (out / "report.html").read_text(encoding="utf-8"), " ".join(capsys.readouterr().out.split())
    name = read_bundle(bundle).id
    for expected in (
        f"of the bundle {name}",
        "Signals alone: no generator was disrupted",
        "keep this page to yourself",
        "mean PSNR",
    ):
        assert expected in page
    for absent in ("Effect by class", "% dis.", "mean L2", "G(photo)", ">nan", " nan", "None"):
        assert absent not in page
    assert page.count('alt="protected photo"') == 2
    assert f"signals {name} alone, no disruption" in said
    assert "largest change 3 of 6 levels" in said
    assert "nan" not in said
    assert "Effect on the generator" not in said


def test_the_report_of_both_says_so(photos: Path, out: Path, bundle: Path) -> None:
    sign(photos, out, bundle, "--recipe", "pgd", "--epsilon", "9")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "also carries a mixture of the signals of the bundle" in " ".join(page.split())
    assert "Effect by class" in page
    assert "Signals alone" not in page


def test_a_terminal_without_measured_files_prints_no_table_of_effects() -> None:
    from pipeline.ledger.schema import ManifestRow, rows_to_table
    from pipeline.protection.report import terminal_table
    from pipeline.protection.summary import summarise
    from pipeline.protection.sums import sums_of

    file = io.StringIO()
    skipped = ManifestRow.skipped("a.jpg", stage="protect", reason="too small")
    Console(file=file, width=140).print(terminal_table(summarise(sums_of(rows_to_table([skipped], shard="s")))))
    assert "PSNR" not in file.getvalue()
