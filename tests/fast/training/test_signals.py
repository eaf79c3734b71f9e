"""The system of signals: its losses against a second derivation, what has a gradient, one worker or two, killed and continued."""

from __future__ import annotations

import dataclasses
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.generators.zoo import GeneratorError
from pipeline.images.levels import unit_to_level
from pipeline.images.resize import pixels_to_tensor
from pipeline.jobs.options import ConfigError
from pipeline.photos.photo import Photo
from pipeline.signals.add import with_signal
from pipeline.signals.binding import phases
from pipeline.signals.bundle import HANDLINGS, Signals, read_bundle
from pipeline.signals.detector import Detector, detector_input, place
from pipeline.signals.edits import Draws
from pipeline.signals.handling import random_handling
from pipeline.signals.manipulation import SourceName, load_source, manipulate
from pipeline.signals.signal_set import SignalSet, add_signals
from pipeline.training.job import plan
from pipeline.training.loop import SaveDue, Schedule
from pipeline.training.loop import train as train_loop
from pipeline.training.options import OF_SIGNALS, Manipulations, TrainConfig, TrainError, signature
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, split, train_step
from pipeline.training.systems.signals import SignalSystem, signal_set
from pipeline.training.systems.system import Batch, Sizes
from tests.fast.tiny import BUILD, photo_bytes
from tests.fast.training.small import differing
from tests.verbs import train, with_options

SIZES = Sizes(image=16, conv_dim=8, d_conv_dim=8)

SYSTEM = SignalSystem(count=4, sources=(SourceName(BUILD), SourceName("tests.fast.tiny:build_other")), region="low", k=0.5)
SETTINGS = StepSettings(lr=1e-3, steps=5)


def fresh(system: SignalSystem = SYSTEM, *, seed: int = 3, dtype: torch.dtype = torch.float64) -> TrainState:
    return TrainState.fresh(system, SIZES, seed=seed, lr=1e-3, dtype=dtype)


def raw(state: TrainState) -> torch.Tensor:
    """The parameters of the signals."""
    return signal_set(state.nets.G).raw


def photos(step: int = 0, count: int = 4, dtype: torch.dtype = torch.float64) -> Batch:
    rng = torch.Generator().manual_seed(step)
    return {"image": F.interpolate(torch.rand(count, 3, 4, 4, generator=rng, dtype=dtype) * 2 - 1, size=(32, 32), mode="bilinear")}


class Photos:
    skipped = 0

    def batch(self, step: int) -> Batch:
        return photos(step, dtype=torch.float32)

    def held_out(self) -> Batch:
        return photos(99, dtype=torch.float32)


def drawn(system: SignalSystem = SYSTEM, *, step: int = 1000, count: int = 4) -> Batch:
    return system.draw(photos(count=count), step, torch.Generator().manual_seed(1))


def test_a_signal_never_exceeds_its_budget_however_far_its_parameters_go() -> None:
    signals = SignalSet(2, size=16, budget_levels=3.0)
    with torch.no_grad():
        signals.raw.copy_(1e6 * signals.raw.sign())
    assert unit_to_level(signals.signals()).abs().max().item() == pytest.approx(3.0, rel=1e-6)


def test_a_photo_with_its_signal_is_in_whole_levels_and_passes_the_gradient() -> None:
    signal = torch.full((1, 3, 4, 4), 1.3 / 127.5, requires_grad=True)
    x = torch.zeros(1, 3, 4, 4) + 0.5 / 127.5  # level 128
    y = add_signals(x, signal)
    assert torch.allclose((y + 1) * 127.5, torch.full_like(y, 129.0), atol=1e-3)
    y.sum().backward()
    assert signal.grad is not None
    assert torch.equal(signal.grad, torch.ones_like(signal))


