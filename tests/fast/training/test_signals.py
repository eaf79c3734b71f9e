"""The system of signals: its losses against a second derivation, what has a gradient, one worker or two, killed and continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.generators.zoo import GeneratorError
from pipeline.images.levels import unit_to_level
from pipeline.jobs.options import ConfigError
from pipeline.photos.photo import Photo
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import JOURNEYS, Signals, read_bundle
from pipeline.signals.detector import Detector
from pipeline.signals.manipulation import SourceName, apply_random_channel, load_source, manipulate
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

SYSTEM = SignalSystem(count=3, sources=(SourceName(BUILD), SourceName("tests.fast.tiny:build_other")), region="low", k=0.5)
SETTINGS = StepSettings(lr=1e-3, steps=5)


def fresh(system: SignalSystem = SYSTEM, *, seed: int = 3, dtype: torch.dtype = torch.float64) -> TrainState:
    return TrainState.fresh(system, SIZES, seed=seed, lr=1e-3, dtype=dtype)


def raw(state: TrainState) -> torch.Tensor:
    """The parameters of the signals."""
    return signal_set(state.nets.G).raw


def photos(step: int = 0, count: int = 4, dtype: torch.dtype = torch.float64) -> Batch:
    rng = torch.Generator().manual_seed(step)
    return {"image": F.interpolate(torch.rand(count, 3, 4, 4, generator=rng, dtype=dtype) * 2 - 1, size=(16, 16), mode="bilinear")}


class Photos:
    skipped = 0

    def batch(self, step: int) -> Batch:
        return photos(step, dtype=torch.float32)

    def held_out(self) -> Batch:
        return photos(99, dtype=torch.float32)


def drawn(system: SignalSystem = SYSTEM) -> Batch:
    return system.draw(photos(), 0, torch.Generator().manual_seed(1))


def test_a_signal_never_exceeds_its_budget_however_far_its_parameters_go() -> None:
    signals = SignalSet(2, size=16, budget_levels=3.0)
    with torch.no_grad():
        signals.raw.fill_(1e6)
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
    x = torch.rand(3, 3, 40, 24, dtype=torch.float64)
    together = detector(x)
    assert together.recovered_B3SS.shape == (3, 3, 16, 16)
    alone = detector(x[1:2])
    assert torch.allclose(together.logit_B[1], alone.logit_B[0], atol=1e-12)
    assert detector(torch.rand(1, 1, 9, 9, dtype=torch.float64)).logit_B.shape == (1,)


def test_the_losses_are_the_terms_with_their_weights_as_a_second_derivation_has_them() -> None:
    system = dataclasses.replace(
        SYSTEM, detection=1.3, magnitude=7.0, spectrum=11.0, separation=0.3, pairwise=0.2, recovery=0.9, plain=0.4, grey=0.5
    )
    state, batch = fresh(system), drawn(system)
    assert set(batch["grey"].tolist()) == {False, True}
    fake = system.translate(state.nets.G, system.inputs(batch), batch)
    plain = system.reals(batch)["plain"]
    D, eta = state.nets.D["detector"], signal_set(state.nets.G).signals()

    def bce(x: torch.Tensor, r: float) -> torch.Tensor:
        net = torch.sigmoid(D(x).logit_B)
        return torch.mean(-(r * net.log() + (1 - r) * (1 - net).log()))

    def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm())
        return value

    def unit(x: torch.Tensor) -> torch.Tensor:
        return (x - x.min()) / (x.max() - x.min())

    l_b = (bce(fake["untouched"], 1) + bce(fake["manipulated"], 0)) / 2
    hats = D(fake["manipulated"]).recovered_B3SS
    l_s = torch.stack([torch.stack([cosine(unit(e), unit(hat)) for e in eta]).max() for hat in hats]).mean()
    found = D(fake["untouched"]).recovered_B3SS
    given = [eta[i][[1, 1, 1]] if grey else eta[i] for i, grey in zip(batch["signal"], batch["grey"], strict=True)]
    l_r = torch.stack([1 - cosine(one, hat) for one, hat in zip(given, found, strict=True)]).mean()
    l_p = cosine(unit(eta[0]), unit(eta[1])) + cosine(unit(eta[0]), unit(eta[2])) + cosine(unit(eta[1]), unit(eta[2]))
    power = torch.fft.fft2(eta).abs().square() / 256
    low = torch.fft.fftfreq(16).abs() <= 0.25
    l_c = (power * (low[:, None] & low[None])).mean()
    shared = 1.3 * l_b + 0.3 * l_s + 0.9 * l_r
    d_loss, _ = system.d_loss(state.nets, batch, {"plain": plain}, fake, 0)
    g_loss, parts = system.g_loss(state.nets, batch, {}, fake, 0)
    assert d_loss.item() == pytest.approx((shared + 1.3 * 0.4 * bce(plain, 0)).item(), rel=1e-9)
    whole = shared + 7 * eta.square().mean() + 11 * l_c + 0.2 * l_p
    assert g_loss.item() == pytest.approx(whole.item(), rel=1e-9)
    assert parts["g_pairwise"].item() == pytest.approx(l_p.item(), rel=1e-9)
    wanted = torch.autograd.grad(whole, raw(state), retain_graph=True)[0]
    got = torch.autograd.grad(g_loss, raw(state))[0]
    assert torch.allclose(got, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("through", [False, True])
def test_only_through_generators_does_the_manipulated_photo_move_the_signals(through: bool) -> None:
    system = dataclasses.replace(SYSTEM, through_generators=through, journeys=())
    state, batch = fresh(system), drawn(system)
    fake = system.translate(state.nets.G, system.inputs(batch), batch)
    (gradient,) = torch.autograd.grad(fake["manipulated"].sum() + 0 * fake["untouched"].sum(), raw(state))
    assert bool(gradient.abs().max() > 0) == through


def test_a_grey_photo_and_what_it_carries_is_what_a_grey_file_holds() -> None:
    system = dataclasses.replace(SYSTEM, grey=1.0, journeys=(), plain=0.0)
    state = fresh(system, dtype=torch.float32)
    pixels = np.random.default_rng(0).integers(20, 236, (4, 16, 16, 3), dtype=np.uint8)
    batch = {**drawn(system), "image": torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1}
    signals = unit_to_level(signal_set(state.nets.G).signals().detach()).numpy()
    shown = system.translate(state.nets.G, system.inputs(batch), batch)["untouched"].detach()
    for i, which in enumerate(batch["signal"].tolist()):
        grey = np.asarray(Image.fromarray(pixels[i]).convert("L"))[..., None]
        file = with_signal(Photo(grey, None, "PNG"), Signals(signals, SYSTEM.budget), which)
        level = (shown[i] + 1).mul(127.5).round().permute(1, 2, 0).numpy()
        off = np.abs(level - file)  # a photo and its signal are rounded together here, one after the other for files
        assert (off <= 1).all()
        assert (off == 0).mean() > 0.5


def test_each_photo_gets_the_class_that_was_drawn_for_it() -> None:
    generator = load_source(SourceName(BUILD), "cpu", torch.float64)
    x = photos()["image"][:2]
    y = manipulate(generator, x, torch.tensor([0.1, 0.9]))
    assert torch.allclose(y[0], generator(x[:1], "Smile")[0].clamp(-1, 1), atol=1e-12)
    assert torch.allclose(y[1], generator(x[1:], "Glasses")[0].clamp(-1, 1), atol=1e-12)


def test_a_journey_depends_on_its_own_seed_alone_and_some_photos_arrive_as_they_are() -> None:
    x = photos(count=3)["image"]
    seeds = torch.tensor([5, 6, 7])
    together = apply_random_channel(x, seeds, JOURNEYS)
    assert torch.equal(together[1:2], apply_random_channel(x[1:2], seeds[1:2], JOURNEYS))
    kept = [torch.equal(apply_random_channel(x[:1], torch.tensor([seed]), JOURNEYS), x[:1]) for seed in range(60)]
    assert 2 <= sum(kept) <= 25  # one of seven ways


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
    system = dataclasses.replace(SYSTEM, journeys=(), magnitude=0.0, spectrum=0.0, grey=0.0)
    state = TrainState.fresh(system, SIZES, seed=1, lr=3e-3)
    settings = StepSettings(lr=3e-3, steps=60)
    values = [train_step(state, system, Photos().batch(step), settings) for step in range(60)]
    assert values[-1]["d_recovery"] < 0.5 * values[0]["d_recovery"]
    assert values[-1]["d_detection"] < values[0]["d_detection"]


@pytest.mark.parametrize("count", [0, 1])
def test_no_signal_and_one_signal_can_be_learned(count: int) -> None:
    system = dataclasses.replace(SYSTEM, count=count)
    state = fresh(system)
    values = train_step(state, system, photos(), SETTINGS)
    assert values["g_pairwise"] == values.get("d_separation", 0) == 0
    assert ("d_plain" in values) == (count == 1)


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
    assert (bundle.count, bundle.size, bundle.budget) == (2, 16, 3.0)
    assert np.abs(bundle.signals_nCHW).max() <= 3.0
    assert set(bundle.scores) == {"untouched", "plain"}
    assert (np.diff(bundle.scores["untouched"]) >= 0).all()
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
    "signals": 7,
    "budget": 2.0,
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
