"""A checked call of `disrupt universal`: its networks, its faces, what it is to do, and the state to go on from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from pipeline.generators.generator import Generator
from pipeline.generators.trial import notes_on
from pipeline.generators.zoo import load_generators
from pipeline.jobs.options import SHIPPED, ConfigError, signature_of
from pipeline.learning.options import RESULT_FORMAT, UniversalConfig
from pipeline.storage import write_uri
from pipeline.training.data.faces import Faces, load_squares
from pipeline.training.options import TrainError
from pipeline.universal.bundle import Broken
from pipeline.universal.learn import SIDES, Plan, State, fresh, pairs_in_turn

STATE_FILE, BUNDLE_FILE = "state.safetensors", "universal.safetensors"
HEADER = "disrupt-universal-state"


class LearningError(ValueError):
    """Learning that cannot go on; the message says why."""


@dataclass(frozen=True)
class Job:
    """A checked call. ``faces`` are learned from, ``others`` are the people of split ``split``, on whom the result is measured."""

    config: UniversalConfig
    generators: list[Generator]
    plan: Plan
    faces: Faces
    others: Faces
    split: str
    notes: tuple[str, ...]

    @property
    def side(self) -> int:
        """The side of the perturbations, in pixels."""
        return SIDES * max(generator.size for generator in self.generators)

    @property
    def pairs(self) -> list[tuple[Generator, str]]:
        """Each network with each class."""
        return pairs_in_turn(self.generators, self.config.classes)

    @property
    def networks(self) -> list[Broken]:
        """The networks as the bundle names them."""
        return [Broken(one.name, one.fingerprint, one.select_classes(self.config.classes)) for one in self.generators]

    @property
    def options(self) -> dict[str, Any]:
        """What the signature covers, as plain values; networks and faces by what is in them."""
        fingerprints = {"weights": [one.fingerprint for one in self.generators]}
        faces = {"learned_from": _content(self.faces), "measured_on": _content(self.others)}
        return self.config.what_changes_results() | fingerprints | faces

    @property
    def signature(self) -> str:
        """16 hex digits that two runs share exactly when their options, weights and photos give the same perturbations."""
        return signature_of(self.options | {"format_version": RESULT_FORMAT})


def prepare(config: UniversalConfig) -> Job:
    """Check everything that can be checked before any work; raises ValueError (of some kind) that says the fix."""
    config.check()
    if config.gpu and not torch.cuda.is_available():
        raise ConfigError("--gpu asks for a GPU, but torch sees none here; leave it out to learn on the CPU")
    torch.set_num_threads(config.threads)
    device = torch.device("cuda" if config.gpu else "cpu")
    generators = [one.to(device) for one in load_generators(config.generator, config.weights, shipped=SHIPPED)]
    notes = tuple(note for generator in generators for note in notes_on(generator, config.classes))
    plan = Plan(
        epsilon=config.epsilon,
        steps=config.steps,
        batch=config.batch,
        step_size=config.step_size,
        last_step=config.last_step,
        objective=config.objective,
        classes=config.class_schedule,
        robust_to=config.survives(),
        apart=config.apart,
        seed=config.seed,
    )
    side = SIDES * max(generator.size for generator in generators)
    licences = config.licence or None
    faces = load_squares(config.faces, split="train", licences=licences, size=side)
    try:
        split, others = "test", load_squares(config.faces, split="test", licences=licences, size=side)
    except TrainError:
        split, others = "val", load_squares(config.faces, split="val", licences=licences, size=side)
    return Job(config, generators, plan, faces, others, split, notes)


def open_state(job: Job) -> State:
    """The state that OUT holds, else a fresh one; raises LearningError for one that is damaged."""
    path, new = job.config.output / STATE_FILE, fresh(job.config.count, job.side, job.plan)
    if not path.exists():
        return new
    try:
        with safe_open(path, framework="pt") as file:
            at = json.loads(file.metadata()[HEADER])
            state = State(file.get_tensor("perturbations"), file.get_tensor("velocity"), int(at["member"]), int(at["step"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise LearningError(f"{path} is damaged ({error}): delete it to start again") from error
    if state.perturbations_nCHW.shape != new.perturbations_nCHW.shape:
        raise LearningError(f"{path} is of another run: delete it to start again")
    return state


def save_state(state: State, folder: Path) -> None:
    """Write the state, complete or not at all."""
    tensors = {"perturbations": state.perturbations_nCHW.contiguous(), "velocity": state.velocity_CHW.contiguous()}
    header = {HEADER: json.dumps({"member": state.member, "step": state.step})}
    write_uri(folder / STATE_FILE, safetensors_bytes(tensors, header))


def _content(faces: Faces) -> str:
    """How many faces, and 16 hex digits of their pixels."""
    pixels: Tensor = faces.in_memory
    return f"{len(pixels)} faces, sha256 {hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]}"