def test_the_detector_looks_at_any_size_and_at_grey_and_at_each_image_alone() -> None:
    detector = Detector(size=16, width=8).double()
    x, signals = torch.rand(3, 3, 40, 24, dtype=torch.float64), torch.randn(3, 3, 16, 16, dtype=torch.float64)
    together = detector(x, detector.recover(x), signals)
    assert together.changed_B1HW.shape == (3, 1, 8, 8)
    alone = detector(x[1:2], detector.recover(x[1:2]), signals[1:2])
    assert torch.allclose(together.logit_B[1], alone.logit_B[0], atol=1e-12)
    assert detector.recover(torch.rand(1, 1, 9, 9, dtype=torch.float64)).signals_B3SS.shape == (1, 3, 16, 16)


def test_the_strength_of_a_placed_signal_changes_no_judgement_and_its_place_does() -> None:
    detector = Detector(size=16, width=8).double()
    x, signal = torch.rand(1, 3, 16, 16, dtype=torch.float64), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    recovery = detector.recover(x)
    once, ten, moved = (detector(x, recovery, each).logit_B.item() for each in (signal, 10 * signal, signal.roll(4, 3)))
    assert once == pytest.approx(ten, abs=1e-12)
    assert once != pytest.approx(moved, abs=1e-6)


def test_the_losses_are_the_terms_with_their_weights_as_a_second_derivation_has_them() -> None:
    weights = {
        "detection": 1.3,
        "magnitude": 7.0,
        "spectrum": 11.0,
        "separation": 0.3,
        "pairwise": 0.2,
        "recovery": 0.9,
        "changed": 0.6,
    }
    system = dataclasses.replace(SYSTEM, grey=0.5, edits=0.5, **weights)  # type: ignore[arg-type]
    state, batch = fresh(system), drawn(system, count=8)
    assert set(batch["grey"].tolist()) == set(batch["edited"].tolist()) == {False, True}
    fake = system.translate(state.nets.G, system.inputs(batch), batch)
    D, eta = state.nets.D["detector"], signal_set(state.nets.G).signals()
    assert isinstance(D, Detector)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())
        return value

    def unit(x: torch.Tensor) -> torch.Tensor:
        return (x - x.min()) / (x.max() - x.min())

    def asked_for(x: torch.Tensor, i: int, placement: torch.Tensor) -> torch.Tensor:
        """The mixture by the tints of one image and photo i's offsets, of signals as they lie in the image."""
        levels = ((x[0].detach().float() + 1) * 127.5).round().numpy()
        phase = torch.from_numpy(phases(levels, 2)) + batch["offset"][i].float()[:, None, None]
        there = place(eta, placement[None].double().expand(4, 2, 3))
        mixed = sum((phase[k].cos() * there[2 * k] + phase[k].sin() * there[2 * k + 1]) / 2**0.5 for k in range(2))
        assert isinstance(mixed, torch.Tensor)
        return mixed[[1, 1, 1]][None] if batch["grey"][i] else mixed[None]

    l_b, l_m, l_r, hats = [], [], [], []
    for i, seeds in enumerate(batch["handling"].tolist()):
        for name, seed, r in (("untouched", seeds[0], 1.0), ("manipulated", seeds[1], 0.0)):
            x, way = fake[name][i : i + 1], random_handling(Draws(torch.Generator().manual_seed(seed)), HANDLINGS)
            placed = asked_for(x, i, way.placement(searched=True))
            photo = detector_input(system.inputs(batch)["photo"][i : i + 1], 16)
            exact = place(asked_for(photo, i, torch.eye(2, 3)), way.placement()[None].double())
            recovery = D.recover(x)
            logit, changed = D(x, recovery, placed)
            net, mask = torch.sigmoid(logit), fake["changed"][i : i + 1] * (1 - r)
            l_b.append((-(r * net.log() + (1 - r) * (1 - net).log())).mean())
            p = torch.sigmoid(changed)
            l_m.append((-(mask * p.log() + (1 - mask) * (1 - p).log())).mean())
            if r:
                l_r.append(1 - cosine(exact, recovery.signals_B3SS))
            elif mask.min() > 0.99:
                hats.append(recovery.signals_B3SS[0])
    assert 0 < len(hats) < 8
    l_s = torch.stack([torch.stack([cosine(unit(e), unit(hat)) for e in eta]).max() for hat in hats]).sum() / 8
    l_p = torch.stack([cosine(unit(one), unit(other)) for one, other in combinations(eta, 2)]).sum()
    power = torch.fft.fft2(eta).abs().square() / 256
    low = torch.fft.fftfreq(16).abs() <= 0.25
    l_c = (power * (low[:, None] & low[None])).mean()
    b, m, r_ = (torch.stack(each).mean() for each in (l_b, l_m, l_r))
    shared = 1.3 * b + 0.6 * m + 0.9 * r_ + 0.3 * l_s
    d_loss, _ = system.d_loss(state.nets, batch, {}, fake, 0)
    g_loss, parts = system.g_loss(state.nets, batch, {}, fake, 0)
    assert d_loss.item() == pytest.approx(shared.item(), rel=1e-6)
    whole = shared + 7 * eta.square().mean() + 11 * l_c + 0.2 * l_p
    assert g_loss.item() == pytest.approx(whole.item(), rel=1e-6)
    assert parts["g_pairwise"].item() == pytest.approx(l_p.item(), rel=1e-9)
    wanted = torch.autograd.grad(whole, raw(state), retain_graph=True)[0]
    got = torch.autograd.grad(g_loss, raw(state))[0]
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("through", [False, True])
def test_only_through_generators_does_the_manipulated_photo_move_the_signals(through: bool) -> None:
    system = dataclasses.replace(SYSTEM, through_generators=through, edits=0.0, handlings=())
    state, batch = fresh(system), drawn(system)
    fake = system.translate(state.nets.G, system.inputs(batch), batch)
    (gradient,) = torch.autograd.grad(fake["manipulated"].sum() + 0 * fake["untouched"].sum(), raw(state))
    assert bool(gradient.abs().max() > 0) == through


