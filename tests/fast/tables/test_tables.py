"""Tables of the method: published figures, rows without a net, numbers that agree with other ways of counting, going on."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.evaluation.row import EvaluationRow, as_table
from pipeline.evaluation.summary import Line
from pipeline.jobs.options import ConfigError
from pipeline.tables import bench
from pipeline.tables.__main__ import TABLES, main, write
from pipeline.tables.bench import fill, folder_of, protect
from pipeline.tables.cells import NAMES, Net, Photos, Row, Run, Table
from pipeline.tables.nets import load, measured_photos, nets_of, photos_of, spread, training_photos
from pipeline.tables.options import TablesConfig
from pipeline.tables.page import as_csv, as_markdown, as_page
from pipeline.tables.published import figures, runs_of
from tests.fast import tiny
from tests.verbs import evaluate

NOBODY = Net("nobody", missing="no net: not installed")
DOCS = Path(__file__).parents[3] / "docs" / "tables"
QUICK = (("steps", 3),)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with labels.csv: four of split test, two of split train."""
    folder = tiny.photo_folder(tmp_path_factory.mktemp("faces"), {f"{name}.png": seed for seed, name in enumerate("abcdef")})
    rows = [f"{name}.png,{'test' if name < 'e' else 'train'}" for name in "abcdef"]
    (folder / "labels.csv").write_text("\n".join(["file,split", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def config(faces: Path, tmp_path: Path) -> TablesConfig:
    return TablesConfig("table1", faces, photos=3, out=tmp_path / "out", work=tmp_path / "work", bootstrap=40, tracking=False)


def tiny_net(config: TablesConfig, label: str = "tiny", build: str = tiny.BUILD) -> Net:
    return Net(label, build, photos=measured_photos(config.faces, config.work, config.photos or 3))


def nets_with(config: TablesConfig, **nets: Net) -> dict[str, Net]:
    """No nets but these."""
    return dict.fromkeys(nets_of(config, 3), NOBODY) | nets


def quick(rows: Sequence[Row]) -> list[Row]:
    """The rows with attacks of three steps."""
    runs = {run: dataclasses.replace(run, parts=tuple({**dict(run.parts), "steps": 3}.items())) for one in rows for run in one.runs}
    return [one._replace(runs=tuple(runs[run] for run in one.runs)) for one in rows]


def numbers(config: TablesConfig, *runs: Run, strongest: bool = False) -> Row:
    return fill(config, [Row({}, runs, strongest)])[0]


def paths_of(photos: Photos) -> list[str]:
    return [row["path"] for row in csv.DictReader(io.StringIO(photos.path.read_text(encoding="utf-8")))]


def lines_of(rows: list[Row], table: Table = TABLES["table4"]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(table, rows))))


def percent(figures: Sequence[float]) -> tuple[float, ...]:
    return *figures[:2], round(100 * figures[2], 6)


def test_the_published_figures_are_those_of_the_facts(shared: Path) -> None:
    text = (shared / "FACTS.md").read_text(encoding="utf-8")
    facts = {}
    names = {"StarGAN (CelebA)": "StarGAN", "GANimation (CelebA)": "GANimation", "pix2pixHD (Cityscapes)": "pix2pixHD"}
    for line in re.findall(r"^\| ((?:StarGAN|GANimation|pix2pixHD|CycleGAN).*) \|$", text, re.MULTILINE):
        system, *cells = line.split(" | ")
        epsilon = "0.1" if system.endswith("eps 0.1") else "0.05"
        system = names.get(system, system.removesuffix(", eps 0.1"))
        facts[system, epsilon] = [tuple(map(float, one.split("/"))) for one in cells]
    known = {(system, epsilon, attack): percent(values) for (system, epsilon, attack), values in figures("table1").items()}
    recipes = ("fgsm", "ifgsm", "pgd")
    assert known == {(*key, recipe): values for key, three in facts.items() for recipe, values in zip(recipes, three, strict=True)}
    four = re.findall(r"(?:class|iterative|joint)\s+(\.\d+)/(\.\d+)/(\d+\.\d)", text)
    assert [tuple(map(float, one)) for one in four] == list(map(percent, figures("table4").values()))
    five = re.findall(r"(\d\.\d+e-\d)/(\d\.\d+e-\d)", text)
    assert [tuple(map(float, one)) for one in five] == list(figures("table5").values())


def test_a_net_that_is_not_at_hand_has_a_row_that_says_so_and_no_number(config: TablesConfig) -> None:
    table = TABLES["table1"]
    rows = fill(config, table.rows(config, nets_with(config)))
    here = [one for one in lines_of(rows, table) if one["source"] == "here"]
    assert len(here) == 6 * 2 * 3
    assert {one["status"] for one in here} == {"no net: not installed"}
    assert {value for one in here for name, value in one.items() if name.startswith(("l1", "l2", "disrupted", "photos"))} == {""}
    assert not (config.work / "protected").exists()
    page = as_markdown(table, rows)
    assert "| StarGAN | 0.05 | 6 | here | no net: not installed | no net: not installed | no net: not installed |" in page
    assert "| StarGAN | 0.05 | 6.375 | published | 0.462 / 0.332 / 100.0 | 1.134 / 1.525 / 100.0 | 1.119 / 1.479 / 100.0 |" in page


def test_every_table_is_made_when_there_is_no_net_at_all(config: TablesConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in TABLES.values():
        rows = fill(config, table.rows(config, nets_with(config)))
        for path in write(table, rows, config, made="made"):
            assert path.stat().st_size > 0
        assert "no net" in (config.out / f"{table.name}.md").read_text(encoding="utf-8")


def test_weights_that_are_not_there_are_no_net_rather_than_an_error(config: TablesConfig) -> None:
    gone = dataclasses.replace(config, weights=("cyclegan=gone.pth", "pix2pixhd=gone.pth"))
    nets = nets_of(gone, 2)
    assert nets["cyclegan"].missing == nets["pix2pixhd"].missing == "no net: gone.pth is not there"
    assert nets["monet"].missing == "no net: no weights are given"
    assert nets["stargan"].missing == ""


def test_the_numbers_are_those_of_the_files_counted_by_hand(config: TablesConfig) -> None:
    run = Run((tiny_net(config),), epsilon=14, parts=QUICK)
    generator = tiny.build()
    rows = [numbers(config, run)]
    l1, l2 = [], []
    for name in photos_of(config.faces, "test")[:3]:
        (protected,) = folder_of(config, run).glob(f"*-{name.stem}.png")
        for class_name in generator.classes:
            outputs = []
            for path in (name, protected):
                pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float()
                side = min(pixels.shape[1:])
                top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
                square = pixels[None, :, top : top + side, left : left + side] / 127.5 - 1
                seen = F.interpolate(square, size=(16, 16), mode="bilinear", align_corners=False, antialias=True)
                outputs.append(generator(seen, class_name))
            difference = outputs[1] - outputs[0]
            l1.append(difference.abs().mean().item())
            l2.append((difference**2).mean().item())
    (line,) = lines_of(rows)
    assert (line["photos"], line["samples"], line["missing"]) == ("3", "6", "0")
    assert float(line["l1"]) == pytest.approx(np.mean(l1), rel=1e-4)
    assert float(line["l2"]) == pytest.approx(np.mean(l2), rel=1e-4)
    assert float(line["disrupted"]) == np.mean(np.array(l2) >= 0.05)
    assert float(line["l2_low"]) < float(line["l2"]) < float(line["l2_high"])


def test_the_numbers_and_shares_of_the_clean_files_are_those_of_disrupt_evaluate(
    config: TablesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluation.run.write_page", lambda *arguments, **options: "")
    run = Run((tiny_net(config),), epsilon=14, parts=QUICK, channel="jpeg-95-444")
    row = numbers(config, run)
    out = config.work / "evaluation"
    words = ["--out", str(out), "--generator", tiny.BUILD, *["--channels", "jpeg-95-444", "--bootstrap", "0", "--limit", "3"]]
    words += ["--no-tracking", "--engine", "local"]
    assert evaluate([str(run.photos.path), str(folder_of(config, run)), *words]) == 0
    lines = csv.DictReader(io.StringIO((out / "summary.csv").read_text(encoding="utf-8")))
    (line,) = [one for one in lines if (one["class"], one["channel"]) == ("all", "jpeg-95-444")]
    for name in NAMES:
        assert row.mean(name) == pytest.approx(float(line[name]), rel=1e-4)


def test_the_same_command_goes_on_where_it_was_stopped_and_ends_with_the_same_bytes(
    config: TablesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["table4"]

    def made() -> bytes:
        rows = quick(table.rows(config, nets_with(config, stargan=tiny_net(config))))
        write(table, fill(config, rows), config, made="")
        return (config.out / "table4.csv").read_bytes()

    first = made()
    pictures = sorted((config.work / "protected").rglob("*.png"))
    assert len(pictures) == 4 * 3
    before = {path: path.stat().st_mtime_ns for path in pictures}
    pictures[0].unlink()
    sorted((config.work / "measured").iterdir())[0].unlink()
    measured = sorted((config.work / "measured").iterdir())
    times = [path.stat().st_mtime_ns for path in measured]
    assert made() == first
    assert [path.stat().st_mtime_ns for path in measured] == times
    assert len(list((config.work / "measured").iterdir())) == len(measured) + 1
    assert [path for path in pictures if path.stat().st_mtime_ns != before[path]] == pictures[:1]


def test_more_photos_go_on_from_fewer(config: TablesConfig) -> None:
    few = dataclasses.replace(config, photos=2)
    small, large = Run((tiny_net(few),), parts=QUICK), Run((tiny_net(config),), parts=QUICK)
    protect(few, [small])
    before = {path: path.stat().st_mtime_ns for path in folder_of(few, small).glob("*.png")}
    protect(config, [large])
    assert folder_of(config, large) == folder_of(few, small)
    after = {path: path.stat().st_mtime_ns for path in folder_of(config, large).glob("*.png")}
    assert (len(before), len(after)) == (2, 3)
    assert before.items() <= after.items()


def test_output_towards_the_input_is_measured_from_the_photo(config: TablesConfig) -> None:
    run = Run((tiny_net(config),), recipe="towards-input", epsilon=20, parts=(("steps", 12),), measure="to input")
    nothing = dataclasses.replace(run, measure="no disruption")
    assert numbers(config, run).mean("l2") < numbers(config, nothing).mean("l2")
    flat = tiny_net(config, "flat", "tests.fast.tiny:build_flat")
    assert numbers(config, dataclasses.replace(nothing, target=flat)).mean("l1") == 0


def test_a_class_of_its_own_is_attacked_and_measured_alone(config: TablesConfig) -> None:
    runs = runs_of(tiny_net(config), "pgd", "output")
    assert [(run.attacked, run.measured) for run in runs["correct class"]] == [(("Smile",),) * 2, (("Glasses",),) * 2]
    assert [(run.attacked, run.measured) for run in runs["incorrect class"]] == [
        (("Glasses",), ("Smile",)),
        (("Smile",), ("Glasses",)),
    ]
    assert [run.attacked for run in runs["joint"]] == [("Smile", "Glasses")]
    assert runs["joint"][0].parts == (("class_schedule", "joint"),)


def test_a_net_that_gives_no_numbers_leaves_its_photos_out_and_says_how_many(config: TablesConfig) -> None:
    row = numbers(config, Run((tiny_net(config),), tiny_net(config, "broken", "tests.fast.tiny:build_broken"), parts=QUICK))
    assert (row.status, row.missing, row.line) == ("failed: no photo could be measured", 3, None)


def sample(key: str, class_name: str, l1: float, l2: float) -> EvaluationRow:
    zero = {"l2_mask": 0.0, "mask_share": 0.0, "success_mask": False, "floor_l2": 0.0}
    where = {"key": key, "status": "measured", "generator": "G", "class_name": class_name, "channel": "clean"}
    return EvaluationRow(**where, l1=l1, l2=l2, disrupted=l2 >= 0.05, **zero)  # type: ignore[arg-type]


def test_the_strongest_of_several_starts_counts_for_each_photo_and_class(
    config: TablesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = [sample("a", "x", 1.0, 0.1), sample("b", "x", 1.0, 0.9), sample("a", "y", 1.0, 0.3)]
    two = [sample("a", "x", 2.0, 0.2), sample("b", "x", 2.0, 0.4)]
    monkeypatch.setattr(bench, "protect", lambda *arguments: None)
    monkeypatch.setattr(bench, "measure", lambda config, run: as_table([one, two][run.seed]))
    row = numbers(config, *(Run((tiny_net(config),), seed=seed) for seed in (0, 1)), strongest=True)
    assert row.line is not None
    assert row.line.samples == 3
    assert row.mean("l2") == pytest.approx((0.2 + 0.9 + 0.3) / 3)
    assert row.mean("l1") == pytest.approx((2 + 1 + 1) / 3)


def row_from_csv(table: Table, line: dict[str, str]) -> Row:
    labels = dict(list(line.items())[: list(line).index("status")])
    means = {name: float(line[name]) for name in NAMES if line.get(name)}
    intervals = {name: (float(line[f"{name}_low"]), float(line[f"{name}_high"])) for name in means if line[f"{name}_low"]}
    measured = Line("", "", "", int(line["photos"] or 0), 0, means, intervals) if means else None
    return Row(labels, status=line["status"], line=measured)


@pytest.mark.parametrize("name", TABLES)
def test_the_pages_of_the_docs_show_the_numbers_and_notes_beside_them(name: str) -> None:
    table = TABLES[name]
    with (DOCS / f"{name}.csv").open(encoding="utf-8") as handle:
        rows = [row_from_csv(table, line) for line in csv.DictReader(handle)]
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert page == as_page(
        table, rows, made=page.split("\n\n")[2], notes=(DOCS / "notes" / f"{name}.md").read_text(encoding="utf-8")
    )


def test_only_held_out_photos_are_measured_and_none_of_them_is_trained_on(faces: Path, tmp_path: Path) -> None:
    assert {path.stem for path in photos_of(faces, "test")} == set("abcd")
    measured, trained = measured_photos(faces, tmp_path, 9), training_photos(faces, tmp_path, 9, measured=4)
    assert (measured.limit, trained.limit) == (4, 2)
    assert {Path(path).stem for path in paths_of(trained)} == {"e", "f"}
    (tmp_path / "plain").mkdir()
    tiny.photo_folder(tmp_path / "plain")
    names = photos_of(tmp_path / "plain", "test")
    rest = training_photos(tmp_path / "plain", tmp_path, 9, measured=2)
    assert paths_of(rest) == [str(names[2])]
    with pytest.raises(ConfigError, match="no photos are left"):
        training_photos(tmp_path / "plain", tmp_path, 9, measured=3)


def test_of_each_person_one_photo_is_measured_in_the_order_of_all(tmp_path: Path) -> None:
    tiny.photo_folder(tmp_path, {f"{name}.jpg": i for i, name in enumerate("abcdef")})
    lines = [f"{name}.jpg,test,{person}\n" for name, person in zip("abcdef", "xyxyxz", strict=True)]
    (tmp_path / "labels.csv").write_text("file,split,identity\n" + "".join(lines), encoding="utf-8")
    person = dict(zip("abcdef", "xyxyxz", strict=True))
    names = [path.stem for path in photos_of(tmp_path, "test")]
    first = [name for i, name in enumerate(names) if person[name] not in {person[one] for one in names[:i]}]
    assert [Path(path).stem for path in paths_of(measured_photos(tmp_path, tmp_path / "work", 9))] == first
    assert len(first) == 3


@pytest.mark.parametrize(("share", "shown"), [(0.0, "0.0 (0.0 to 36.9)"), (1.0, "100.0 (63.1 to 100.0)"), (0.5, "50.0")])
def test_a_share_of_none_or_all_has_the_exact_interval_of_as_many_people(share: float, shown: str) -> None:
    line = Line("", "", "", 8, 16, {"disrupted": share}, {"disrupted": (share, share)})
    table = TABLES["table1"]._replace(lines=("attack",), columns="", shown=("disrupted",))
    assert f"| 8 | {shown} |" in as_markdown(table, [Row({"attack": "pgd"}, status="measured", line=line)])


def test_classes_are_spread_over_the_list() -> None:
    assert spread(tuple("abcdefgh"), 4) == ("a", "c", "e", "g")
    assert spread(("a", "b"), 4) == ("a", "b")


def test_notes_written_by_hand_stand_around_the_numbers(config: TablesConfig) -> None:
    (config.out / "notes").mkdir(parents=True)
    (config.out / "notes" / "table5.md").write_text("What it shows.\n\nLooked at by eye.\n", encoding="utf-8")
    write(TABLES["table5"], [], config, made="`make table5`")
    page = (config.out / "table5.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {TABLES['table5'].title}\n\nWhat it shows.\n\n`make table5`\n\n## Numbers\n")
    assert page.endswith("## Notes\nLooked at by eye.\n")


def test_a_wrong_call_is_one_line_that_says_what_was_expected(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table2", "--faces", str(faces), "--work", str(tmp_path), "--no-tracking"]) == 2
    assert "TABLE" in capsys.readouterr().err
    assert main(["table1", "--faces", str(tmp_path / "gone"), "--work", str(tmp_path), "--no-tracking"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["table-signals", "--faces", str(faces), "--no-tracking"]) == 2
    assert "--active" in capsys.readouterr().err


def test_the_same_net_is_loaded_once(config: TablesConfig) -> None:
    assert load(tiny_net(config)) is load(tiny_net(config))
