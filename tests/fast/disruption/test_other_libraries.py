"""FGSM, BIM and PGD of other libraries, which know classifiers only, against ours.

A classifier with the logits (L, 0) and the true class 1 has the cross entropy log(1 + exp L), which grows with L alone, so its
gradient has the direction of ours. The other libraries' images are in [0, 1]: all radii and steps are half of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.disruption.ascent import L2, Linf, Objective, ascend
from pipeline.disruption.disrupt import Target, disrupt
from pipeline.disruption.objectives import away_from, in_turn, mean_over, towards
from pipeline.disruption.recipes import Recipe
from pipeline.disruption.streams import streams_for
from pipeline.generators.generator import Generator
from tests.fast.tiny import build

EPSILON, STEP, STEPS = 0.05, 0.01, 6
RADIUS, L2_STEP = 1.5, 0.4


@pytest.fixture
def torchattacks() -> ModuleType:
    reason = "pip install --no-deps torchattacks==3.5.1 (with its dependencies it brings another requests and a torchvision)"
    return pytest.importorskip("torchattacks", reason=reason)  # type: ignore[no-any-return]


@pytest.fixture
def foolbox() -> ModuleType:
    return pytest.importorskip("foolbox", reason="comes with the extra dev: pip install foolbox")  # type: ignore[no-any-return]


def to_ours(x_BCHW: Tensor) -> Tensor:
    return x_BCHW * 2 - 1


class AsClassifier(nn.Module):
    """The logits (L, 0) of images in [0, 1]; the step number counts the calls, one for each gradient."""

    def __init__(self, value: Value, net: nn.Module) -> None:
        super().__init__()
        self.value = value
        self.net = net
        self.calls = 0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        value_B = self.value(to_ours(x_BCHW), self.calls)
        self.calls += 1
        return torch.stack([value_B, torch.zeros_like(value_B)], dim=1)


def exact_generator() -> Generator:
    generator = build()
    generator.net.double()
    return generator


def photos() -> Tensor:
    """Three photos in [0, 1], some of their pixels at its ends or nearer to them than epsilon."""
    x_BCHW = torch.rand((3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (x_BCHW * 1.1 - 0.05).clamp(0, 1)


def distance(generator: Generator, y_BCHW: Tensor, name: str, reference_BCHW: Tensor) -> Tensor:
    """The distance for the other libraries, apart from `pipeline.disruption.objectives`."""
    pairs = zip(generator(y_BCHW, name), reference_BCHW, strict=True)
    return torch.stack([F.mse_loss(output_CHW, reference_CHW) for output_CHW, reference_CHW in pairs])


Value = Callable[[Tensor, int], Tensor]
Build = Callable[[Generator, Tensor], Value]


def plainly(name: str) -> Build:
    """One of ``OBJECTIVES`` for the other libraries, written out; ``black`` is not zero in its gradient at the photo itself."""

    def build_value(generator: Generator, x_BCHW: Tensor) -> Value:
        with torch.no_grad():
            r = {key: generator(x_BCHW, key) for key in generator.classes}
        black = torch.full_like(x_BCHW, -1)
        values: dict[str, Value] = {
            "black": lambda y, t: distance(generator, y, "Smile", black),
            "output": lambda y, t: distance(generator, y, "Smile", r["Smile"]),
            "joint": lambda y, t: (
                0.5 * distance(generator, y, "Smile", r["Smile"]) + 0.5 * distance(generator, y, "Glasses", r["Glasses"])
            ),
            "iterative": lambda y, t: distance(generator, y, ("Smile", "Glasses")[t % 2], r[("Smile", "Glasses")[t % 2]]),
            "towards": lambda y, t: -distance(generator, y, "Glasses", x_BCHW),
        }
        return values[name]

    return build_value


def from_output(generator: Generator, x_BCHW: Tensor, name: str = "Smile") -> Objective:
    with torch.no_grad():
        return away_from(generator.output(name), generator(x_BCHW, name))


OBJECTIVES: dict[str, Callable[[Generator, Tensor], Objective]] = {
    "output": from_output,
    "joint": lambda generator, x_BCHW: mean_over([from_output(generator, x_BCHW, name) for name in generator.classes]),
    "iterative": lambda generator, x_BCHW: in_turn([from_output(generator, x_BCHW, name) for name in generator.classes]),
    "towards": lambda generator, x_BCHW: towards(generator.output("Glasses"), x_BCHW),
}


def labels(x_BCHW: Tensor) -> Tensor:
    return torch.ones(len(x_BCHW), dtype=torch.long)


def agree(theirs_BCHW: Tensor, ours_BCHW: Tensor, *, moved: float) -> None:
    """Equal in [-1, 1], and no trivial image: some pixel moved by at least ``moved``."""
    assert theirs_BCHW.dtype == ours_BCHW.dtype == torch.float64
    torch.testing.assert_close(to_ours(theirs_BCHW), ours_BCHW, rtol=0, atol=1e-6)
    assert (ours_BCHW - to_ours(photos())).abs().amax((1, 2, 3)).min() >= moved


def ours(name: str, start_BCHW: Tensor) -> Tensor:
    x_BCHW = to_ours(photos())
    objective = OBJECTIVES[name](exact_generator(), x_BCHW)
    return ascend(objective, x_BCHW, Linf(EPSILON), start_BCHW=to_ours(start_BCHW), steps=STEPS, step_size=STEP)


def ours_in_l2(start_BCHW: Tensor) -> Tensor:
    x_BCHW = to_ours(photos())
    objective = from_output(exact_generator(), x_BCHW)
    return ascend(objective, x_BCHW, L2(RADIUS), start_BCHW=to_ours(start_BCHW), steps=STEPS, step_size=L2_STEP)


def classifier(name: str) -> AsClassifier:
    generator = exact_generator()
    return AsClassifier(plainly(name)(generator, to_ours(photos())), generator.net).eval()


def by_recipe(recipe: Recipe) -> Tensor:
    """The whole way of a recipe: `disrupt` with one target and class."""
    x_BCHW = to_ours(photos())
    target = Target(view=lambda y_BCHW: y_BCHW, outputs={"Smile": exact_generator().output("Smile")})
    return disrupt(x_BCHW, [target], recipe, epsilon=EPSILON, streams=streams_for(["a", "b", "c"], 0))


FGSM = Recipe(start="clean", reference="black", steps=1, step_size=None)
BIM = Recipe(start="clean", reference="black", steps=STEPS, step_size=STEP * 127.5)


def test_fgsm_of_torchattacks_is_the_fgsm_recipe(torchattacks: ModuleType) -> None:
    theirs = torchattacks.FGSM(classifier("black"), eps=EPSILON / 2)(photos(), labels(photos()))
    agree(theirs, by_recipe(FGSM), moved=EPSILON - 1e-9)


def test_bim_of_torchattacks_is_the_ifgsm_recipe(torchattacks: ModuleType) -> None:
    attack = torchattacks.BIM(classifier("black"), eps=EPSILON / 2, alpha=STEP / 2, steps=STEPS)
    agree(attack(photos(), labels(photos())), by_recipe(BIM), moved=EPSILON - 1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_pgd_of_torchattacks_from_its_random_start_is_ours(torchattacks: ModuleType, name: str) -> None:
    attack = torchattacks.PGD(classifier(name), eps=EPSILON / 2, alpha=STEP / 2, steps=STEPS)
    torch.manual_seed(5)
    theirs = attack(photos(), labels(photos()))
    torch.manual_seed(5)  # the same draw as in the attack
    noise = torch.empty_like(photos()).uniform_(-EPSILON / 2, EPSILON / 2)
    agree(theirs, ours(name, (photos() + noise).clamp(0, 1)), moved=EPSILON - 1e-9)


def test_l2_pgd_of_torchattacks_is_ours(torchattacks: ModuleType) -> None:
    # 1e-20 instead of the 1e-10 that it adds to norms of gradients: ours divides by the norm itself
    attack = torchattacks.PGDL2(
        classifier("output"), eps=RADIUS / 2, alpha=L2_STEP / 2, steps=STEPS, random_start=True, eps_for_division=1e-20
    )
    torch.manual_seed(5)
    theirs = attack(photos(), labels(photos()))
    torch.manual_seed(5)
    direction = torch.empty_like(photos()).normal_()
    lengths = torch.zeros(3, 1, 1, 1, dtype=torch.float64).uniform_(0, 1) * RADIUS / 2
    noise = direction * lengths / direction.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    agree(theirs, ours_in_l2((photos() + noise).clamp(0, 1)), moved=0.05)


def in_foolbox(foolbox: ModuleType, attack: Any, name: str, *, epsilon: float) -> Tensor:
    model = foolbox.PyTorchModel(classifier(name), bounds=(0, 1))
    theirs: Tensor = attack.run(model, photos(), foolbox.criteria.Misclassification(labels(photos())), epsilon=epsilon)
    return theirs.detach()


def test_fgsm_of_foolbox_is_the_fgsm_recipe(foolbox: ModuleType) -> None:
    theirs = in_foolbox(foolbox, foolbox.attacks.LinfFastGradientAttack(), "black", epsilon=EPSILON / 2)
    agree(theirs, by_recipe(FGSM), moved=EPSILON - 1e-9)


def test_bim_of_foolbox_is_the_ifgsm_recipe(foolbox: ModuleType) -> None:
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP / 2, steps=STEPS)
    agree(in_foolbox(foolbox, attack, "black", epsilon=EPSILON / 2), by_recipe(BIM), moved=EPSILON - 1e-9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_pgd_of_foolbox_from_its_random_start_is_ours(foolbox: ModuleType, name: str) -> None:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP / 2, steps=STEPS)
    starts = keep_start(attack)
    theirs = in_foolbox(foolbox, attack, name, epsilon=EPSILON / 2)
    agree(theirs, ours(name, starts[0].clamp(0, 1)), moved=EPSILON - 1e-9)


def test_l2_pgd_of_foolbox_is_ours(foolbox: ModuleType) -> None:
    attack = foolbox.attacks.L2PGD(abs_stepsize=L2_STEP / 2, steps=STEPS)
    starts = keep_start(attack)
    theirs = in_foolbox(foolbox, attack, "output", epsilon=RADIUS / 2)
    agree(theirs, ours_in_l2(starts[0].clamp(0, 1)), moved=0.05)


def keep_start(attack: Any) -> list[Tensor]:
    """Where a foolbox attack starts, put into the list when it runs (before its clip to [0, 1])."""
    kept: list[Tensor] = []
    draw = attack.get_random_start

    def draw_and_keep(x0: Any, epsilon: float) -> Any:
        start = draw(x0, epsilon)
        kept.append(start.raw.clone())
        return start

    attack.get_random_start = draw_and_keep
    return kept