def test_a_grey_photo_and_what_it_carries_is_what_a_grey_file_holds() -> None:
    system = dataclasses.replace(SYSTEM, grey=1.0, handlings=())
    state = fresh(system, dtype=torch.float32)
    pixels = np.random.default_rng(0).integers(20, 236, (4, 32, 32, 3), dtype=np.uint8)
    batch = {**drawn(system), "image": torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1}
    signals = unit_to_level(signal_set(state.nets.G).signals().detach()).numpy()
    assert batch["strength"].tolist() == [1.0] * 4
    shown = system.translate(state.nets.G, system.inputs(batch), batch)["untouched"].detach()
    for i, offsets in enumerate(batch["offset"].tolist()):
        grey = np.asarray(Image.fromarray(pixels[i]).convert("L"))[..., None]
        file = with_signal(Photo(grey, None, "PNG"), Signals(signals, SYSTEM.budget), offsets)
        seen = detector_input(pixels_to_tensor(file), 16)[0]
        level = (shown[i] - seen).abs() * 127.5  # rounded together here, one after the other in files
        assert level.max() <= 1
        assert level.mean() < 0.3


def test_each_photo_gets_the_class_that_was_drawn_for_it() -> None:
    generator = load_source(SourceName(BUILD), "cpu", torch.float64)
    x = photos()["image"][:2, :, ::2, ::2]
    y = manipulate(generator, x, torch.tensor([0.1, 0.9]))
    assert torch.allclose(y[0], generator(x[:1], "Smile")[0].clamp(-1, 1), atol=1e-12)
    assert torch.allclose(y[1], generator(x[1:], "Glasses")[0].clamp(-1, 1), atol=1e-12)


