"""The published figures that stand beside ours. Source: Ruiz, Bargal and Sclaroff 2020, "Disrupting Deepfakes" [R20]."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Ruiz, Bargal and Sclaroff, Disrupting Deepfakes, 2020 (arXiv 2003.01279)"


@dataclass(frozen=True)
class Figures:
    """Mean L1, mean L2 and share of disrupted samples (0..1, None where the paper has none) of outputs in [-1, 1]."""

    l1: float
    l2: float
    disrupted: float | None = None


TABLE1: dict[tuple[str, str, str], Figures] = {
    ("StarGAN", "0.05", "fgsm"): Figures(0.462, 0.332, 1.0),
    ("StarGAN", "0.05", "ifgsm"): Figures(1.134, 1.525, 1.0),
    ("StarGAN", "0.05", "pgd"): Figures(1.119, 1.479, 1.0),
    ("GANimation", "0.05", "fgsm"): Figures(0.090, 0.017, 0.0),
    ("GANimation", "0.05", "ifgsm"): Figures(0.142, 0.046, 0.349),
    ("GANimation", "0.05", "pgd"): Figures(0.139, 0.044, 0.304),
    ("GANimation", "0.1", "fgsm"): Figures(0.121, 0.024, 0.015),
    ("GANimation", "0.1", "ifgsm"): Figures(0.212, 0.098, 0.939),
    ("GANimation", "0.1", "pgd"): Figures(0.190, 0.077, 0.837),
    ("pix2pixHD", "0.05", "fgsm"): Figures(0.240, 0.118, 0.96),
    ("pix2pixHD", "0.05", "ifgsm"): Figures(0.935, 1.110, 1.0),
    ("pix2pixHD", "0.05", "pgd"): Figures(0.922, 1.084, 1.0),
    ("CycleGAN (horse)", "0.05", "fgsm"): Figures(0.133, 0.040, 0.21),
    ("CycleGAN (horse)", "0.05", "ifgsm"): Figures(0.385, 0.242, 1.0),
    ("CycleGAN (horse)", "0.05", "pgd"): Figures(0.402, 0.253, 1.0),
    ("CycleGAN (Monet)", "0.05", "fgsm"): Figures(0.155, 0.039, 0.22),
    ("CycleGAN (Monet)", "0.05", "ifgsm"): Figures(0.817, 0.802, 1.0),
    ("CycleGAN (Monet)", "0.05", "pgd"): Figures(0.881, 0.898, 1.0),
}
"""(system, epsilon in [-1, 1], recipe) -> [R20] Table 1. Faces are CelebA, street scenes Cityscapes."""

TABLE4: dict[str, Figures] = {
    "incorrect class": Figures(0.144, 0.053, 0.457),
    "iterative": Figures(0.171, 0.075, 0.756),
    "joint": Figures(0.157, 0.062, 0.538),
    "correct class": Figures(0.166, 0.071, 0.687),
}
"""[R20] Table 4: GANimation, away from the output; higher is better."""

TABLE5: dict[str, Figures] = {
    "incorrect class": Figures(1.69e-3, 3.09e-4),
    "iterative": Figures(6.07e-4, 8.02e-5),
    "joint": Figures(3.86e-4, 1.67e-5),
    "correct class": Figures(9.88e-5, 4.73e-5),
    "no disruption": Figures(9.10e-2, 2.15e-2),
}
"""[R20] Table 5: GANimation, the output towards the input; distance of the output to the input, lower is better."""
