"""The nets at hand for tables, and builders of those that tables use in another form than protect does."""

from __future__ import annotations

import dataclasses
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.generators.generator import Generator
from pipeline.generators.zoo import ZOO, load_generator, local_weights
from pipeline.tables.cells import Net, Photos
from pipeline.tables.config import TablesConfig
from pipeline.tables.sources import measured_photos

HERE = "pipeline.tables.nets"
STYLES = 4
NO_NET = "no net"


@dataclass(frozen=True)
class Shelf:
    """The nets of the tables; one that is not at hand is there too and says why."""

    stargan: Net
    hardened: Net
    ganimation: Net
    multistyle: Net
    cyclegan: Net
    monet: Net
    pix2pixhd: Net
    plain: Net
    hardened_generator: Net
    hardened_blur: Net

    def of_faces(self) -> list[Net]:
        """The nets that translate the faces."""
        return [self.stargan, self.hardened, self.ganimation, self.multistyle]


def shelf_of(config: TablesConfig, photos: int) -> Shelf:
    """The nets that these options give, each with its photos."""
    faces = measured_photos(config.faces, config.work, photos)
    ganimation = _given("GANimation", "ganimation", config.weights_ganimation, faces)
    pix2pixhd, scenes = _given("pix2pixHD", "pix2pixhd", config.weights_pix2pixhd, None), config.scenes
    if not pix2pixhd.missing and scenes is None:
        pix2pixhd = dataclasses.replace(pix2pixhd, missing=f"{NO_NET}: --scenes is not given")
    if scenes is not None:
        pix2pixhd = dataclasses.replace(pix2pixhd, photos=Photos(scenes, photos, f"up to {photos} label maps"))
    both = _given("hardened (G + D)", "stargan-faces", config.weights_both, faces)
    plain = _given("plain", "stargan-faces", config.weights_plain, faces)
    return Shelf(
        stargan=shipped("stargan-faces", faces),
        hardened=shipped("stargan-faces-hardened", faces) if both.missing else both,
        ganimation=ganimation if config.weights_ganimation else shipped("ganimation-faces", faces),
        multistyle=shipped("multistyle", faces, builder=f"{HERE}:multistyle"),
        cyclegan=_cyclegan("horse", config.weights_cyclegan, config.horses, measured=(config.work, photos)),
        monet=_cyclegan("Monet", config.weights_monet, config.paintings, measured=(config.work, photos)),
        pix2pixhd=dataclasses.replace(pix2pixhd, planes=True),
        plain=shipped("stargan-faces", faces) if plain.missing else plain,
        hardened_generator=_given("hardened (G)", "stargan-faces", config.weights_generator, faces),
        hardened_blur=_given("hardened (G + D, blur)", "stargan-faces", config.weights_blur, faces),
    )


def shipped(name: str, photos: Photos, *, builder: str = "") -> Net:
    """The net of a row of the table of generators whose weights came with the package; else one that says so."""
    row = ZOO.get(name)
    path = local_weights(row) if row else None
    if row is None or path is None or not path.is_file():
        return Net(name, missing=f"{NO_NET}: {name} is not installed")
    if row.package and importlib.util.find_spec("onnx") is None:
        return Net(name, missing=f"{NO_NET}: pip install 'disrupt[{name}]'")
    return Net(name, builder or name, photos=photos)


def multistyle() -> Generator:
    """multistyle with four of its 26 styles, evenly spread, so that a table of it takes minutes."""
    whole = load_generator("multistyle")
    return dataclasses.replace(whole, classes={name: whole.classes[name] for name in spread(tuple(whole.classes), STYLES)})


@cache
def load(net: Net) -> Generator:
    """The generator of a net that is at hand, on the CPU; the same object for the same net."""
    return load_generator(net.generator, weights=net.weights)


def some_classes(net: Net, count: int) -> tuple[str, ...]:
    """Up to ``count`` classes of a net, evenly spread over its list; one made-up name where there is no net."""
    return ("none",) if net.missing else spread(tuple(load(net).classes), count)


def spread(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Up to ``count`` of the names, evenly spread, the first among them."""
    count = min(count, len(names))
    return tuple(names[i * len(names) // count] for i in range(count))


def _given(label: str, generator: str, weights: Path | None, photos: Photos | None) -> Net:
    if weights is None:
        return Net(label, missing=f"{NO_NET}: no weights are given")
    if not weights.is_file():
        return Net(label, missing=f"{NO_NET}: {weights.name} is not there")
    return Net(label, generator, weights.resolve(), photos)


def _cyclegan(data: str, weights: Path | None, folder: Path | None, *, measured: tuple[Path, int]) -> Net:
    net = _given(f"CycleGAN ({data})", "cyclegan", weights, None)
    if net.missing:
        return net
    if folder is None:
        return dataclasses.replace(net, missing=f"{NO_NET}: no folder of photos is given")
    return dataclasses.replace(net, photos=measured_photos(folder, *measured))
