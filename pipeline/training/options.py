"""The options of a training as one frozen value; command line, YAML file, signature and record derive from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from pipeline.disruption.recipes import REFERENCES, STARTS
from pipeline.jobs.options import (
    FILE_OR_SHIPPED,
    FLAT,
    NOTHING,
    Address,
    ConfigError,
    PathOption,
    Record,
    SettingsFile,
    check_limits,
    check_weights,
    flat,
    one_of,
    own_default,
    signature_of,
    within,
)
from pipeline.signals.bundle import HANDLINGS
from pipeline.storage import is_uri


class TrainError(ValueError):
    """A training that cannot start or resume; the message says what was expected."""


SAMPLES = "samples"
"""The word for DATA that means the sample photos."""
RESULT_FORMAT = 2
"""Raised when the same options give other weights than before; part of the signature."""
_OF_SYSTEM = "the system's"


@dataclass(frozen=True)
class Manipulations:
    """What a detector of signals learns from."""

    generator: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = ("stargan-faces", "ganimation-faces")
    """Signals: networks whose manipulations the detector learns to see; each batch draws one."""
    weights: Annotated[tuple[Path, ...], FILE_OR_SHIPPED, own_default("FILE [FILE ...]", "none")] = ()
    """Signals: weights for these networks, one each in their order; the word shipped for those that come with the package."""
    generator_gradients: bool = False
    """Signals: learn through the networks' gradients; without it they only give examples (black box)."""
    spectrum: Literal["low", "high"] = "high"
    """Signals: which frequencies of a signal cost; their share is --loss k=, the weight of the mean --loss dc=."""
    edits: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.75
    """Signals: share of the manipulated photos that are random edits, mild to strong, of the whole or a part, 0 to 1; the others
    are a network's."""
    survive: Annotated[tuple[str, ...], tyro.conf.arg(metavar="{" + ",".join((*HANDLINGS, "none")) + "} [...]")] = HANDLINGS
    """Signals: what may happen to a photo that still counts as untouched. Light: up to 8 % brighter or darker, gamma up to 1.15."""
    grey: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1
    """Signals: share of the photos that are turned grey first, 0 to 1; grey photos get one plane of a signal."""

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be."""
        if not self.generator:
            raise ConfigError("--generator needs at least one name, e.g. stargan-faces")
        check_weights("--weights", self.weights, self.generator)
        within("--grey", self.grey, 0, 1, "share of the photos")
        within("--edits", self.edits, 0, 1, "share of the manipulated photos")
        for name in self.survive:
            one_of("--survive", name, (*HANDLINGS, NOTHING))
        if NOTHING in self.survive and len(self.survive) > 1:
            raise ConfigError(f"--survive {NOTHING} stands alone")


@dataclass(frozen=True)
class TrainConfig:
    """Train a generator, plainly or hardened against disruptions, and write weights that disrupt protect takes.

    Example: disrupt train samples trained --minutes 2

    DATA by system. stargan: square faces and labels.csv with the columns file, split (train, val, test) and one of 0 and 1 for each
    attribute. ganimation: the same with values from 0 to 1 for each expression. cyclegan: folders trainA, trainB. pix2pixhd:
    folders train_label, train_inst, train_img. signals: any photos, with or without labels.csv. The word samples takes the sample
    photos that come with the package's extra samples.

    Instead of a folder of faces or photos: containers, as a folder, a pattern, shard-{000..012}.tar or a URI. WebDataset tars have
    the labels in KEY.json (of ganimation also the number of the expression in KEY.cls), Parquet files have a column of images and
    one for each label. split and licence are such labels too; without split a tenth is val. cyclegan takes them in trainA, trainB.

    The system signals learns a set of faint signals and their detector instead of a generator, and writes
    bundle.safetensors.

    Writes state.pt (to resume from), generator.safetensors, log.jsonl and sample pictures into OUT. Run the same command again to
    resume after a stop. Exit code: 0 when done, 1 when the training broke off, 2 for a wrong call, 130 after Ctrl-C.
    """

    data: Annotated[str, PathOption((SAMPLES,)), tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder with the pictures, containers of them, or the word samples."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for what is written; new, empty, or of the same training to be continued. On a cluster: seen by all its machines."""

    system: Annotated[str, tyro.conf.arg(metavar="SYSTEM")] = "stargan"
    """What to train: stargan, ganimation, cyclegan, pix2pixhd or signals."""
    regime: Annotated[str | None, own_default("{published,few-images,sharp}", _OF_SYSTEM)] = None
    """Recipe: published, or for few photos on a small machine (the default of stargan and ganimation, which have both). published
    sets losses, draws, batch size, learning rate and its decay as published, without averaging of weights; sizes, widths and
    steps stay those of a small machine unless given. sharp is few-images with the cycle closed on whole batches and, of
    stargan, a warm-up and a game that the attributes take part in, or, of ganimation, a pull towards the photo."""
    game: Annotated[Literal["hinge", "log", "wasserstein"] | None, own_default("{hinge,log,wasserstein}", "the recipe's")] = None
    """Game of generator and discriminator, of stargan and ganimation: hinge losses; log D and log(1 - D), the value function as
    written; Wasserstein with gradient penalty. It brings its penalty: --loss r1=5, of wasserstein gp=10. few-images hinge, sharp
    log, published wasserstein."""
    warm_up: Annotated[int | None, own_default("STEPS", "the recipe's")] = None
    """First steps, in which the generator of stargan only learns to give photos back; its upsampling then starts as bilinear
    filters. sharp 1200, else 0."""
    adversarial: Literal["none", "generator", "both"] = "none"
    """Hardening: none; generator: disrupt what the generator is given; both: also what the discriminator is shown."""
    epsilon: Annotated[float, tyro.conf.arg(metavar="LEVELS")] = 6.0
    """Hardening: largest change of any pixel, in 8-bit levels, 0.1 to 64."""
    attack_steps: int = 3
    """Hardening: ascent steps of each disruption; each costs about as much as a training step of that network."""
    attack_step_size: Annotated[float | None, own_default("LEVELS", "2 * epsilon / attack steps")] = None
    """Hardening: size of an ascent step, in 8-bit levels."""
    attack_reference: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(REFERENCES) + "}")] = "output"
    """Hardening: what the generator's output is driven away from."""
    attack_start: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(STARTS) + "}")] = "uniform"
    """Hardening: where the ascent starts: at the photo, at most 0.13 levels beside it, or anywhere in the ball."""
    consistency: float = 10.0
    """Hardening: weight of the distance between the outputs for a disrupted and for a clean photo; 0 is the published form."""
    blur: Annotated[float, tyro.conf.arg(metavar="PIXELS")] = 0.0
    """Sigma of a Gaussian blur before the generator, in pixels: a further defence, part of the network; 0 is none."""

    steps: Annotated[int | None, own_default("INT", _OF_SYSTEM)] = None
    """Steps of the whole training; the discriminator moves in each. The learning rate falls over its second half, of the published
    ganimation its last third. Here 4000, cyclegan 80000, pix2pixhd 20000, signals 3000; published: stargan 200000, ganimation 30
    epochs, cyclegan and pix2pixhd 200 epochs."""
    minutes: Annotated[float | None, own_default("MINUTES", "no limit")] = None
    """Stop after so many minutes of training (0: one step), with everything written; the same command trains on for as long."""
    size: Annotated[int | None, own_default("PIXELS", _OF_SYSTEM)] = None
    """Side of the pictures (of pix2pixhd: their height), a multiple of 4. Here 64, cyclegan 128, pix2pixhd 256; published: stargan
    and ganimation 128, cyclegan 256, pix2pixhd 512."""
    conv_dim: Annotated[int | None, own_default("CHANNELS", _OF_SYSTEM)] = None
    """Width of the generator's first layer, in channels. Here 32; published: 64."""
    d_conv_dim: Annotated[int | None, own_default("CHANNELS", _OF_SYSTEM)] = None
    """Width of the discriminator's first layer, in channels. Here 32, cyclegan and pix2pixhd 64; published: 64."""
    batch: Annotated[int | None, own_default("INT", _OF_SYSTEM)] = None
    """Pictures a step, over all workers together. few-images and sharp 8 (sharp of ganimation 4), signals 16; published: stargan
    16, ganimation 25, cyclegan and pix2pixhd 1."""
    lr: Annotated[float | None, own_default("RATE", _OF_SYSTEM)] = None
    """Learning rate of Adam at the start, for both networks. few-images 2e-4, sharp 3e-4 (of ganimation 2e-4), at the end 5 %
    of it, signals 1e-3; published, at the end 0: stargan and ganimation 1e-4, cyclegan and pix2pixhd 2e-4."""
    d_steps: Annotated[int | None, own_default("INT", _OF_SYSTEM)] = None
    """The generator moves in every so many-th step. few-images and sharp 1 (sharp of ganimation 2), signals 2; published: stargan
    and ganimation 5, cyclegan and pix2pixhd 1."""
    loss: Annotated[tuple[str, ...], own_default("NAME=WEIGHT [NAME=WEIGHT ...]", _OF_SYSTEM)] = ()
    """Weights of single losses, e.g. rec=10 cls=1, and how often they are taken, e.g. r1_every=16; a wrong name is refused with
    those that the system has."""
    licence: Annotated[tuple[str, ...], own_default("LICENCE [LICENCE ...]", "all")] = ()
    """Only pictures with one of these words in the column licence of labels.csv."""
    image: Annotated[str | None, own_default("COLUMN|SUFFIX", "the only one")] = None
    """Column of a Parquet file that holds the pictures; or the suffix of the picture where samples of a tar have several."""
    memory_mb: Annotated[float, tyro.conf.arg(metavar="MB")] = 500.0
    """Decoded pictures that are held in memory, of each split or folder. A larger set is decoded once into OUT/.disrupt/pictures
    and read from there picture by picture; batches are the same either way. The files go when the training is done."""
    init_from: Annotated[Path | None, own_default("FILE", "none")] = None
    """Start from the networks in this state.pt of another training of the same system and widths; ganimation also from a stargan.
    --size may be a whole multiple of theirs (not of signals): first small pictures, then large ones."""
    vgg: Annotated[Path | None, own_default("FILE", "none")] = None
    """Weights of VGG19 for the perceptual loss of pix2pixhd; without them that loss is left out."""
    signals: int = 4
    """Signals: how many are in the set, an even number, since they come in pairs; 0 learns the passive detector, which has only the
    photos to go by."""
    budget: Annotated[float, tyro.conf.arg(metavar="LEVELS")] = 1.5
    """Signals: largest change of a pixel by a signal, in 8-bit levels, 0.5 to 16; 3 keeps PSNR above 38 dB whatever is learned."""
    manipulations: Annotated[Manipulations, FLAT] = Manipulations()

    seed: int = 0
    """Seed of the first weights, of the order of the pictures and of everything drawn."""

    workers: int = 0
    """Processes that share each batch, on Ray; 0 trains in this process without Ray."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker, fractions allowed; without workers, anything above 0 takes the GPU of this machine."""
    address: Address = "auto"
    retries: int = 3
    """How often a worker that died is replaced; training goes on from the last checkpoint."""
    threads: Annotated[int | None, own_default("INT", "all cores, shared by the workers")] = None
    """CPU threads of each process."""
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"
    """Arithmetic of the networks; penalties stay in fp32 under bf16. bf16 is for recent GPUs and
    processors with avx512_bf16, fp64 for comparisons."""
    compile: bool = False
    """Compile the networks first (needs a C++ compiler): slower start, faster steps on GPUs."""
    accumulate: int = 1
    """Parts into which each worker cuts its pictures of a step, to save memory; the gradients are those of the whole."""

    every: int = 250
    """Steps between checkpoints; there is one at the end and at the time limit too, and without Ray on Ctrl-C."""
    grid_every: int = 500
    """Steps between sample pictures, 0 for none."""
    record: Annotated[Record, FLAT] = Record(experiment="train")
    register: Annotated[str | None, own_default("NAME", "disrupt-SYSTEM")] = None
    """Name under which the final weights are registered in MLflow."""
    config: SettingsFile = None

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected. The system's own checks come later."""
        if not self.data.strip():
            raise ConfigError("DATA is empty: give a folder with pictures, or the word samples")
        is_pattern = is_uri(self.data) or re.search(r"[*?\[{]", self.data)
        if self.data != SAMPLES and not Path(self.data).exists() and not is_pattern:
            raise ConfigError(f"DATA {self.data}: no such folder or container; the word samples takes the sample photos")
        if self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"OUT {self.output} is a file; it has to be a folder")
        one_of("--attack-reference", self.attack_reference, REFERENCES)
        one_of("--attack-start", self.attack_start, STARTS)
        check_limits(self, LIMITS)
        if self.size is not None and self.size % 4:
            raise ConfigError(
                f"--size must be a multiple of 4, such as {self.size // 4 * 4} or {self.size // 4 * 4 + 4}, not {self.size}"
            )
        if 0 < self.blur < 0.1:
            raise ConfigError(f"--blur must be 0 for none, or from 0.1 to 16 (pixels), not {self.blur:g}")
        if self.gpus_per_worker % 1 and not 0.001 <= self.gpus_per_worker < 1:
            raise ConfigError(f"--gpus-per-worker is a whole number or a share of one GPU from 0.001, not {self.gpus_per_worker:g}")
        if self.init_from is not None and not self.init_from.is_file():
            raise ConfigError(f"--init-from {self.init_from}: no such file; it is the state.pt of another training")
        if self.vgg is not None and self.system != "pix2pixhd":
            raise ConfigError(f"--vgg is for pix2pixhd; {self.system} has no perceptual loss")
        if self.vgg is not None and not self.vgg.is_file():
            raise ConfigError(f"--vgg {self.vgg}: no such file; it holds the weights of a VGG-16 or VGG-19")
        self.loss_weights()
        if self.system == "signals":
            self.manipulations.check()
            if self.signals % 2:
                raise ConfigError(f"--signals must be even, since signals come in pairs, not {self.signals}")
            if self.adversarial != "none":
                raise ConfigError("--adversarial hardens generators; leave it out for signals")

    def loss_weights(self) -> dict[str, float]:
        """The weights of --loss by name. Raises ConfigError for one that is not NAME=WEIGHT or outside its limits."""
        weights: dict[str, float] = {}
        for word in self.loss:
            name, _, value = (part.strip() for part in word.partition("="))
            try:
                weights[name] = float(value)
            except ValueError:
                raise ConfigError(f"--loss takes NAME=WEIGHT with a number, such as rec=10, not {word!r}") from None
            within(f"--loss {name}", weights[name], *LOSS_LIMITS.get(name, (0, 1e6, "weight of a loss")))
            if name in WHOLE_NUMBERS and weights[name] % 1:
                raise ConfigError(f"--loss {name} must be a whole number, not {value}")
        return weights

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the trained weights, as plain values."""
        left_out = HOW_IT_RUNS | (set() if self.system == "signals" else OF_SIGNALS)
        left_out |= OF_ATTACKS if self.adversarial == "none" else set()
        facts = {name: value for name, value in flat(self).items() if name not in left_out}
        if self.image is None:
            del facts["image"]  # trainings before it had none
        for name in ("game", "warm_up"):
            if facts[name] is None:
                del facts[name]  # as above
        paths: dict[str, Any] = {name: str(value) for name, value in facts.items() if isinstance(value, Path)}
        if "weights" in facts:
            paths["weights"] = [str(path) for path in facts["weights"]]
        return facts | paths | {"loss": dict(sorted(self.loss_weights().items()))}


LIMITS: dict[str, tuple[float, float, str]] = {
    "epsilon": (0.1, 64, "levels of 255"),
    "attack_steps": (1, 1000, "ascent steps"),
    "attack_step_size": (0.01, 255, "levels"),
    "consistency": (0, 1e6, "weight"),
    "blur": (0, 16, "pixels"),
    "warm_up": (0, 10**8, "steps"),
    "steps": (1, 10**8, "steps"),
    "minutes": (0, 10**6, "minutes"),
    "size": (16, 2048, "pixels"),
    "conv_dim": (1, 1024, "channels"),
    "d_conv_dim": (1, 1024, "channels"),
    "batch": (1, 4096, "pictures"),
    "lr": (1e-8, 1, "learning rate"),
    "d_steps": (1, 100, "steps for each of the generator"),
    "seed": (-(2**63), 2**63 - 1, "a number of 64 bits"),
    "workers": (0, 10_000, "processes"),
    "gpus_per_worker": (0, 64, "GPUs"),
    "retries": (0, 1000, "replaced workers"),
    "threads": (1, 1024, "CPU threads per process"),
    "memory_mb": (0, 10**9, "MB"),
    "signals": (0, 4096, "signals"),
    "budget": (0.5, 16, "levels"),
    "accumulate": (1, 4096, "parts"),
    "every": (1, 10**8, "steps"),
    "grid_every": (0, 10**8, "steps"),
}
"""From, to and unit of each option that is a number."""

LOSS_LIMITS: dict[str, tuple[float, float, str]] = {
    "r1_every": (1, 10_000, "steps"),
    "rec_every": (1, 10_000, "steps"),
    "pool": (0, 1000, "pictures"),
    "rec_share": (0, 1, "share of a batch"),
    "pure": (0, 1, "share of the images"),
    "same_share": (0, 1, "share of a batch"),
    "unfooled": (0, 1, "share of cls"),
    "d_layers": (1, 6, "halvings"),
    "k": (0, 1, "share of the spectrum"),
}
"""From, to and unit of what --loss sets that is no weight."""
WHOLE_NUMBERS = {"r1_every", "rec_every", "pool", "d_layers"}

HOW_IT_RUNS = {
    "output", "minutes", "workers", "gpus_per_worker", "address", "retries", "threads", "accumulate", "every", "grid_every",
    "memory_mb", "tracking", "experiment", "register", "config",
}  # fmt: skip
"""Options that leave the trained weights as they are, but for the rounding of sums."""
OF_ATTACKS = {"epsilon", "attack_steps", "attack_step_size", "attack_reference", "attack_start", "consistency"}
"""Options that only a hardening has."""
OF_SIGNALS = {"signals", "budget", *(field.name for field in fields(Manipulations))}
"""Options that only the system signals has."""


def signature(config: TrainConfig) -> str:
    """16 hex digits that two trainings share exactly when their options give the same weights."""
    return signature_of(config.what_changes_results() | {"format_version": RESULT_FORMAT})
