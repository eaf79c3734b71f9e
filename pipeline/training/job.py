"""From the options of a training to its parts: system, sizes, settings, schedule, source and state."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.jobs.options import NOTHING, SHIPPED, ConfigError, one_of
from pipeline.signals.manipulation import load_source, source_names
from pipeline.training.adversarial import Adversarial, blur_before
from pipeline.training.data.faces import SIDE, TABLE, Faces, FacesSource, load_faces, load_labelled, load_squares
from pipeline.training.data.label_pairs import LabelPairs, load_label_pairs
from pipeline.training.data.sample_data import write_sample_data
from pipeline.training.data.store import FOLDER as PICTURES
from pipeline.training.data.store import Decode, Store, containers_in, decode_here
from pipeline.training.data.unpaired import Unpaired, load_unpaired
from pipeline.training.loop import Schedule
from pipeline.training.options import SAMPLES, TrainConfig, signature
from pipeline.training.state import STATE_FILE, TrainState
from pipeline.training.step import StepSettings
from pipeline.training.systems.cyclegan import CycleGANSystem
from pipeline.training.systems.faces_game import PENALTIES, FacesGame
from pipeline.training.systems.signals import SignalSystem
from pipeline.training.systems.stargan import StarGANSystem
from pipeline.training.systems.system import Sizes, System
from pipeline.training.systems.table import SYSTEMS, Recipe, SystemRow

MOST_LINES = 5000
"""About as many points has each curve of a whole training."""
NO_WEIGHTS = {"count", "budget", "grey", "warm_up"}
"""Numbers of a system that have options of their own."""


@dataclass(frozen=True)
class Job:
    """A checked training, as plain values that any process can take."""

    config: TrainConfig
    recipe: Recipe
    """The recipe of the regime, by default the first; ``system`` and ``settings`` are what the options make of it."""
    system: System
    sizes: Sizes
    settings: StepSettings
    schedule: Schedule
    batch: int
    signature: str

    @property
    def row(self) -> SystemRow:
        """The system's row in the table."""
        return SYSTEMS[self.config.system]

    @property
    def out(self) -> Path:
        """The folder of the training."""
        return self.config.output

    @property
    def state_file(self) -> Path:
        """The checkpoint to resume from."""
        return self.out / STATE_FILE


