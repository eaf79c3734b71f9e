"""CycleGAN's losses against a second derivation, and a pool that no order of exchanges changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.generators.checkpoint import save_weights
from pipeline.generators.zoo import load_generator
from pipeline.training.adversarial import Adversarial
from pipeline.training.options import TrainError
from pipeline.training.state import TrainState
from pipeline.training.step import StepSettings, split, train_step
from pipeline.training.systems.cyclegan import CycleGANSystem, ImagePool, draw_slots
from pipeline.training.systems.system import Batch, Nets, Sizes

SIZES = Sizes(32, 2, 2)
SYSTEM = CycleGANSystem(pool=8)


def nets_of(system: CycleGANSystem) -> Nets:
    torch.manual_seed(1)
    nets = system.build(SIZES)
    for net in (nets.G, nets.D):
        net.double()
    return nets


def pictures(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def drawn(system: CycleGANSystem, count: int = 4) -> Batch:
    return system.draw({"A": pictures(count, 2), "B": pictures(count, 3)}, 0, torch.Generator().manual_seed(4))


def assert_same_with_gradients(got: Tensor, expected: Tensor, net: torch.nn.Module) -> None:
    assert got.item() == pytest.approx(expected.item(), rel=1e-11)
    parameters = list(net.parameters())
    for g, e in zip(torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-8, atol=1e-12)


def mean_square(x: Tensor) -> Tensor:
    return x.pow(2).sum() / x.numel()


def test_d_minimises_half_the_squares_of_both_ways_on_what_the_pool_shows() -> None:
    nets, batch = nets_of(SYSTEM), drawn(SYSTEM)
    fake = {"A2B": pictures(4, 5), "B2A": pictures(4, 6)}
    for way in fake:
        pool = cast(ImagePool, nets.D[f"pool_{way}"])
        pool.images.copy_(pictures(8, 7))
        pool.filled[::2] = True
    total = torch.zeros((), dtype=torch.float64)
    swaps = 0
    for way, goal in (("A2B", "B"), ("B2A", "A")):
        D, pool = nets.D[way], cast(ImagePool, nets.D[f"pool_{way}"])
        for i in range(4):
            slot = int(batch[f"slot_{way}"][i])
            swapped = bool(batch[f"swap_{way}"][i]) and slot % 2 == 0
            swaps += swapped
            shown = pool.images[slot].clone() if swapped else fake[way][i]
            total = total + (mean_square(D(batch[goal][i : i + 1]) - 1) + mean_square(D(shown[None]))) / 2 / 4
    assert 0 < swaps < 8
    loss, parts = SYSTEM.d_loss(nets, batch, SYSTEM.reals(batch), fake, 0)
    assert_same_with_gradients(loss, total, torch.nn.ModuleList([nets.D["A2B"], nets.D["B2A"]]))
    assert sum(parts.values()).item() == pytest.approx(loss.item())  # type: ignore[union-attr]


def test_g_minimises_squares_cycles_and_identities_and_the_cycles_reach_the_first_translation() -> None:
    nets, batch = nets_of(SYSTEM), drawn(SYSTEM)
    a, b = batch["A"], batch["B"]
    seen_a, seen_b = (a + 0.02).clamp(-1, 1), (b - 0.02).clamp(-1, 1)  # what a perturbation would hand in
    to_b, to_a, judge_b, judge_a = nets.G["A2B"], nets.G["B2A"], nets.D["A2B"], nets.D["B2A"]
    fake_b, fake_a = to_b(seen_a), to_a(seen_b)
    total = mean_square(judge_b(fake_b) - 1) + mean_square(judge_a(fake_a) - 1)
    total = total + 10 * ((to_a(fake_b) - a).abs().mean() + (to_b(fake_a) - b).abs().mean())
    total = total + 5 * ((to_b(b) - b).abs().mean() + (to_a(a) - a).abs().mean())
    inputs = {"A2B": seen_a, "B2A": seen_b}
    loss, _ = SYSTEM.g_loss(nets, batch, inputs, SYSTEM.translate(nets.G, inputs, batch), 0)
    assert_same_with_gradients(loss, total, nets.G)


def test_the_loss_of_a_batch_is_the_mean_of_the_losses_of_its_halves_and_leaves_the_same_pool() -> None:
    def losses(parts: list[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
        nets = nets_of(SYSTEM)
        found = []
        for _ in range(3):  # the later ones meet a filled pool
            for part in parts:
                inputs = SYSTEM.inputs(part)
                fake = SYSTEM.translate(nets.G, inputs, part)
                d, _ = SYSTEM.d_loss(nets, part, SYSTEM.reals(part), {way: image.detach() for way, image in fake.items()}, 0)
                g, _ = SYSTEM.g_loss(nets, part, inputs, fake, 0)
                found.append(torch.stack([d, g]).detach())
        return torch.stack(found).mean(0), {name: t for name, t in nets.D.state_dict().items() if name.startswith("pool")}

    batch = drawn(SYSTEM)
    (whole, pool), (halves, same_pool) = losses([batch]), losses(split(batch, 2, what="halves"))
    torch.testing.assert_close(whole, halves, rtol=1e-11, atol=0)
    torch.testing.assert_close(pool, same_pool, rtol=0, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(5, 7), st.integers(1, 12), st.integers(0, 2**31))
def test_a_pool_shows_what_is_new_or_what_was_shown_to_it_before_and_keeps_nothing_else(
    count: int, capacity: int, rounds: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    pool = ImagePool(capacity, side=1, channels=1)
    known: set[float] = set()
    for r in range(rounds):
        slots, swap = draw_slots(count, capacity, rng)
        assert len(set(slots.tolist())) == count
        before, filled = pool.images.flatten().tolist(), pool.filled.tolist()
        new = [float(1 + r * count + i) for i in range(count)]
        shown = pool.exchange(torch.tensor(new).view(-1, 1, 1, 1), slots, swap).flatten().tolist()
        for fake, slot, swapped, seen in zip(new, slots.tolist(), swap.tolist(), shown, strict=True):
            assert seen == (before[slot] if swapped and filled[slot] else fake)
            assert pool.images.flatten().tolist()[slot] == (fake if swapped or not filled[slot] else before[slot])
        known |= set(new)
        assert set(pool.images[pool.filled].flatten().tolist()) <= known
    assert int(pool.filled.sum()) <= min(capacity, rounds * count)


def test_the_pool_fills_up_and_half_of_what_d_sees_is_then_old() -> None:
    rng = torch.Generator().manual_seed(0)
    pool = ImagePool(50, side=1, channels=1)
    old = []
    for r in range(400):
        new = torch.full((4, 1, 1, 1), float(r + 1))
        old.append((pool.exchange(new, *draw_slots(4, 50, rng)) != new).float().mean())
    assert pool.filled.all()
    assert torch.stack(old[100:]).mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_batch_larger_than_the_pool_is_refused() -> None:
    with pytest.raises(TrainError, match="a batch of 9 does not fit the pool of 8"):
        drawn(SYSTEM, count=9)


def test_a_continued_training_goes_on_with_the_same_pool(tmp_path: Path) -> None:
    state = TrainState.fresh(SYSTEM, SIZES, seed=0)
    batch = {"A": pictures(2, 0).float(), "B": pictures(2, 1).float()}
    for _ in range(2):
        train_step(state, SYSTEM, batch, StepSettings())
    state.save(tmp_path / "state.pt")
    other = TrainState.fresh(SYSTEM, SIZES, seed=5)
    other.restore(tmp_path / "state.pt")
    pool = cast(ImagePool, other.nets.D["pool_A2B"])
    assert pool.filled.any()
    assert torch.equal(pool.images, cast(ImagePool, state.nets.D["pool_A2B"]).images)
    hardened = StepSettings(adversarial=Adversarial(mode="both", steps=1))
    results = [train_step(s, SYSTEM, batch, hardened) for s in (state, other)]
    assert results[0] == results[1]


def test_both_ways_are_taken_by_the_table_of_generators(tmp_path: Path) -> None:
    nets = SYSTEM.build(SIZES)
    metadata = {"system": "cyclegan", "size": "32", "classes": json.dumps({"translated": []})}
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    for way, net in nets.G.items():
        save_weights(net, tmp_path / f"{way}.safetensors", metadata=metadata)
        generator = load_generator("cyclegan", weights=tmp_path / f"{way}.safetensors")
        assert generator.size == 32
        torch.testing.assert_close(generator(x, "translated"), net(x))