def test_photos_stay_in_place_at_first_and_signals_are_stronger_and_later_neither() -> None:
    first, last = drawn(step=0, count=16), drawn(step=1000, count=16)
    assert (first["moved"].any().item(), last["moved"].all().item()) == (False, True)
    assert (first["strength"].tolist(), last["strength"].tolist()) == ([2.0] * 16, [1.0] * 16)
    assert 1 < drawn(step=350)["strength"][0] < 2
    trained = drawn(dataclasses.replace(SYSTEM, warm_up=False), step=0)
    assert (trained["moved"].all().item(), trained["strength"].tolist()) == (True, [1.0] * 4)


def test_an_edited_photo_says_where_and_a_translated_one_is_changed_everywhere() -> None:
    system = dataclasses.replace(SYSTEM, edits=1.0, handlings=())
    state, batch = fresh(system), drawn(system, count=16)
    shown = system.translate(state.nets.G, system.inputs(batch), batch)
    least = shown["changed"].amin((1, 2, 3))
    assert 2 <= (least < 0.5).sum() <= 14, "some in part, some as a whole"
    apart = (shown["manipulated"] - shown["untouched"]).abs().amax(1)
    still = shown["changed"][:, 0].repeat_interleave(2, 1).repeat_interleave(2, 2) == 0
    assert apart[still].max() < 0.02
    by_network = dataclasses.replace(SYSTEM, edits=0.0, handlings=())
    batch = drawn(by_network, count=16)
    assert (by_network.translate(state.nets.G, by_network.inputs(batch), batch)["changed"].amax((1, 2, 3)) > 0.5).all()


def test_the_mean_over_two_workers_shares_is_the_loss_of_the_whole_batch_gradients_included() -> None:
    state, batch = fresh(), drawn()

    def gradients(part: Batch) -> list[torch.Tensor]:
        fake = SYSTEM.translate(state.nets.G, SYSTEM.inputs(part), part)
        d_loss, _ = SYSTEM.d_loss(state.nets, part, SYSTEM.reals(part), {name: x.detach() for name, x in fake.items()}, 0)
        g_loss, _ = SYSTEM.g_loss(state.nets, part, SYSTEM.inputs(part), fake, 0)
        of_d = torch.autograd.grad(d_loss, list(state.nets.D.parameters()))
        return [d_loss.detach(), g_loss.detach(), *of_d, *torch.autograd.grad(g_loss, list(state.nets.G.parameters()))]

    first, second = (gradients(half) for half in split(batch, 2, what="workers"))
    for whole, a, b in zip(gradients(batch), first, second, strict=True):
        assert torch.allclose(whole, (a + b) / 2, atol=1e-10)


def test_a_killed_and_continued_training_ends_as_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    through, killed, continued = (fresh(seed=seed, dtype=torch.float32) for seed in (3, 3, 8))
    list(train_loop(through, SYSTEM, Photos(), SETTINGS))
    for event in train_loop(killed, SYSTEM, Photos(), SETTINGS, Schedule(losses=1, save=3)):
        if isinstance(event, SaveDue):
            killed.save(tmp_path / "state.pt")
        elif event.step == 4:
            break
    continued.restore(tmp_path / "state.pt")
    assert continued.step == 3
    list(train_loop(continued, SYSTEM, Photos(), SETTINGS))
    assert differing(through, continued) == []


def test_signals_learn_to_be_recovered() -> None:
    system = dataclasses.replace(SYSTEM, handlings=(), magnitude=0.0, spectrum=0.0, grey=0.0, edits=0.0, budget=12.0)
    state = TrainState.fresh(system, SIZES, seed=1, lr=3e-3)
    settings = StepSettings(lr=3e-3, steps=60)
    pale = ({"image": 0.2 * Photos().batch(step)["image"]} for step in range(60))
    values = [train_step(state, system, batch, settings) for batch in pale]
    assert values[-1]["d_recovery"] < 0.7 * values[0]["d_recovery"]
    assert values[-1]["d_detection"] < values[0]["d_detection"]


