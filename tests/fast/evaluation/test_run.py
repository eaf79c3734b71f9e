"""Runs of `disrupt evaluate` on files that `disrupt protect` wrote, from the words of the call to rows, numbers and report."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.evaluation.options import EvaluateConfig
from pipeline.jobs.options import DEFAULT_GENERATOR
from tests.fast import runs, tiny
from tests.verbs import evaluate

Said = pytest.CaptureFixture[str]
OTHER, BROKEN = "tests.fast.tiny:build_other", "tests.fast.tiny:build_broken"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and what protect made of them, with epsilon 9; the bad one is skipped there."""
    folder = tmp_path_factory.mktemp("made")
    tiny.photo_folder(folder / "photos")
    (folder / "photos" / "dot.png").write_bytes(tiny.photo_bytes(1, 1, suffix=".png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
        assert runs.run(folder / "photos", folder / "protected", "--epsilon", "9") == 0
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "work"))


@pytest.fixture(autouse=True)
def no_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plots of the page take a second a run."""
    if "one_page" not in request.node.name:
        monkeypatch.setattr("pipeline.evaluation.run.write_page", lambda *arguments, **options: "")


def call(folder: Path, *words: str, generator: str | None = tiny.BUILD) -> int:
    quick = ["--engine", "local", "--no-tracking", "--bootstrap", "50", *(["--generator", generator] if generator else [])]
    return evaluate([str(folder / "photos"), str(folder / "protected"), *quick, *words])


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "protected-evaluation" / "evaluation.parquet").to_pylist()
    return found


def refused(said: Said, folder: Path, *words: str, generator: str | None = tiny.BUILD) -> str:
    assert call(folder, *words, generator=generator) == 2
    error = said.readouterr().err
    assert len(error.splitlines()) == 1
    return error


def test_what_is_left_out_comes_from_the_protection_run_and_the_numbers_agree_with_its_manifest(work: Path, capsys: Said) -> None:
    assert call(work) == 0
    manifest = runs.rows(work / "protected")
    steps = [row["steps"] for row in manifest.values() if row["steps"]]
    told = f"protected in {sum(steps) / len(steps):.1f} steps on average, {max(steps)} at most"
    assert told in " ".join(capsys.readouterr().out.split())
    found = rows(work)
    assert {row["epsilon"] for row in found if row["status"] == "measured"} == {9}
    for key, row in manifest.items():
        mine = [one for one in found if one["key"] == key]
        if row["status"] == "skipped":
            assert [(one["status"], one["reason"]) for one in mine] == [("skipped", f"protect skipped: {row['reason']}")]
            continue
        l2 = {one["class"]: one["l2"] for one in mine}
        assert l2 == pytest.approx(dict(zip(row["classes"], row["class_l2"], strict=True)), rel=1e-4)
        assert {(one["psnr"], one["ssim"], one["linf_levels"]) for one in mine} == {(row["psnr"], row["ssim"], row["linf_levels"])}
        assert {one["flags"] == [] for one in mine} == {True}


def test_every_generator_class_and_channel_has_a_row_and_a_line(work: Path, capsys: Said) -> None:
    assert call(work, "--generator", tiny.BUILD, OTHER, "--channels", "social", "jpeg-75", "--limit", "2") == 0
    classes = [("tiny", "Smile"), ("tiny", "Glasses"), ("other", "Old")]
    channels = ["clean", "facebook", "x", "jpeg-75"]
    wanted = {(key, *what, channel) for key in ("a.jpg", "b.png") for what in classes for channel in channels}
    assert {(row["key"], row["generator"], row["class"], row["channel"]) for row in rows(work)} == wanted
    lines = list(csv.DictReader((work / "protected-evaluation" / "summary.csv").read_text().splitlines()))
    assert {(line["generator"], line["class"], line["channel"]) for line in lines} == {
        (*what, channel) for what in [*classes, ("tiny", "all"), ("other", "all")] for channel in channels
    }
    out = capsys.readouterr().out
    assert "Effect on other, 2 pairs of photo and class" in out
    assert str(work / "protected-evaluation" / "report.html") in out


def test_one_class_alone_and_an_evaluation_in_place_of_an_older_one(work: Path) -> None:
    assert call(work, "--classes", "Smile") == 0
    assert {row["class"] for row in rows(work)} == {"Smile", None}
    assert call(work, "--classes", "Glasses", "--epsilon", "3") == 0
    assert {row["class"] for row in rows(work)} == {"Glasses", None}


def test_the_red_team_is_added(work: Path) -> None:
    assert call(work, "--red-team", "--limit", "1", "--classes", "Smile") == 0
    assert {"clean", "median-3"} < {row["channel"] for row in rows(work)}


def test_pairs_that_do_not_match_have_rows_with_the_reason_and_the_exit_code_is_1(work: Path, capsys: Said) -> None:
    (work / "protected" / "a.png").unlink()
    (work / "protected" / "b.png").rename(work / "protected" / "other.png")
    small = work / "protected" / "in" / "c.png"
    Image.open(small).resize((17, 18)).save(small)
    (work / "photos" / "late.jpg").write_bytes(tiny.photo_bytes(seed=9))
    assert call(work) == 1
    found = {row["key"]: row for row in rows(work)}
    assert (found["a.jpg"]["status"], found["a.jpg"]["protected"]) == ("missing", "a.png")
    assert (found["b.png"]["status"], found["b.png"]["flags"]) == ("measured", ["protected file renamed since"])
    assert found["in/c.jpg"]["reason"].startswith("the two are of different sizes, 23 x 21 and 17 x 18 pixels")
    assert found["late.jpg"]["status"] == "missing"
    said = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "added later? (late.jpg)" in said


def test_a_file_that_was_encoded_again_is_measured_and_flagged(work: Path) -> None:
    file = work / "protected" / "a.png"
    Image.open(file).save(work / "again.jpg", quality=75)
    (work / "again.jpg").rename(file)
    assert call(work) == 0
    flags = {row["key"]: row["flags"] for row in rows(work) if row["status"] == "measured"}
    assert {"changed since it was protected", "lossy format"} <= set(flags.pop("a.jpg"))
    assert list(flags.values()) == [[], []]


def test_without_a_record_of_steps_none_are_told(work: Path, capsys: Said) -> None:
    shutil.rmtree(work / "protected" / "manifest")
    assert call(work, "--limit", "1") == 0
    assert "steps on average" not in capsys.readouterr().out


def test_any_two_folders_will_do_and_the_shipped_generator_is_then_the_default(work: Path) -> None:
    for place in (".disrupt", "manifest", "manifest.parquet"):
        path = work / "protected" / place
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert call(work, "--limit", "1", "--classes", "Young", generator=None) == 0
    assert {(row["generator"], row["epsilon"]) for row in rows(work)} == {(DEFAULT_GENERATOR, 6)}


def test_a_generator_without_numbers_fails_its_rows_and_leaves_the_others(work: Path) -> None:
    assert call(work, "--generator", BROKEN, tiny.BUILD, "--limit", "1") == 1
    assert {(row["generator"], row["status"]) for row in rows(work)} == {("broken", "failed"), ("tiny", "measured")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--channels", "jpg"], "channel 'jpg' is unknown; did you mean jpeg?"),
        (["--generator", "stargan-face"], "did you mean stargan-faces?"),
        (["--generator", "stargan"], "give the released file with --weights FILE"),
        (["--generator", tiny.BUILD, tiny.BUILD], "names tiny"),
        (["--generator", BROKEN, "--weights", "shipped", "shipped"], "needs one file for each of the 1 generators, got 2"),
        (["--weights", "shipped", "shipped"], "needs one file for each of the 1 generators, got 2"),
        (["--classes", "Smil"], "did you mean Smile?"),
        (["--region", "box"], "--region box needs ORIGINALS as a table"),
        (["--epsilon", "0"], "--epsilon must be from 1 to 64"),
        (["--bootstrap", "-1"], "--bootstrap must be from 0"),
        (["--gpus-per-actor", "1"], "--gpus-per-actor asks for a GPU"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(
    made: Path, capsys: Said, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert message in refused(capsys, made, *words)
    assert not (made / "protected-evaluation").exists()


def test_places_that_cannot_be_are_refused(work: Path, capsys: Said) -> None:
    assert "lies inside the input" in refused(capsys, work, "--out", str(work / "protected" / "results"))
    assert "lies inside the input" in refused(capsys, work, "--out", str(work / "photos" / "results"))
    (work / "own").mkdir()
    (work / "own" / "report.html").write_text("mine")
    assert "not of an evaluation" in refused(capsys, work, "--out", str(work / "own"))
    assert (work / "own" / "report.html").read_text() == "mine"
    (work / "protected" / ".disrupt" / "config.json").write_text("{}")
    assert "config.json is damaged" in refused(capsys, work)


@pytest.fixture
def foreign(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy whose record names a module of the working folder that leaves a trace when it is imported."""
    (work / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\nfrom tests.fast.tiny import build\n")
    change_record(work, generator=["stargan-faces", "evil:build"])
    monkeypatch.chdir(work)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return work


def change_record(folder: Path, **options: object) -> None:
    file = folder / "protected" / ".disrupt" / "config.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored | {"config": stored["config"] | options}))


def test_code_that_the_measured_folder_names_is_not_imported(foreign: Path, capsys: Said) -> None:
    said = refused(capsys, foreign, generator=None)
    assert "--generator stargan-faces evil:build" in said
    assert not (foreign / "ran").exists()
    assert not (foreign / "protected-evaluation").exists()


def test_code_that_is_typed_is_imported_whatever_the_folder_names(foreign: Path) -> None:
    assert call(foreign, "--limit", "1", generator="evil:build") == 0
    assert (foreign / "ran").exists()


def test_a_record_that_names_a_row_of_the_zoo_needs_no_option(work: Path) -> None:
    change_record(work, generator=["stargan-faces"], classes=["Young"])
    assert call(work, "--limit", "1", generator=None) == 0
    assert {(row["generator"], row["class"]) for row in rows(work)} == {("stargan-faces", "Young")}


@pytest.mark.parametrize(
    "options", [{"epsilon": 10**6}, {"epsilon": 6.5}, {"region": "all"}, {"classes": [["Smile"]]}, {"generator": [None]}]
)
def test_a_record_with_values_that_no_run_has_is_damaged(work: Path, capsys: Said, options: dict[str, object]) -> None:
    change_record(work, **options)
    assert "config.json is damaged" in refused(capsys, work)


@pytest.mark.parametrize("which", ["photos", "protected"])
def test_empty_sets_are_refused(work: Path, capsys: Said, which: str) -> None:
    shutil.rmtree(work / which)
    (work / which).mkdir()
    assert "no photos found" in refused(capsys, work, "--generator", tiny.BUILD)


def test_the_results_lie_beside_the_protected_files_whatever_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = {
        "a/out/": f"{tmp_path}/a/out-evaluation",
        "out/*.png": f"{tmp_path}/out-evaluation",
        "s3://bucket/out": "s3://bucket/out-evaluation",
    }
    assert {protected: EvaluateConfig("in", protected).out_place() for protected in places} == places
    assert EvaluateConfig("in", "out", out="here").out_place() == "here"


def test_the_report_is_one_page_that_escapes_and_loads_nothing(work: Path) -> None:
    evil = "<script>x&.jpg"
    (work / "photos" / evil).write_bytes(tiny.photo_bytes(seed=9))
    assert call(work, "--generator", tiny.BUILD, OTHER, "--channels", "jpeg-75", "--seed", "1") == 1
    page = (work / "protected-evaluation" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("<svg") == 2
    for said in (
        "Transfer",
        "other",
        "(protected against)",
        "added later?",
        "jpeg-75",
        "SR_mask",
        "--seed 1",
        "3 of 5 pairs measured",
    ):
        assert said in page, said
