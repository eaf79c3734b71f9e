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
from rich.console import Console

from pipeline.tables import published
from pipeline.tables.__main__ import main
from pipeline.tables.bench import Bench
from pipeline.tables.cells import Attack, Cell, Net, Photos, Run, cell, each_own, in_turn
from pipeline.tables.config import TableError, TablesConfig
from pipeline.tables.measuring import measure
from pipeline.tables.nets import Shelf, load, shelf_of, spread
from pipeline.tables.numbers import Result, Sample, compare, relative_to, result_of
from pipeline.tables.page import as_csv, as_markdown
from pipeline.tables.run import TABLES, results_of, write
from pipeline.tables.sources import listed, measured_photos, training_photos
from pipeline.tables.table import Layout, Table, ordering
from tests.fast import tiny
from tests.verbs import evaluate

NOBODY = Net("nobody", missing="no net: not installed")
QUICK = (("steps", 3),)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with labels.csv: four of split test, two of split train."""
    folder = tiny.photo_folder(tmp_path_factory.mktemp("faces"), {f"{name}.png": seed for seed, name in enumerate("abcdef")})
    rows = [f"{name}.png,{'test' if name < 'e' else 'train'}" for name in "abcdef"]
    (folder / "labels.csv").write_text("\n".join(["file,split", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def bench(faces: Path, tmp_path: Path) -> Bench:
    config = TablesConfig("table1", faces, photos=3, out=tmp_path / "out", work=tmp_path / "work", bootstrap=40, tracking=False)
    return Bench(config, Console(quiet=True))


def tiny_net(bench: Bench, label: str = "tiny", build: str = tiny.BUILD) -> Net:
    return Net(label, build, photos=measured_photos(bench.config.faces, bench.work, bench.config.photos or 3))


def shelf_with(bench: Bench, **nets: Net) -> Shelf:
    """A shelf that holds nothing but these."""
    return Shelf(**{field.name: nets.get(field.name, NOBODY) for field in dataclasses.fields(Shelf)})


def quickened(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with attacks of three steps."""

    def quick(run: Run) -> Run:
        parts = {"steps": 3} | {name: value for name, value in run.attack.parts if name != "steps"}
        return dataclasses.replace(run, attack=dataclasses.replace(run.attack, parts=tuple(parts.items())))

    return [dataclasses.replace(one, runs=tuple(map(quick, one.runs))) for one in cells]


def quick_table(name: str) -> Table:
    """A table whose attacks take three steps."""
    table = TABLES[name]
    return dataclasses.replace(table, cells=lambda bench, shelf: quickened(table.cells(bench, shelf)))


def figures(one: published.Figures) -> tuple[float, ...]:
    return one.l1, one.l2, round(100 * (one.disrupted or 0), 6)


def paths_of(photos: Photos) -> list[str]:
    return [row["path"] for row in csv.DictReader(io.StringIO(photos.place.read_text(encoding="utf-8")))]


def rows_of(results: list[Result]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(results))))


def test_the_published_figures_are_those_of_the_facts(shared: Path) -> None:
    text = (shared / "FACTS.md").read_text(encoding="utf-8")
    found = {}
    names = {"StarGAN (CelebA)": "StarGAN", "GANimation (CelebA)": "GANimation", "pix2pixHD (Cityscapes)": "pix2pixHD"}
    for line in re.findall(r"^\| ((?:StarGAN|GANimation|pix2pixHD|CycleGAN).*) \|$", text, re.MULTILINE):
        system, *cells = line.split(" | ")
        epsilon = "0.1" if system.endswith("eps 0.1") else "0.05"
        system = names.get(system, system.removesuffix(", eps 0.1"))
        for recipe, text_of in zip(("fgsm", "ifgsm", "pgd"), cells, strict=True):
            found[system, epsilon, recipe] = tuple(map(float, text_of.split("/")))
    assert found == {key: figures(one) for key, one in published.TABLE1.items()}
    four = re.findall(r"(?:class|iterative|joint)\s+(\.\d+)/(\.\d+)/(\d+\.\d)", text)
    assert [tuple(map(float, row)) for row in four] == [figures(one) for one in published.TABLE4.values()]
    five = re.findall(r"(\d\.\d+e-\d)/(\d\.\d+e-\d)", text)
    assert [tuple(map(float, row)) for row in five] == [(one.l1, one.l2) for one in published.TABLE5.values()]


