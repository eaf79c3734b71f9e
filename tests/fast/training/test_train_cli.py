"""`disrupt train` as a user meets it: a whole small training, stopped and gone on with, broken off, refused."""

from __future__ import annotations

import errno
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipeline.generators.zoo import load_generator
from pipeline.training.loop import Event, Losses
from pipeline.training.report import Report
from pipeline.training.systems.table import SYSTEMS
from tests.fast.training.few_faces import NARROW, write_faces
from tests.verbs import train

Said = pytest.CaptureFixture[str]
STEPS = 4
WORDS = [*NARROW, "--no-tracking", "--every", "2", "--steps", str(STEPS)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_faces(tmp_path_factory.mktemp("data") / "faces")
    (folder / "f03.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def unbroken(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was never stopped."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    assert train([str(faces), str(out), *WORDS, "--grid-every", "2"]) == 0
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by name."""
    kept = torch.load(out / "state.pt", weights_only=True)
    found = {f"{part}.{name}": tensor for part in ("G", "D", "G_ema") for name, tensor in kept[part].items()}
    for part in ("opt_G", "opt_D"):
        found |= {f"{part}.{i}.{name}": tensor for i, slot in kept[part]["state"].items() for name, tensor in slot.items()}
    return found | {"rng": kept["rng"], "step": torch.tensor(kept["step"])}


def refused(said: Said, *words: str | Path) -> str:
    assert train([*map(str, words), "--no-tracking"]) == 2
    out, err = said.readouterr()
    assert "Traceback" not in err + out
    assert len(err.splitlines()) == 1
    return err


def at_step(step: int, act: Callable[[], None]) -> type[Report]:
    """A report that acts once, when it gets the losses of a step."""

    class Acting(Report):
        def add(self, event: Event) -> None:
            super().add(event)
            if isinstance(event, Losses) and event.step == step:
                act()

    return Acting


def test_the_help_says_the_numbers_that_a_training_starts_with(capsys: Said) -> None:
    with pytest.raises(SystemExit):
        train(["--help"])
    entries = [re.sub(r"[\s│]+", " ", entry) for entry in re.split(r"\n\W (?=--)", capsys.readouterr().out)]
    about = {entry.split(maxsplit=1)[0]: entry for entry in entries[1:]}
    recipes = [recipe for row in SYSTEMS.values() for recipe in row.recipes.values()]
    for name, values in {
        **{name: {getattr(row, name) for row in SYSTEMS.values()} for name in ("steps", "size", "conv_dim", "d_conv_dim")},
        **{name: {getattr(recipe, name) for recipe in recipes} for name in ("batch", "d_steps")},
    }.items():
        assert set(map(str, values)) <= set(re.findall(r"\w+", about["--" + name.replace("_", "-")])), name


def test_a_training_writes_what_protect_takes_at_once(unbroken: Path) -> None:
    generator = load_generator("stargan", weights=unbroken / "generator.safetensors")
    assert generator.size == 64
    assert "Smiling" in generator.classes


def test_the_averaged_weights_are_what_is_written(unbroken: Path) -> None:
    net = load_generator("stargan", weights=unbroken / "generator.safetensors").net
    kept = weights(unbroken)
    for name, tensor in net.state_dict().items():
        assert torch.allclose(tensor, kept[f"G_ema.G.{name}"], atol=1e-3)


def test_losses_of_every_step_and_sample_pictures_are_kept(unbroken: Path) -> None:
    lines = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"lr", "d_loss", "g_loss", "g_rec", "s_per_step", "pictures_per_s"} <= lines[-1].keys()
    with Image.open(unbroken / "pictures-000002.png") as picture:
        assert picture.size[1] == 64  # one held-out face: one row
        assert picture.size[0] % 64 == 0


def test_ctrl_c_keeps_the_last_step_and_the_same_command_ends_with_the_same_weights(
    faces: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    words = [str(faces), str(tmp_path / "out"), *WORDS]
    monkeypatch.setattr("pipeline.training.run.Report", at_step(2, lambda: signal.raise_signal(signal.SIGINT)))
    assert train(words) == 130
    assert "Run the same command again" in capsys.readouterr().err
    assert int(weights(tmp_path / "out")["step"]) == 3
    monkeypatch.undo()
    assert train(words) == 0
    assert "training from step 3 to 4" in capsys.readouterr().out
    went_on, never_stopped = weights(tmp_path / "out"), weights(unbroken)
    assert went_on.keys() == never_stopped.keys()
    assert [name for name, tensor in went_on.items() if not torch.equal(tensor, never_stopped[name])] == []


def test_a_time_limit_ends_with_everything_written(faces: Path, tmp_path: Path, capsys: Said) -> None:
    assert train([str(faces), str(tmp_path / "out"), *WORDS, "--steps", "1000", "--minutes", "0"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"stopped at step \d+ of 1000; run the same command again to resume", said)
    assert f"disrupt protect PHOTOS PROTECTED --generator stargan --weights {tmp_path / 'out' / 'generator.safetensors'}" in said
    assert 0 < int(weights(tmp_path / "out")["step"]) < 1000


def test_a_finished_training_has_nothing_to_do_and_other_options_need_another_folder(
    faces: Path, unbroken: Path, capsys: Said
) -> None:
    before = (unbroken / "state.pt").read_bytes()
    assert train([str(faces), str(unbroken), *WORDS]) == 0
    assert "nothing to do" in capsys.readouterr().out
    error = refused(capsys, faces, unbroken, *WORDS, "--lr", "0.1", "--seed", "5")
    assert "lr: null there, 0.1 now; seed: 0 there, 5 now" in error
    assert "--init-from" in error
    assert (unbroken / "state.pt").read_bytes() == before


def test_pictures_that_cannot_be_read_are_counted_and_left_out(faces: Path, tmp_path: Path, capsys: Said) -> None:
    assert train([str(faces), str(tmp_path / "out"), *WORDS, "--steps", "1"]) == 0
    assert "1 pictures cannot be read and are left out" in capsys.readouterr().out


def test_a_full_disk_ends_a_training_with_a_message_and_the_rerun_completes_it(
    faces: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    words = [str(faces), str(tmp_path / "out"), *WORDS]
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.training.state.write_atomic", full)
        assert train(words) == 1
    assert f"cannot write {tmp_path / 'out'}" in capsys.readouterr().out
    assert train(words) == 0
    assert (tmp_path / "out" / "generator.safetensors").read_bytes() == (unbroken / "generator.safetensors").read_bytes()


def test_a_loss_that_is_no_number_breaks_the_training_off_and_keeps_the_last_checkpoint(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    words = [str(faces), str(tmp_path / "out"), *WORDS]
    monkeypatch.setattr("pipeline.training.run.Report", at_step(1, lambda: signal.raise_signal(signal.SIGINT)))
    assert train(words) == 130
    monkeypatch.undo()
    checkpoint = tmp_path / "out" / "state.pt"
    state = torch.load(checkpoint, weights_only=True)
    state["D"] = {name: torch.full_like(tensor, 1e30) for name, tensor in state["D"].items()}
    torch.save(state, checkpoint)
    before = checkpoint.read_bytes()
    assert train(words) == 1
    said = capsys.readouterr().out
    assert "training broke off" in said
    assert "not a finite number at step 3" in said
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--system", "stargna"], "did you mean stargan?"),
        (["--loss", "r1_every=0"], "--loss r1_every must"),
        (["--seed", str(2**64)], "--seed must"),
        (["--size", "65"], "--size must be a multiple of 4"),
        (["--size", "32"], "at least 64"),
        (["--licence", "GPL"], "no row of"),
        (["--system", "cyclegan"], "trainA"),
        (["--system", "pix2pixhd"], "train_label"),
        (["--gpus-per-worker", "1"], "torch sees none here"),
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_a_wrong_call_is_refused_in_one_line(faces: Path, tmp_path: Path, capsys: Said, words: list[str], message: str) -> None:
    assert message in refused(capsys, faces, tmp_path / "out", *words)
    assert not (tmp_path / "out" / "state.pt").exists()


@pytest.mark.parametrize(("cell", "message"), [("", "is missing"), ("2", "is '2'"), ("yes", "is 'yes'")])
def test_a_label_that_is_missing_or_out_of_range_is_refused_with_its_line(
    tmp_path: Path, capsys: Said, cell: str, message: str
) -> None:
    table = write_faces(tmp_path / "faces", count=3) / "labels.csv"
    lines = table.read_text().splitlines()
    lines[2] = lines[2].rpartition(",")[0] + "," + cell
    table.write_text("\n".join(lines) + "\n")
    error = refused(capsys, tmp_path / "faces", tmp_path / "out", *NARROW)
    assert "line 3" in error
    assert message in error


def test_a_folder_of_something_else_is_refused(faces: Path, tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "is not empty and was not made by disrupt train" in refused(capsys, faces, tmp_path, *NARROW)
    assert "is a file; it has to be a folder" in refused(capsys, faces, tmp_path / "mine.txt", *NARROW)


def test_a_checkpoint_of_another_system_or_shape_is_refused(faces: Path, unbroken: Path, tmp_path: Path, capsys: Said) -> None:
    out = tmp_path / "out"
    assert train([str(faces), str(out), *NARROW, "--no-tracking", "--steps", "1", "--conv-dim", "8"]) == 0
    (out / "state.pt").write_bytes((unbroken / "state.pt").read_bytes())
    capsys.readouterr()
    error = refused(capsys, faces, out, *NARROW, "--steps", "1", "--conv-dim", "8")
    assert "widths 4 and 4" in error
    assert "widths 8 and 4" in error
