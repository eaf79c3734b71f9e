"""Which architecture a file of weights is of, for the reason of a refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

import torch
from torch import Size, nn

from pipeline.generators.cyclegan import CycleGANGenerator, PatchDiscriminator, cyclegan_by_shapes, cyclegan_from_state
from pipeline.generators.ganimation import GANimationGenerator, ganimation_by_shapes, ganimation_from_state
from pipeline.generators.multistyle import MultistyleGenerator, multistyle_from_state
from pipeline.generators.pix2pixhd import MultiscaleDiscriminator, Pix2PixHDGenerator, Pix2PixHDLocalEnhancer
from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator, stargan_by_shapes, stargan_from_state
from pipeline.generators.state_names import StateDict, without_statistics

NEAR = 0.7
"""Share of layers in common from which on an architecture is named; nets of other kinds have less than half in common."""
BUILDER = "for a net that is not in the table write a builder (--generator my_module:build; docs/protect.md, Your own network)"

_NO_PHOTOS = "it translates label maps, so there is no photo to protect from it"
_NO_GENERATOR = "it is no generator; give the generator's file"


@dataclass(frozen=True)
class _Known:
    """An architecture: its net in the published sizes, what to do with a file of it, and how one is built, by names or shapes."""

    net: Callable[[], nn.Module]
    advice: str
    from_state: Callable[..., nn.Module] | None = None
    by_shapes: Callable[[StateDict], nn.Module | None] = lambda state: None


_KNOWN = {
    "StarGAN": _Known(StarGANGenerator, "give --generator stargan", stargan_from_state, stargan_by_shapes),
    "GANimation": _Known(GANimationGenerator, "give --generator ganimation", ganimation_from_state, ganimation_by_shapes),
    "CycleGAN": _Known(CycleGANGenerator, "give --generator cyclegan", cyclegan_from_state, cyclegan_by_shapes),
    "multistyle": _Known(MultistyleGenerator, "give --generator multistyle", multistyle_from_state),
    "pix2pixHD": _Known(Pix2PixHDGenerator, _NO_PHOTOS),
    "pix2pixHD's local enhancer": _Known(Pix2PixHDLocalEnhancer, _NO_PHOTOS),
    "StarGAN's discriminator": _Known(StarGANDiscriminator, _NO_GENERATOR),
    "CycleGAN's discriminator": _Known(PatchDiscriminator, _NO_GENERATOR),
    "pix2pixHD's discriminator": _Known(MultiscaleDiscriminator, _NO_GENERATOR),
}


def nearest_architecture(state: StateDict, *, asked: Callable[..., nn.Module]) -> str:
    """A sentence that names the architecture nearest to these weights, which the builder ``asked`` refused, and says what to do.

    Nearest is the one with most layers in common: kernels of the same size, whatever their widths and names.
    """
    theirs = [_kernel(tensor.shape) for tensor in without_statistics(state).values()]
    shares = {}
    for name, known in _KNOWN.items():
        with torch.device("meta"):
            net = known.by_shapes(state) or known.net()
        shares[name] = _in_common(theirs, [_kernel(weight.shape) for weight in without_statistics(net.state_dict()).values()])
    best = max(shares, key=lambda name: shares[name])
    share, is_other = shares[best], _KNOWN[best].from_state is not asked
    if share < NEAR:
        return f"no architecture of the table is near it; {BUILDER}"
    if is_other:
        return f"the nearest architecture is {best} ({share:.0%} of the kernels in common): {_KNOWN[best].advice}"
    return f"it is near to {best} ({share:.0%} of the kernels in common), but not the same; {BUILDER}"


def _kernel(shape: Size) -> Hashable:
    return len(shape), tuple(shape[2:])


def _in_common(some: Iterable[Hashable], others: Iterable[Hashable]) -> float:
    """Twice the number of equal members over the number of all."""
    a, b = Counter(some), Counter(others)
    return 2 * (a & b).total() / max((a + b).total(), 1)