def test_a_net_that_is_not_at_hand_has_a_row_that_says_so_and_no_number(bench: Bench, tmp_path: Path) -> None:
    table = TABLES["table1"]
    results = results_of(table, bench, shelf_with(bench))
    here = [row for row in rows_of(results) if row["source"] == "here"]
    assert len(here) == 6 * 2 * 3
    assert {row["status"] for row in here} == {"no net: not installed"}
    assert {value for row in here for name, value in row.items() if name.startswith(("l1", "l2", "disrupted", "photos"))} == {""}
    assert not (bench.work / "protected").exists()
    page = as_markdown(table.layout, results)
    assert "| StarGAN | 0.05 | 6 | here | no net: not installed | no net: not installed | no net: not installed |" in page
    assert "| StarGAN | 0.05 | 6.375 | published | 0.462 / 0.332 / 100.0 | 1.134 / 1.525 / 100.0 | 1.119 / 1.479 / 100.0 |" in page


def test_every_table_is_made_when_there_is_no_net_at_all(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tables.run.draw", lambda *arguments: False)
    for table in TABLES.values():
        results = results_of(table, bench, shelf_with(bench))
        for path in write(table, results, bench.config, made={"Command": "make"}):
            assert path.stat().st_size > 0
        assert "no net" in (bench.config.out / f"{table.name}.md").read_text(encoding="utf-8")


def test_weights_that_are_not_there_are_no_net_rather_than_an_error(bench: Bench) -> None:
    config = dataclasses.replace(bench.config, weights_cyclegan=Path("gone.pth"), weights_pix2pixhd=Path("gone.pth"))
    shelf = shelf_of(config, 2)
    assert shelf.cyclegan.missing == shelf.pix2pixhd.missing == "no net: gone.pth is not there"
    assert shelf.monet.missing == "no net: no weights are given"
    assert shelf.stargan.missing == ""


def test_the_numbers_are_those_of_the_files_counted_by_hand(bench: Bench) -> None:
    net = tiny_net(bench)
    attack = Attack((net,), epsilon=14, parts=QUICK)
    (result,) = bench.results([cell([Run(attack, net)], net="tiny")])
    generator = tiny.build()
    l1, l2 = [], []
    folder = bench.folder_of(attack)
    for name in listed(bench.config.faces, "test")[:3]:
        (protected,) = folder.glob(f"*-{name.stem}.png")
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
    (row,) = rows_of([result])
    assert (row["photos"], row["samples"], row["missing"]) == ("3", "6", "0")
    assert float(row["l1"]) == pytest.approx(np.mean(l1), rel=1e-4)
    assert float(row["l2"]) == pytest.approx(np.mean(l2), rel=1e-4)
    assert float(row["disrupted"]) == np.mean(np.array(l2) >= 0.05)
    assert float(row["l2_low"]) < float(row["l2"]) < float(row["l2_high"])


def test_the_numbers_are_those_of_disrupt_evaluate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.evaluation.run.write_page", lambda *arguments, **options: "")
    net = tiny_net(bench)
    attack = in_turn(net, steps=3)
    found = {channel: bench.results([cell([Run(attack, net, channel=channel)], net="tiny")])[0] for channel in ("clean", "jpeg-75")}
    out = bench.work / "evaluation"
    photos = str(net.photos.place) if net.photos else ""
    words = ["--out", str(out), "--channels", "jpeg-75", "--bootstrap", "0", "--limit", "3", "--no-tracking", "--engine", "local"]
    words += ["--generator", tiny.BUILD]
    assert evaluate([photos, str(bench.folder_of(attack)), *words]) == 0
    rows = csv.DictReader(io.StringIO((out / "summary.csv").read_text(encoding="utf-8")))
    evaluated = {row["channel"]: row for row in rows if row["class"] == "all"}
    for channel, result in found.items():
        for name in ("l1", "l2", "disrupted"):
            assert result.mean(name) == pytest.approx(float(evaluated[channel][name]), rel=1e-4)


def test_the_same_command_goes_on_where_it_was_stopped_and_ends_with_the_same_bytes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tables.run.draw", lambda *arguments: False)
    table = quick_table("table4")
    shelf = shelf_with(bench, stargan=tiny_net(bench))

    def made() -> bytes:
        write(table, results_of(table, bench, shelf), bench.config, made={})
        return (bench.config.out / "table4.csv").read_bytes()

    first = made()
    pictures = sorted((bench.work / "protected").rglob("*.png"))
    assert len(pictures) == 4 * 3
    before = {path: path.stat().st_mtime_ns for path in pictures}
    pictures[0].unlink()
    kept = sorted((bench.work / "measured").iterdir())
    kept[0].unlink()
    measured = []

    def counted(run: Run, protected: Path, photos: Photos, *, gpu: bool, seed: int) -> tuple[list[Sample], int]:
        measured.append(run)
        return measure(run, protected, photos, gpu=gpu, seed=seed)

    monkeypatch.setattr("pipeline.tables.bench.measure", counted)
    assert made() == first
    assert len(measured) == 1
    assert [path for path in pictures if path.stat().st_mtime_ns != before[path]] == pictures[:1]


def test_more_photos_go_on_from_fewer(bench: Bench) -> None:
    few = dataclasses.replace(bench.config, photos=2)
    attack = in_turn(tiny_net(Bench(few, bench.console)), steps=3)
    small = Bench(few, bench.console)
    small.protect([attack])
    before = {path: path.stat().st_mtime_ns for path in small.folder_of(attack).glob("*.png")}
    more = in_turn(tiny_net(bench), steps=3)
    bench.protect([more])
    assert bench.folder_of(more) == small.folder_of(attack)
    after = {path: path.stat().st_mtime_ns for path in bench.folder_of(more).glob("*.png")}
    assert len(before) == 2
    assert len(after) == 3
    assert before.items() <= after.items()


def test_output_towards_the_input_is_measured_from_the_photo(bench: Bench) -> None:
    net = tiny_net(bench)
    attack = Attack((net,), "towards-input", 20, parts=(("steps", 12),))
    towards, nothing = bench.results(
        [cell([Run(attack, net, measure=name)], measure=name) for name in ("to input", "no disruption")]
    )
    assert towards.mean("l2") < nothing.mean("l2")
    flat = tiny_net(bench, "flat", "tests.fast.tiny:build_flat")
    (kept,) = bench.results([cell([Run(attack, flat, measure="no disruption")], measure="no disruption")])
    assert kept.mean("l1") == 0


def test_a_class_of_its_own_is_attacked_and_measured_alone(bench: Bench) -> None:
    runs = each_own(Attack((tiny_net(bench),)), ("Smile", "Glasses"))
    assert [(run.attack.classes, run.classes) for run in runs] == [(("Smile",), ("Smile",)), (("Glasses",), ("Glasses",))]
    table = quick_table("table4")
    cells = {one.labels["attacked"]: one for one in table.cells(bench, shelf_with(bench, stargan=tiny_net(bench)))[:4]}
    assert [(run.attack.classes, run.classes) for run in cells["incorrect class"].runs] == [
        (("Glasses",), ("Smile",)),
        (("Smile",), ("Glasses",)),
    ]
    assert [run.attack.classes for run in cells["joint"].runs] == [("Smile", "Glasses")]
    assert ("class_schedule", "joint") in cells["joint"].runs[0].attack.parts


def test_a_net_that_gives_no_numbers_leaves_its_photos_out_and_says_how_many(bench: Bench) -> None:
    attack = in_turn(tiny_net(bench), steps=3)
    (result,) = bench.results([cell([Run(attack, tiny_net(bench, "broken", "tests.fast.tiny:build_broken"))], net="broken")])
    assert (result.status, result.missing, result.estimates) == ("failed: no photo could be measured", 3, {})


def test_the_strongest_of_several_starts_counts_for_each_photo_and_class() -> None:
    one = [Sample("a", "x", 1.0, 0.1), Sample("b", "x", 1.0, 0.9), Sample("a", "y", 1.0, 0.3)]
    two = [Sample("a", "x", 2.0, 0.2), Sample("b", "x", 2.0, 0.4)]
    result = result_of({}, [one, two], combine="strongest", missing=0, times=10, seed=0)
    assert result.samples == 3
    assert result.mean("l2") == pytest.approx((0.2 + 0.9 + 0.3) / 3)
    assert result.mean("l1") == pytest.approx((2 + 1 + 1) / 3)


def estimate(values: Sequence[float]) -> Result:
    samples = [Sample(f"{i}", "x", value, value) for i, value in enumerate(values)]
    return result_of({}, [samples], combine="pool", missing=0, times=400, seed=0)


def test_photos_are_compared_one_by_one_so_a_steady_difference_shows_in_wide_intervals() -> None:
    spread_out = np.linspace(0.1, 2.0, 12)
    a, b = estimate(list(spread_out + 0.01)), estimate(list(spread_out))
    assert a.estimates["l2"].interval[0] < b.estimates["l2"].interval[1]
    assert (compare(a, b), compare(b, a), compare(a, a)) == ("larger", "smaller", "undecided")
    few, fewer = estimate([1.0, 1.1, 1.2]), estimate([0.0, 0.1, 0.2])
    assert compare(few, fewer) == "undecided"


def test_the_share_of_the_clean_files_is_a_ratio_of_means() -> None:
    clean, after = estimate([0.1, 0.2, 0.06, 0.08]), estimate([0.1, 0.01, 0.06, 0.0])
    share = relative_to(after, clean)
    assert share.mean == 0.5
    assert 0 <= share.interval[0] <= 0.5 <= share.interval[1] <= 1


def test_an_ordering_is_said_to_hold_or_not_pair_by_pair() -> None:
    base = np.linspace(0.1, 0.3, 8)
    found = {"fgsm": estimate(list(base)), "ifgsm": estimate(list(base + 1)), "pgd": estimate(list(base + 2))}
    said = ordering("StarGAN", ["ifgsm", "pgd", "fgsm"], found)
    assert "ifgsm above pgd: does not hold" in said
    assert "pgd above fgsm: holds" in said
    assert ordering("nobody", ["a", "b"], {"a": Result({}, "no net")}) == "nobody: no net, so nothing to compare."


def test_only_held_out_photos_are_measured_and_none_of_them_is_trained_on(faces: Path, tmp_path: Path) -> None:
    assert {path.stem for path in listed(faces, "test")} == set("abcd")
    measured, trained = measured_photos(faces, tmp_path, 9), training_photos(faces, tmp_path, 9, measured=4)
    assert (measured.limit, trained.limit) == (4, 2)
    assert {Path(path).stem for path in paths_of(trained)} == {"e", "f"}
    (tmp_path / "plain").mkdir()
    tiny.photo_folder(tmp_path / "plain")
    names = listed(tmp_path / "plain", "test")
    rest = training_photos(tmp_path / "plain", tmp_path, 9, measured=2)
    assert paths_of(rest) == [str(names[2])]
    with pytest.raises(TableError, match="no photos are left"):
        training_photos(tmp_path / "plain", tmp_path, 9, measured=3)


def test_classes_are_spread_over_the_list() -> None:
    assert spread(tuple("abcdefgh"), 4) == ("a", "c", "e", "g")
    assert spread(("a", "b"), 4) == ("a", "b")


def test_notes_written_by_hand_come_into_the_page(bench: Bench) -> None:
    table = TABLES["table5"]
    results = results_of(table, bench, shelf_with(bench))
    (bench.config.out / "notes").mkdir(parents=True)
    (bench.config.out / "notes" / "table5.md").write_text("Looked at by eye.\n", encoding="utf-8")
    write(table, results, bench.config, made={"Command": "`make table5`"})
    page = (bench.config.out / "table5.md").read_text(encoding="utf-8")
    assert page.endswith("## Notes\nLooked at by eye.\n")
    assert "`make table5`" in page


def test_a_cell_shows_its_interval() -> None:
    result = dataclasses.replace(estimate([0.1, 0.2]), labels={"net": "a"})
    assert as_markdown(Layout(("net",), shown=("l2",)), [result]).splitlines()[-1] == "| a | 2 | 0.150 (0.100 to 0.200) |"


def test_a_wrong_call_is_one_line_that_says_what_was_expected(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table2", "--faces", str(faces), "--work", str(tmp_path), "--no-tracking"]) == 2
    assert "TABLE is one of table1, table4" in capsys.readouterr().err
    assert main(["table1", "--faces", str(tmp_path / "gone"), "--work", str(tmp_path), "--no-tracking"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_same_net_is_loaded_once(bench: Bench) -> None:
    assert load(tiny_net(bench)) is load(tiny_net(bench))
