"""`disrupt protect --measure-share` with a disruption: no photo is looked at on its way, and a share of the files afterwards."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from pipeline.jobs.options import ConfigError
from pipeline.protection.flow import pixel_stage
from pipeline.protection.options import UNMEASURED_STEPS, UNMEASURED_STEPS_FROM_UNIVERSAL, ProtectConfig
from pipeline.protection.stages.disrupt import Protect
from pipeline.protection.stages.measure_some import is_measured
from tests.fast.protection.test_until import EIGHT, WORKS, Passes
from tests.fast.runs import files, rows, run
from tests.fast.tiny import photo_bytes, photo_folder

MEASURED = ("class_l1", "class_l2", "class_lost", "class_edit", "l2", "disrupted", "status", "reason")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", {f"p{i}.png": i for i in range(9)})


@pytest.mark.parametrize("words", [[], ["--format", "jpeg", "--jpeg-quality", "95", "--min-psnr", "38"]])
def test_files_are_those_of_a_run_that_measures_all_and_so_are_the_numbers_of_the_share(
    photos: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    every, some, none = (tmp_path / name for name in ("every", "some", "none"))
    run(photos, every, *words, "--until", "none")
    run(photos, some, *words, "--measure-share", "0.5")
    run(photos, none, *words, "--measure-share", "0")
    assert files(every) == files(some) == files(none)
    found, known = rows(some), rows(every)
    measured = {name for name, row in found.items() if row["l2"] is not None}
    assert measured == {name for name in found if is_measured(name, 0.5)}
    assert 0 < len(measured) < 9
    for name in measured:
        assert [found[name][column] for column in MEASURED] == [known[name][column] for column in MEASURED]
    for name, row in [*((name, found[name]) for name in found.keys() - measured), *rows(none).items()]:
        assert (row["status"], row["steps"], row["class_l2"]) == ("protected", 4, None)
        assert (row["psnr"], row["sha256_out"]) == (known[name]["psnr"], known[name]["sha256_out"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"The effect was measured on {len(measured)} of 9 files." in said
    assert "was not measured on these files" in said
    assert "was not measured on these files" in " ".join((none / "report.html").read_text(encoding="utf-8").split())


def test_boxes_of_one_photo_get_the_same_file_measured_or_not(tmp_path: Path) -> None:
    (photo := tmp_path / "a.png").write_bytes(photo_bytes(60, 40, suffix=".png"))
    (table := tmp_path / "boxes.csv").write_text(
        "path,left,top,right,bottom\n" + "".join(f"{photo},{x},4,{x + 20},24\n" for x in (0, 30)), encoding="utf-8"
    )
    words = ["--region", "box", "--format", "jpeg", "--jpeg-quality", "95"]
    run(table, tmp_path / "every", *words, "--until", "none")
    run(table, tmp_path / "none", *words, "--measure-share", "0")
    assert files(tmp_path / "every") == files(tmp_path / "none")


@pytest.mark.parametrize("share", [0.0, 0.99])
def test_a_photo_that_is_not_measured_takes_its_steps_and_the_clean_outputs_that_they_climb(share: float) -> None:
    stage = pixel_stage(ProtectConfig("in", "out", generator=(EIGHT,), measure_share=share), None, None)
    protect = stage if isinstance(stage, Protect) else stage._change  # type: ignore[attr-defined]
    counted, key = Passes(protect.generators[0].net), next(str(i) for i in range(10_000) if not is_measured(str(i), 0.99))
    work = dataclasses.replace(WORKS[0], ref=dataclasses.replace(WORKS[0].ref, key=key))
    (done,) = stage([work])
    steps = UNMEASURED_STEPS
    assert counted.images == Counter(forward=steps, backward=steps, extra=min(steps, 8))
    assert done.steps == steps
    assert done.effect is not None
    assert not done.effect.classes


def test_steps_are_fewer_from_a_universal_start_and_those_given_where_some_are() -> None:
    config = ProtectConfig("in", "out", measure_share=0.01)
    assert (config.resolved_recipe().steps, config.resolved_recipe().until) == (UNMEASURED_STEPS, None)
    started = dataclasses.replace(config, universal=Path("universal.safetensors"))
    assert started.resolved_recipe().steps == UNMEASURED_STEPS_FROM_UNIVERSAL
    assert dataclasses.replace(config, steps=7).resolved_recipe().steps == 7
    assert dataclasses.replace(config, recipe="pgd").resolved_recipe().steps == 20
    assert dataclasses.replace(config, measure_share=1.0).resolved_recipe() == ProtectConfig("in", "out").resolved_recipe()


def test_stopping_early_is_refused_beside_it() -> None:
    with pytest.raises(ConfigError, match="--until"):
        ProtectConfig("in", "out", measure_share=0.5, until=2.0).check()
    with pytest.raises(ConfigError, match="--measure-share"):
        ProtectConfig("in", "out", recipe="none", signals=Path("signals.safetensors"), measure_share=0.5).check()
