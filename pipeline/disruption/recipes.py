"""Recipes: a disruption as a value. The published ones by name; every field can be set on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Aim = Literal["away", "towards"]
Objective = Literal["visible", "l2", "local", "levelled", "edge"]
Classes = Literal["iterative", "joint", "weakest"]
Blur = Literal["none", "white-box", "eot", "spread-spectrum"]
RobustMode = Literal["turn", "eot"]
StepRule = Literal["fixed", "apgd"]
STARTS = ("clean", "jitter", "uniform")
BALLS = ("linf", "l2")
REFERENCES = ("output", "input", "black", "white", "noise")
ROBUST_TO = ("jpeg", "resize", "crop", "blur", "noise")
"""Names of the tables of this room, here once more so that options, and a run without networks, do without torch."""


@dataclass(frozen=True)
class Recipe:
    """How a photo is disrupted; sizes are in 8-bit levels."""

    start: str = "jitter"
    """Where the ascent starts: clean, jitter (+-0.13 levels at random) or uniform (anywhere in the ball)."""
    steps: int = 20
    """Number of ascent steps."""
    step_size: float | None = 1.275
    """Step in levels; nothing means epsilon."""
    last_step: float = 1.0
    """The last step as a share of the first; steps in between shrink evenly. Under 1, transforms in turn do not undo each other."""
    momentum: float = 0.0
    """The share of the sum of earlier gradients that a step keeps: 0 follows its own gradient alone, 1 all alike."""
    step_rule: StepRule = "fixed"
    """Steps of the sizes above, or APGD: from twice epsilon on, halved by each photo's own progress, and its best point counts."""
    diversity: float = 0.0
    """The share of the steps in which a network sees the photo up to a tenth smaller, somewhere on grey (DI-FGSM)."""
    smooth_gradient: float = 0.0
    """The sigma of a Gaussian that gradients are smoothed with, in pixels of what the network sees (TI-FGSM); 0: they are not."""
    aim: Aim = "away"
    """Drive the output away from the reference or towards it."""
    reference: str = "output"
    """output, input, black, white, noise, or the path of an image."""
    objective: Objective = "l2"
    """What is made large or small: the distance of the outputs, or of their structure (`objectives.DISTANCES`)."""
    classes: Classes = "iterative"
    """One class per step in turn, all in every step, or all with the hardest class, and the hardest network, counting most."""
    ball: str = "linf"
    """linf, or l2 (root mean square of half of epsilon, inside linf)."""
    blur: Blur = "none"
    """Survive a blur before the generator: white-box (one known blur), eot (mean over nine), spread-spectrum (nine in turn)."""
    layer: str = ""
    """Disrupt the activation of this layer of the generator (a name of its modules) instead of the output."""
    robust_to: tuple[str, ...] = ()
    """What the file is to survive on its way: names of `ROBUST_TO`, each one or more transforms beside the untouched photo."""
    robust_mode: RobustMode = "turn"
    """One of these transforms per step in turn, or the mean over all of them in every step."""
    until: float | None = None
    """A photo takes no more steps once every output on its file is broken with this margin (`share_of_goal`); nothing: it takes
    all."""

    @property
    def climbs_what_counts(self) -> bool:
        """Whether it makes large what decides whether a photo is protected: how far the file's outputs are from the photo's."""
        on_the_file = (self.blur, self.robust_to, self.diversity) == ("none", (), 0)
        return self.objective in ("visible", "l2") and self.is_away_from_output and on_the_file

    @property
    def is_away_from_output(self) -> bool:
        """Whether it drives the output away from what it is on the untouched photo."""
        return (self.aim, self.reference, self.layer) == ("away", "output", "")

    @property
    def against_apgd(self) -> tuple[str, ...]:
        """The parts, by name, that the step rule apgd does not go with.

        It has its own step sizes and momentum, gives back the best of all steps, and compares values of one objective.
        """
        parts = {
            "step_size": self.step_size is not None,
            "last_step": self.last_step != 1,
            "momentum": self.momentum != 0,
            "until": self.until is not None,
            "classes": self.classes == "iterative",
            "blur": self.blur == "spread-spectrum",
            "robust_mode": self.robust_to != () and self.robust_mode == "turn",
            "diversity": self.diversity != 0,
        }
        return tuple(name for name, is_against in parts.items() if is_against)


RECIPES: dict[str, Recipe] = {
    "quick": Recipe(start="uniform", steps=60, step_size=4.0, last_step=0.1, momentum=0.7, objective="visible", until=5.0),
    "fgsm": Recipe(steps=1, step_size=None, classes="joint"),
    "ifgsm": Recipe(),
    "pgd": Recipe(start="uniform"),
    "ifgsm-joint": Recipe(classes="joint"),
    "pgd-joint": Recipe(start="uniform", classes="joint"),
    "towards-input": Recipe(aim="towards", reference="input"),
    "towards-black": Recipe(aim="towards", reference="black"),
    "spread-spectrum": Recipe(start="uniform", steps=40, blur="spread-spectrum"),
    "eot-blur": Recipe(start="uniform", blur="eot"),
    "feature": Recipe(start="uniform", layer="main.14"),
    "robust": Recipe(start="uniform", steps=80, last_step=0.1, robust_to=("jpeg", "resize")),
}
"""Source: [R20] sections 3.2 to 3.5; ``quick`` and ``robust`` are ours, measured by `tests/bench/until.py` and `make table-robust`.

With one class either schedule is the plain attack on that class; FGSM's one step is joint.
"""
