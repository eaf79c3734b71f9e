"""The nets of the tables, shipped or with weights that the options name, and the photos that they are measured on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipeline.containers.find import find_photos
from pipeline.generators.generator import Generator
from pipeline.generators.zoo import ZOO, load_generator, local_weights
from pipeline.jobs.options import ConfigError
from pipeline.storage import open_storage, write_atomic
from pipeline.tables.cells import Net, Photos
from pipeline.tables.options import TablesConfig
from pipeline.training.data.faces import TABLE, label_rows


class Known(NamedTuple):
    """How a table calls a net, the generator that its given weights are of, and the shipped one without them."""

    label: str
    generator: str
    shipped: str = ""


NETS = {
    "stargan": Known("StarGAN", "stargan-sharp", "stargan-sharp"),
    "hardened": Known("hardened (G + D)", "stargan-faces", "stargan-faces-hardened"),
    "ganimation": Known("GANimation", "ganimation", "ganimation-faces"),
    "multistyle": Known("multistyle", "multistyle", "multistyle"),
    "cyclegan": Known("CycleGAN (horse)", "cyclegan"),
    "monet": Known("CycleGAN (Monet)", "cyclegan"),
    "pix2pixhd": Known("pix2pixHD", "pix2pixhd"),
    "plain": Known("plain", "stargan-faces", "stargan-faces"),
    "control": Known("control, no attack", "stargan-faces"),
    "hardened_generator": Known("hardened (G)", "stargan-faces"),
    "hardened_consistency": Known("hardened (G + D, consistency)", "stargan-faces"),
    "hardened_blur": Known("hardened (G + D, blur)", "stargan-faces"),
}
OTHER_PICTURES = ("cyclegan", "monet", "pix2pixhd")
"""Those that do not translate faces."""


def nets_of(config: TablesConfig, limit: int) -> dict[str, Net]:
    """The nets by name, each with its photos; one that is not at hand is there too and says why."""
    weights, folders = config.paths(config.weights), config.paths(config.pictures)
    faces = measured_photos(config.faces, config.work, limit)
    photos = {name: faces for name in NETS if name not in OTHER_PICTURES}
    photos |= {name: _pictures(name, folder, config, limit) for name, folder in folders.items()}
    return {name: _net(known, weights.get(name), photos.get(name)) for name, known in NETS.items()}


def _pictures(name: str, folder: Path, config: TablesConfig, limit: int) -> Photos:
    return Photos(folder, limit) if name == "pix2pixhd" else measured_photos(folder, config.work, limit)


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
    """The first ``limit`` photos that no generator was trained on: split test of labels.csv, or any of a folder without one.

    Of each person (column identity) the first alone, so that intervals are over people.
    """
    paths = photos_of(folder, "test")
    first = set(one_of_each(folder, paths))
    return _listed([path for path in paths if path in first], work, limit)


def training_photos(folder: Path, work: Path, limit: int, *, measured: int) -> Photos:
    """Up to ``limit`` photos to train on, none of which is measured: split train, or what comes after those measured."""
    paths = photos_of(folder, "train") if (folder / TABLE).is_file() else photos_of(folder, "test")[measured:]
    if not paths:
        raise ConfigError(f"{folder}: no photos are left to fine-tune on; give a folder with more than {measured}, or labels.csv")
    return _listed(paths, work, limit)


def photos_of(folder: Path, split: str) -> list[Path]:
    """The photos of a split, or all of a folder without labels.csv, in the order of the hashes of their names.

    That order mixes persons and sources, and a longer list begins with the shorter one. Raises ConfigError when there are none.
    """
    if (folder / TABLE).is_file():
        paths = [folder / row["file"] for _, row in label_rows(folder / TABLE, ("file", "split")) if row["split"] == split]
    else:
        paths = [Path(open_storage(ref.uri)[1]) for ref in find_photos(folder).refs if not ref.refused]
    if not paths:
        raise ConfigError(f"{folder}: no photos of split {split}")
    return sorted(paths, key=lambda path: (hashlib.sha256(path.name.encode()).digest(), path))


def one_of_each(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """The first photo of each person, where labels.csv has a column identity; else all of them."""
    rows = label_rows(folder / TABLE, ("file",)) if (folder / TABLE).is_file() else []
    identity = {folder / row["file"]: row.get("identity") or row["file"] for _, row in rows}
    return list({identity.get(path, path): path for path in reversed(paths)}.values())[::-1]


def _listed(paths: Sequence[Path], work: Path, limit: int) -> Photos:
    """The first of these photos, in a CSV for protect that is named by what it holds."""
    lines = ["path,key", *(f'"{path.resolve()}","{rank:05d}-{path.name}"' for rank, path in enumerate(paths))]
    data = ("\n".join(lines) + "\n").encode()
    path = work.resolve() / "photos" / f"{hashlib.sha256(data).hexdigest()[:12]}.csv"
    write_atomic(*open_storage(str(path)), data)
    return Photos(path, min(limit, len(paths)))


def _net(known: Known, weights: Path | None, photos: Photos | None) -> Net:
    """A net with given weights, or the shipped one where there are none."""
    label, generator, shipped = known
    if weights is not None and not weights.is_file():
        return Net(label, missing=f"no net: {weights.name} is not there")
    if photos is None or (weights is None and not shipped):
        return Net(label, missing=f"no net: no {'folder of photos is' if weights or shipped else 'weights are'} given")
    if weights is not None:
        return Net(label, generator, weights.resolve(), photos)
    return _shipped(shipped, photos)


def _shipped(shipped: str, photos: Photos) -> Net:
    row, path = ZOO[shipped], local_weights(ZOO[shipped])
    if path is None or not path.is_file():
        return Net(shipped, missing=f"no net: {shipped} is not installed")
    if path.suffix == ".onnx" and importlib.util.find_spec("onnx") is None:
        return Net(shipped, missing=f"no net: {row.install}")
    return Net(shipped, f"{__name__}:multistyle" if shipped == "multistyle" else shipped, photos=photos)