@pytest.mark.parametrize("count", [0, 2])
def test_no_signal_and_one_pair_can_be_learned(count: int) -> None:
    system = dataclasses.replace(SYSTEM, count=count)
    state = fresh(system)
    values = train_step(state, system, photos(), SETTINGS)
    assert (values["g_pairwise"] == values.get("d_separation", 0) == 0) == (count == 0)
    assert ("d_recovery" in values) == (count == 2)


def few_photos(folder: Path, count: int = 24) -> Path:
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}.png").write_bytes(photo_bytes(40, 32, seed=i, suffix=".png"))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


WORDS = [
    "--system",
    "signals",
    "--size",
    "16",
    "--d-conv-dim",
    "8",
    "--batch",
    "2",
    "--generator",
    BUILD,
    "--no-tracking",
    "--threads",
    "1",
]


def test_a_folder_of_photos_without_labels_becomes_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = few_photos(tmp_path / "photos")
    assert train([str(faces), str(tmp_path / "out"), *WORDS, "--steps", "2", "--signals", "2"]) == 0
    bundle = read_bundle(tmp_path / "out" / "bundle.safetensors")
    assert (bundle.count, bundle.size, bundle.budget) == (2, 16, 1.5)
    assert np.abs(bundle.signals_nCHW).max() <= 1.5
    assert set(bundle.scores) == {grey + kind for grey in ("", "grey-") for kind in ("untouched", "carried", "plain")}
    assert {len(scores) for scores in bundle.scores.values()} == {3}, "a tenth of the photos is held out"
    with Image.open(tmp_path / "out" / "pictures-000002.png") as picture:
        assert picture.width % 16 == 0
    said = capsys.readouterr().out
    assert "cannot be read" in said
    assert "disrupt detect" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--adversarial", "both"], "--adversarial hardens generators"),
        (["--survive", "none", "jpeg"], "stands alone"),
        (["--survive", "jpg"], "did you mean jpeg"),
        (["--signals", "3"], "--signals must be even"),
        (["--edits", "1.5"], "--edits must be from 0 to 1"),
        (["--loss", "magnitud=3"], "did you mean magnitude"),
        (["--loss", "count=3"], "--loss 'count' is unknown"),
        (["--generator", "stargan-face"], "stargan-faces"),
        (["--d-conv-dim", "12"], "multiple of 8"),
    ],
)
def test_a_wrong_option_is_refused_with_what_was_expected(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([str(few_photos(tmp_path / "photos", 3)), str(tmp_path / "out"), *WORDS, *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


OTHER_SIGNALS = {
    "signals": 6,
    "budget": 2.0,
    "edits": 0.5,
    "generator": ("stargan-faces-hardened",),
    "weights": (Path("shipped"), Path("w.pt")),
    "generator_gradients": True,
    "spectrum": "low",
    "survive": ("jpeg",),
    "grey": 0.5,
}


@pytest.mark.parametrize("name", sorted(OF_SIGNALS))
def test_options_of_signals_change_their_signature_and_no_other_systems(name: str) -> None:
    plain = TrainConfig(data="samples", output=Path("out"))
    other = {name: OTHER_SIGNALS[name]}
    assert signature(plain) == signature(with_options(plain, **other))
    signals = dataclasses.replace(plain, system="signals")
    assert signature(signals) != signature(with_options(signals, **other))


def test_a_generator_that_does_not_load_is_named() -> None:
    config = TrainConfig(data="samples", output=Path("out"), system="signals", manipulations=Manipulations(("stargan",)))
    with pytest.raises(GeneratorError, match="stargan needs its weights"):
        plan(config)
    with pytest.raises(ConfigError, match="one file for each"):
        with_options(config, weights=(Path("a"), Path("b"))).check()
    with pytest.raises(TrainError, match="multiple of 8"):
        SYSTEM.build(Sizes(16, 8, 12))