def plan(config: TrainConfig) -> Job:
    """The training that the options describe; raises ConfigError or TrainError for what cannot be, with what was expected."""
    config.check()
    one_of("--system", config.system, SYSTEMS)
    row = SYSTEMS[config.system]
    regime = config.regime or next(iter(row.recipes))
    one_of("--regime", regime, row.recipes)
    recipe = row.recipes[regime]
    batch, steps = config.batch or recipe.batch, config.steps or row.steps
    shares = max(config.workers, 1) * config.accumulate
    if batch % shares:
        raise ConfigError(
            f"--batch {batch} cannot be shared evenly by {max(config.workers, 1)} workers in {config.accumulate} parts each; "
            f"take {max(round(batch / shares), 1) * shares}"
        )
    attack = Adversarial(
        mode=config.adversarial,
        epsilon=config.epsilon,
        steps=config.attack_steps,
        step_size=config.attack_step_size,
        reference=config.attack_reference,
        start=config.attack_start,
        consistency=config.consistency,
    )
    settings = StepSettings(
        lr=config.lr or recipe.lr,
        steps=steps,
        d_steps=config.d_steps or recipe.d_steps,
        decay_from=recipe.decay_from,
        final_lr=recipe.final_lr,
        ema_decay=recipe.ema_decay,
        precision="bf16" if config.precision == "bf16" else "fp32",
        accumulate=config.accumulate,
        adversarial=attack,
    )
    system = _system(recipe.system, config)
    if isinstance(system, CycleGANSystem) and 0 < system.pool < batch:
        raise ConfigError(f"--loss pool={system.pool} is smaller than --batch {batch}: give a larger pool, or 0 for none")
    return Job(
        config=config,
        recipe=recipe,
        system=system,
        sizes=Sizes(config.size or row.size, config.conv_dim or row.conv_dim, config.d_conv_dim or row.d_conv_dim),
        settings=settings,
        schedule=Schedule(max(1, steps // MOST_LINES), config.every, config.grid_every, config.minutes),
        batch=batch,
        signature=signature(config),
    )


def _system(system: System, config: TrainConfig) -> System:
    """The system with the options that are its own.

    Raises ConfigError for a weight that it does not have, and the zoo's errors, which name a generator that does not load.
    """
    fields = {field.name: getattr(system, field.name) for field in dataclasses.fields(system)}  # type: ignore[arg-type]
    known = {name: value for name, value in fields.items() if type(value) in (int, float) and name not in NO_WEIGHTS}
    changes: dict[str, Any] = {} if config.vgg is None else {"vgg": config.vgg}
    if config.game is not None:
        if not isinstance(system, FacesGame):
            raise ConfigError(f"--game is for stargan and ganimation; {config.system} has a game of its own")
        changes |= {"game": config.game} | ({} if PENALTIES[config.game] == PENALTIES[system.game] else PENALTIES[config.game])
    if config.warm_up is not None:
        if not isinstance(system, StarGANSystem):
            raise ConfigError(f"--warm-up is for stargan; {config.system} has none")
        changes["warm_up"] = config.warm_up
    for name, weight in config.loss_weights().items():
        one_of("--loss", name, known)
        changes[name] = int(weight) if isinstance(known[name], int) else weight
    if isinstance(system, SignalSystem):
        some = config.manipulations
        sources = source_names(some.generator, some.weights, shipped=SHIPPED)
        for source in sources:
            load_source(source, "cpu", torch.float32)
        changes |= {
            "count": config.signals,
            "budget": config.budget,
            "sources": sources,
            "through_generators": some.generator_gradients,
            "region": some.spectrum,
            "edits": some.edits,
            "handlings": () if NOTHING in some.survive else some.survive,
            "grey": some.grey,
            "warm_up": config.init_from is None,
        }
    changed: System = dataclasses.replace(system, **changes)  # type: ignore[type-var]
    return changed


def open_source(job: Job, decode: Decode = decode_here) -> FacesSource | Unpaired | LabelPairs:
    """The pictures of the training; ``decode`` decodes those that do not fit memory.

    Raises the project's own errors for a place or a label that is not as it has to be.
    """
    place, size, count, seed = _place(job), job.sizes.image, job.batch, job.config.seed
    if job.row.data == "unpaired":
        return load_unpaired(Path(place), size=size, count=count, seed=seed, store=_store(job, decode))
    if job.row.data == "label_maps":
        return load_label_pairs(Path(place), size=size, count=count, seed=seed)
    train, val = (_faces(place, job, split, _store(job, decode)) for split in ("train", "val"))
    side = _photo_side(job) if job.row.data == "photos" else size
    return FacesSource(train, val, size=side, count=count, seed=seed, balanced=job.recipe.balanced)


def _faces(place: str, job: Job, split: str, store: Store) -> Faces:
    licences, row = job.config.licence or None, job.row
    size = _photo_side(job) if row.data == "photos" else SIDE
    refs = () if Path(place, TABLE).is_file() else containers_in(place)
    if refs:
        return load_labelled(
            refs, attributes=row.columns, split=split, licences=licences, size=size, store=store, one_class=row.one_class
        )
    if row.data == "photos":
        return load_squares(place, split=split, licences=licences, size=size, store=store)
    return load_faces(Path(place), attributes=row.columns, split=split, licences=licences, size=size, store=store)


def _photo_side(job: Job) -> int:
    """Photos that get signals are twice as large as these, as files are at least: codecs and resizing work on photos."""
    return 2 * job.sizes.image


def _place(job: Job) -> str:
    """Where the pictures are; the samples are written there first."""
    if job.config.data == SAMPLES:
        return str(write_sample_data(job.out / SAMPLES / job.config.system, job.config.system))
    return job.config.data


def _store(job: Job, decode: Decode = decode_here) -> Store:
    return Store(job.out / PICTURES, job.config.memory_mb * 1e6, decode, job.config.image)


def held_out_squares(job: Job) -> Faces:
    """The photos of split val of a training of signals, at twice the side that it trains with; as many as fit memory.

    They are of every licence: nothing of them but their scores is written.
    """
    job = dataclasses.replace(job, config=dataclasses.replace(job.config, licence=()))
    faces = _faces(_place(job), job, "val", _store(job))
    if isinstance(faces.u8_NCHW, Tensor):
        return faces
    count = max(int(job.config.memory_mb * 1e6) // math.prod(faces.u8_NCHW.shape[1:]), 1)
    pick = torch.linspace(0, len(faces.names) - 1, min(count, len(faces.names))).long()
    return dataclasses.replace(
        faces,
        names=tuple(faces.names[i] for i in pick),
        u8_NCHW=faces.u8_NCHW[pick],
        labels_NK=faces.labels_NK[pick],
        known_NK=faces.known_NK[pick],
        identities=tuple(faces.people[i] for i in pick),
    )


def open_state(job: Job, *, device: torch.device | str = "cpu", checkpoint: Path | None = None) -> TrainState:
    """The state to train on from: that of the checkpoint, else new networks or those of ``--init-from``."""
    dtype = torch.float64 if job.config.precision == "fp64" else torch.float32
    state = TrainState.fresh(job.system, job.sizes, seed=job.config.seed, lr=job.settings.lr, device=device, dtype=dtype)
    if checkpoint is not None:
        state.restore(checkpoint)
    elif job.config.init_from is not None:
        state.start_from(job.config.init_from)
    for nets in (state.nets.G, state.G_ema):
        blur_before(nets, job.config.blur)
    if job.config.compile:
        compile_nets(state)
    return state


def compile_nets(state: TrainState, *, backend: str = "inductor") -> None:
    """From now on the networks run as torch.compile makes them, under their names as before; penalties still run uncompiled.

    The backend ``inductor`` needs a C++ compiler.
    """
    for net in (*state.nets.G.values(), *state.nets.D.values()):
        net.compile(backend=backend)


def threads(config: TrainConfig) -> int:
    """CPU threads of each process: those asked for, else the cores of this machine shared by the workers."""
    return config.threads or max(1, (os.cpu_count() or 1) // max(config.workers, 1))
