"""The options of a protection run as one frozen value; command line, YAML file, signature and record derive from it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from pipeline.disruption.recipes import (
    BALLS,
    RECIPES,
    REFERENCES,
    ROBUST_TO,
    STARTS,
    Blur,
    Classes,
    Objective,
    Recipe,
    RobustMode,
    StepRule,
)
from pipeline.jobs.options import (
    DEFAULT_GENERATOR,
    FILE_OR_SHIPPED,
    FLAT,
    NOTHING,
    Compute,
    ConfigError,
    PathOption,
    Photos,
    Record,
    SettingsFile,
    StandsFor,
    check_weights,
    one_of,
    own_default,
    signature_of,
    within,
)
from pipeline.photos.decode import decode_photo
from pipeline.photos.encode import FORMATS
from pipeline.photos.photo import PhotoBrokenError, PhotoRefusedError
from pipeline.protection.quality import QUALITIES, Quality

T = TypeVar("T")
Region = Literal["faces", "square", "whole", "box"]
RESULT_FORMAT = 9
"""Raised when the same options give other bytes, or a manifest of other columns, than before; part of the signature."""
JITTER_FORMAT = 2
"""Raised likewise for runs with --jitter alone."""
UNMEASURED_STEPS, UNMEASURED_STEPS_FROM_UNIVERSAL = 3, 1
"""With --measure-share below 1, where nobody looks whether a photo is broken: the steps of a recipe that would look."""
UNIVERSAL = "universal"
"""The start of a recipe with --universal."""
JITTER_STEPS, JITTER_STEP, JITTER_LAST_STEP, JITTER_MOMENTUM = 160, 1.275, 0.1, 0.95
"""With --jitter: the least steps of a recipe, its largest first step (levels) and last one, and its least momentum."""
WITH_APGD: dict[str, Any] = {"step_size": None, "last_step": 1.0, "momentum": 0.0, "until": None, "robust_mode": "eot"}
"""With --step-rule apgd: these parts of a recipe, which also takes all classes in every step."""
AGAINST_APGD = {
    "step_size": ("--step-size", "it has its own step sizes, from twice epsilon on: leave --step-size out"),
    "last_step": ("--last-step", "it has its own step sizes, from twice epsilon on: leave --last-step out"),
    "momentum": ("--momentum", "it has a momentum of its own: leave --momentum out"),
    "until": ("--until", "it gives back the best of all its steps: leave --until out, or --until none"),
    "classes": ("--class-schedule iterative", "it compares values of all classes together: give --class-schedule joint or weakest"),
    "blur": ("--blur spread-spectrum", "it compares values of one blur or of their mean: give --blur eot, white-box or none"),
    "robust_mode": ("--robust-mode turn", "it compares values of all transforms together: give --robust-mode eot"),
    "diversity": ("--diversity", "it compares values from step to step, and each step would show the photo otherwise: give one"),
}
"""By part of a recipe: the option that --step-rule apgd does not go with, and why."""
BY_RECIPE = "the recipe's"
"""In the help, of an option whose default the recipe sets."""


@dataclass(frozen=True)
class ProtectConfig:
    """Add a small perturbation to every photo so that what the named image-translation networks make of it is broken.

    Example: disrupt protect photos protected --epsilon 6

    A table has a column path and, for --region box, the columns left, top, right and bottom (or x, y, width, height): pixels of the
    upright photo, or shares of it from 0 to 1. Several rows of one photo give it several boxes.

    Writes protected photos, the manifest (the folder manifest, below a million photos also manifest.parquet) and report.html into
    OUT. Run the same command again to go on after a stop.
    Exit code: 0 when every photo is protected or deliberately skipped, 1 when some failed or were not disrupted, 2 for a wrong
    call.
    """

    input: Annotated[str, PathOption(as_typed="input_as_typed"), tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """Folder (searched at any depth), glob, single photo, table (.csv, .jsonl, .txt, .parquet), or a storage URI such as
    s3://bucket/photos. Or photos in containers: WebDataset tars, also as shard-{000..012}.tar, and Parquet files with an image
    column."""
    output: Annotated[str, PathOption(), tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder or storage URI for the protected photos; new, empty, or of the same run to be continued."""

    generator: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME [NAME ...]")] = (DEFAULT_GENERATOR,)
    """Networks to disrupt, all together: stargan-sharp (shipped); stargan, ganimation, cyclegan (--weights); my_module:build."""
    weights: Annotated[tuple[Path, ...], FILE_OR_SHIPPED, own_default("FILE [FILE ...]", "none")] = ()
    """Weights for the generators, one each in their order: safetensors or a torch file, also under other names of the same layers;
    the word shipped for those that come with the package."""
    classes: Annotated[tuple[str, ...], own_default("CLASS [CLASS ...]", "all")] = ()
    """Translations to break, by name; disrupt doctor lists those of the shipped generator."""
    quality: Annotated[Quality | None, StandsFor(QUALITIES), own_default("{high,medium,strong}", "none")] = None
    """How good the picture stays, in a word. high: hard to see, on skin and sky too; medium: breaks more surely; strong: made to
    survive JPEG and resizing, seen, slow. Each stands for --mask, an --epsilon and a --recipe: high 6 quick, medium 9 quick,
    strong 12 robust. What you give of these yourself wins."""
    epsilon: Annotated[int, tyro.conf.arg(metavar="LEVELS")] = 6
    """Largest change of any pixel, in 8-bit levels, 1 to 64."""
    mask: bool = False
    """Change a pixel less where the eye sees more: by all of --epsilon where the photo is full of texture, by a quarter where it is
    smooth, as sky and skin are, and nowhere by less than a sixth (at least one level)."""
    min_psnr: Annotated[float | None, own_default("DB", "none")] = None
    """Each file reaches at least this PSNR beside its photo, 20 to 70 dB: the largest epsilon up to --epsilon that does, for each
    photo by itself. Up to four times the computing, more above 6 levels."""
    min_ssim: Annotated[float | None, own_default("SSIM", "none")] = None
    """The same for SSIM, 0.5 to 0.9999."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = "quick"
    """One of quick, fgsm, ifgsm, pgd, ifgsm-joint, pgd-joint, towards-input, towards-black, spread-spectrum, eot-blur, feature,
    robust; or none, to add --signals or --universal alone: fast, no generator is loaded and the options of the disruption are not
    used."""
    steps: Annotated[int | None, own_default("INT", "the recipe's; quick: at most 60")] = None
    """Number of ascent steps, with --universal also 0. This and the options down to --robust-mode change single parts of the
    recipe."""
    until: Annotated[float | Literal["none"] | None, own_default("FACTOR|none", "the recipe's; quick: 5, others: none")] = None
    """A photo takes no more steps once every output on its file is broken: L2 FACTOR times 0.05, from 1 to 80, and 0.3 of its lines
    and texture lost, or half of that L2 (at least 0.05) and 0.65 lost; none: all of --steps. With another aim, reference or
    objective than visible and l2, a layer, a blur or --robust-to it is none."""
    step_size: Annotated[float | None, own_default("LEVELS", "the recipe's; quick: 4")] = None
    """Size of a step, in 8-bit levels."""
    last_step: Annotated[float | None, own_default("SHARE", "the recipe's; quick: 0.1")] = None
    """The last step as a share of the first, above 0 to 1; steps shrink evenly. Less than 1 helps where steps take turns."""
    momentum: Annotated[float | None, own_default("SHARE", "the recipe's; quick: 0.7; with --jitter 0.95")] = None
    """The share of the sum of earlier gradients that a step keeps, 0 to 1. It evens out classes that take turns."""
    step_rule: Annotated[StepRule | None, own_default("{fixed,apgd}", "fixed")] = None
    """fixed, the step sizes above; apgd, Auto-PGD: from twice epsilon on, halved as each photo gets on, and its best point comes
    back. apgd takes all classes in every step (as many times slower) and goes without --step-size, --last-step, --momentum,
    --until, --diversity and --jitter."""
    diversity: Annotated[float | None, own_default("SHARE", "0: none")] = None
    """For networks other than --generator: the share of the steps, 0 to 1, in which a network sees the photo up to a tenth smaller,
    somewhere on grey, drawn for each photo by its key. Such a run never stops early."""
    smooth_gradient: Annotated[float | None, own_default("SIGMA", "0: none")] = None
    """Likewise: smooth the gradient with a Gaussian of SIGMA pixels of what the network sees, 0.2 to 16, or 0."""
    start: Annotated[str | None, own_default("{" + ",".join(STARTS) + "}", BY_RECIPE)] = None
    """Where the ascent starts: at the photo, at most 0.13 levels beside it, or anywhere in the ball; with --universal there."""
    aim: Annotated[Literal["away", "towards"] | None, own_default("{away,towards}", BY_RECIPE)] = None
    """Drive the output away from the reference or towards it."""
    reference: Annotated[str | None, PathOption(REFERENCES), own_default("{" + ",".join(REFERENCES) + ",IMAGE}", BY_RECIPE)] = None
    """What the output is driven from or to: its own undisrupted output, the input, a plain image, noise, or an image file."""
    objective: Annotated[Objective | None, own_default("{visible,l2,local,levelled,edge}", "the recipe's; quick: visible")] = None
    """What to break: visible, L2 and lines and texture together; l2, any change of the output, also of brightness; levelled, what
    auto levels leave of it; local, lines and texture; edge, the steps from pixel to pixel."""
    class_schedule: Annotated[Classes | None, own_default("{iterative,joint,weakest}", BY_RECIPE)] = None
    """One class per step in turn, or all in every step (as many times slower); weakest: all, and the class and the network that
    are hardest to break count most."""
    ball: Annotated[str | None, own_default("{" + ",".join(BALLS) + "}", BY_RECIPE)] = None
    """Bound on the perturbation: linf (epsilon alone), or l2 (also at most half of epsilon as root mean square of the region)."""
    blur: Annotated[Blur | None, own_default("{none,white-box,eot,spread-spectrum}", BY_RECIPE)] = None
    """Survive a blur before the generator: one known blur, the mean over nine, or nine in turn."""
    layer: Annotated[str | None, own_default("LAYER", "the recipe's; quick: none")] = None
    """Disrupt the activation of this layer instead of the output, e.g. main.14."""
    robust_to: Annotated[tuple[str, ...] | None, own_default("{" + ",".join((*ROBUST_TO, NOTHING)) + "} [...]", BY_RECIPE)] = None
    """What the perturbation is to survive on the file's way: one or more, by commas or spaces, e.g. jpeg,resize."""
    robust_mode: Annotated[RobustMode | None, own_default("{turn,eot}", BY_RECIPE)] = None
    """One of these transforms per step in turn, or the mean over all in every step (as many times slower)."""
    region: Annotated[
        Region | None,
        own_default("{faces,square,whole,box}", "faces, if they can be found and the networks are for faces"),
    ] = None
    """What the generators see of each photo and the disruption changes: each face (extra faces; where none is found, the square),
    the largest centred square, all, or the table's boxes. Else square. All faces of a photo are protected in one file."""
    jitter: bool = False
    """Break other crops too: three of four steps climb a crop up to 10 % beside the exact one in place and size, drawn for each
    photo by its key. At least 160 steps of at most 1.275 levels, shrinking to a tenth, with momentum 0.95, unless --steps,
    --step-size, --last-step and --momentum say otherwise; not with --until. Pixels up to 15 % of a side outside the region change
    too."""

    universal: Annotated[Path | None, own_default("BUNDLE", "none")] = None
    """Start from a perturbation of this bundle (of disrupt universal), so that photos need fewer steps; with --recipe none add it
    alone, as fast as files are read and written: nothing is measured then. --steps 0 adds it alone and measures."""
    measure_share: Annotated[float | None, own_default("SHARE", "1; with --recipe none 0")] = None
    """The share of the photos, chosen by a hash of their names, on whose files the effect on --generator is measured, 0 to 1. Below
    1 no photo stops early: quick takes 3 steps, with --universal 1, and --steps sets others; a photo that is not measured counts
    as protected when it was changed. With --recipe none the networks are loaded above 0."""
    identity: bool = False
    """Also measure how far outputs are from the person in the photo, by the distance of dlib's face embeddings (extra identity),
    and how often they are of another person; of the undisrupted outputs too. It takes 0.1 s of one core for
    each output, 1.7 s a photo with the eight classes of stargan-sharp."""
    signals: Annotated[Path | None, FILE_OR_SHIPPED, own_default("BUNDLE", "none")] = None
    """Also add a signal of this bundle (from disrupt train --system signals, or the word shipped) to every photo, for disrupt
    detect. It takes its budget of levels out of epsilon; the disruption gets the rest."""
    key_file: Annotated[Path | None, own_default("FILE", "the variable DISRUPT_SIGNAL_KEY")] = None
    """File with the secret, 16 bytes or more, that decides with a photo's tints what signal it gets, and which perturbation of
    several of --universal. Keep it: detect tells by it what fits."""

    find_signed: bool = False
    """With --signals: look for a signal of the same bundle in each photo first, and say so in the note of its row. It takes the
    detector (torch) and 0.04 s a photo, of 12 MP 0.4 s; at most 1 % of photos without a signal get the note too."""

    format: Literal["png", "webp", "jpeg"] = "png"
    """Format of the protected files. png and webp are lossless; jpeg loses part of the protection, the report says how much."""
    jpeg_quality: int = 95
    """Quality of jpeg files, 95 to 100 (4:4:4)."""
    gain_map: Literal["drop", "skip"] = "drop"
    """Photos of phones with an HDR gain map: protect the picture and leave the map behind, or skip them."""
    container: Literal["same", "folder"] = "same"
    """Where photos of containers go: into a container of the same kind and name, or as plain files into OUT/NAME/."""
    image: Annotated[str | None, own_default("COLUMN|SUFFIX", "the only one")] = None
    """Column of a Parquet file that holds the photos; or the suffix of the photo where samples of a tar have several: input.jpg."""
    portable_names: bool = False
    """Give outputs names that every file system takes and keeps apart: each part that is not in lower case and composed Unicode, or
    that Windows forbids, is cleaned and marked with a hash, ~ and 12 digits. The manifest's key stays the photo's own name."""
    seed: int = 0
    """Seed of the random starts; each photo's own stream depends on it and on the photo's key alone."""

    compute: Annotated[Compute, FLAT] = Compute()
    batch_size: int = 16
    """Most photos computed together on a GPU, fewer large ones; on the CPU one by one, so that no batch changes a pixel."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Arithmetic of the ascent; what counts is always measured in fp32. bf16 is faster on hardware made for it (recent GPUs and
    server CPUs), much slower elsewhere. auto takes bf16 where the machine that starts the run has it and a probe of a second finds
    it faster, else fp32; then the bytes depend on that machine, so it is not the default."""
    part_photos: int = 1024
    """Most photos of a part, which one process does from reading to committing; a small run is cut finer."""

    photos: Annotated[Photos, FLAT] = Photos()
    retry_failed: bool = False
    """Try the photos again that failed or were not disrupted in the run that OUT holds."""
    preview: bool = False
    """Protect nothing yet: show the first photo at each --quality, side by side, in the folder OUT-preview."""
    dry_run: bool = False
    """Write nothing; estimate time and disk space from a few photos."""
    record: Annotated[Record, FLAT] = Record(experiment="protect")
    examples: int = 8
    """Photos shown in the report, 0 to 12."""
    config: SettingsFile = None
    finder: tyro.conf.Suppress[str] = ""
    """The finder of faces that the region needs, with its version; on record, since another one may find others."""
    input_as_typed: tyro.conf.Suppress[str] = ""
    """IN as typed, which the signature covers: photos and OUT can be moved together and the run goes on."""

    def disrupts(self) -> bool:
        """Whether generators are disrupted, or signals alone are added."""
        return self.recipe != NOTHING

    def has_floors(self) -> bool:
        """Whether files have to reach a PSNR or an SSIM."""
        return self.min_psnr is not None or self.min_ssim is not None

    def measures(self) -> bool:
        """Whether generators are needed: to disrupt them, or to measure what was added unseen."""
        return self.disrupts() or self.measured_share() > 0

    def measured_share(self) -> float:
        """The share of the files, 0 to 1, whose effect on generators is measured."""
        return (1.0 if self.disrupts() else 0.0) if self.measure_share is None else self.measure_share

    def changes_region(self) -> bool:
        """Whether what generators see of a photo is changed: by a disruption, or by a universal perturbation."""
        return self.disrupts() or self.universal is not None

    def resolved_recipe(self) -> Recipe:
        """The named recipe with the options that change parts of it; without a disruption, no step from the photo itself."""
        if not self.disrupts():
            return Recipe(start="clean", steps=0)
        named = RECIPES[self.recipe]
        if named.until is not None and self.measured_share() < 1:
            steps = UNMEASURED_STEPS_FROM_UNIVERSAL if self.universal else UNMEASURED_STEPS
            named = dataclasses.replace(named, steps=steps, until=None)
        if self.jitter and named.steps > 1:
            named = dataclasses.replace(
                named,
                steps=max(named.steps, JITTER_STEPS),
                step_size=None if named.step_size is None else min(named.step_size, JITTER_STEP),
                last_step=min(named.last_step, JITTER_LAST_STEP),
                momentum=max(named.momentum, JITTER_MOMENTUM),
                until=None,
            )
        if self.step_rule == "apgd":
            classes: Classes = "joint" if named.classes == "iterative" else named.classes
            named = dataclasses.replace(named, classes=classes, **WITH_APGD)
        recipe = Recipe(
            start=UNIVERSAL if self.universal else _or(self.start, named.start),
            steps=_or(self.steps, named.steps),
            step_size=_or(self.step_size, named.step_size),
            last_step=_or(self.last_step, named.last_step),
            momentum=_or(self.momentum, named.momentum),
            step_rule=_or(self.step_rule, named.step_rule),
            diversity=_or(self.diversity, named.diversity),
            smooth_gradient=_or(self.smooth_gradient, named.smooth_gradient),
            aim=_or(self.aim, named.aim),
            reference=_or(self.reference, named.reference),
            objective=_or(self.objective, named.objective),
            classes=_or(self.class_schedule, named.classes),
            ball=_or(self.ball, named.ball),
            blur=_or(self.blur, named.blur),
            layer=_or(self.layer, named.layer),
            robust_to=named.robust_to if self.robust_to is None else _words(self.robust_to),
            robust_mode=_or(self.robust_mode, named.robust_mode),
        )
        if self.objective is None and recipe.objective == "visible" and not recipe.is_away_from_output:
            recipe = dataclasses.replace(recipe, objective="l2")
        if self.until is None:
            return dataclasses.replace(recipe, until=named.until if recipe.climbs_what_counts else None)
        return recipe if isinstance(self.until, str) else dataclasses.replace(recipe, until=self.until)

    def lossless(self) -> bool:
        """Whether the written files hold exactly the pixels that were computed."""
        return FORMATS[self.format].lossless

    def used_compute(self) -> Compute:
        """Where the run computes; signals alone need no GPU."""
        return self.compute if self.measures() else dataclasses.replace(self.compute, gpus_per_actor=0.0)

    def check(self) -> None:
        """Raise ConfigError for a value that cannot be, saying what was expected."""
        one_of("--recipe", self.recipe, (*RECIPES, NOTHING))
        if self.disrupts():
            self._check_disruption()
        elif self.signals is None and self.universal is None:
            raise ConfigError(
                f"--recipe {NOTHING} disrupts nothing: give --signals BUNDLE to add a signal alone, --universal BUNDLE to add a "
                "universal perturbation, or another --recipe"
            )
        within("--measure-share", self.measured_share(), 0, 1, "share of the photos")
        if self.measured_share() and not self.changes_region():
            raise ConfigError("--measure-share is for disruptions and for --universal: signals alone are for no network")
        if self.identity and not self.measures():
            raise ConfigError(
                f"--identity measures what networks make of the files, and --recipe {NOTHING} needs none: leave it out, or give "
                "--universal with --measure-share"
            )
        if self.key_file is not None and self.signals is None and self.universal is None:
            raise ConfigError(
                "--key-file is the secret of signals and of universal perturbations: give --signals BUNDLE or --universal BUNDLE "
                "with it, or leave it out"
            )
        if self.find_signed and self.signals is None:
            raise ConfigError("--find-signed looks for signals of the bundle of --signals: give --signals BUNDLE with it")
        within("--epsilon", self.epsilon, 1, 64, "levels of 255; more is easier to see")
        self._check_floors()
        within("--jpeg-quality", self.jpeg_quality, 95, 100, "lower qualities would undo the protection")
        within("--batch-size", self.batch_size, 1, 4096, "photos")
        within("--part-photos", self.part_photos, 1, 100_000, "photos")
        within("--examples", self.examples, 0, 12, "photos in the report")
        self.compute.check()
        self.photos.check()

    def _check_disruption(self) -> None:
        recipe = self.resolved_recipe()
        if self.universal is not None and self.start is not None:
            raise ConfigError(f"--universal is where the ascent starts: leave out --start {self.start}")
        one_of("--start", recipe.start, (*STARTS, UNIVERSAL) if self.universal else STARTS)
        one_of("--ball", recipe.ball, BALLS)
        for name in recipe.robust_to:
            one_of("--robust-to", name, (*ROBUST_TO, NOTHING))
        if NOTHING in recipe.robust_to:
            others = ", ".join(name for name in recipe.robust_to if name != NOTHING)
            raise ConfigError(f"--robust-to {NOTHING} stands alone, not beside {others}")
        if not self.generator:
            raise ConfigError("--generator needs at least one name, e.g. stargan-sharp")
        check_weights("--weights", self.weights, self.generator)
        if recipe.reference not in REFERENCES:
            _check_image(recipe.reference)
        if recipe.layer and recipe.reference not in ("output", "noise"):
            raise ConfigError(f"--layer compares activations: --reference is then output or noise, not {recipe.reference}")
        if recipe.layer and recipe.objective != "l2":
            raise ConfigError(f"--layer compares activations: --objective is then l2, not {recipe.objective}")
        if recipe.objective in ("visible", "local", "levelled") and recipe.reference in ("black", "white"):
            raise ConfigError(
                f"--objective {recipe.objective} finds no structure in --reference {recipe.reference}: give l2 or edge"
            )
        self._check_ascent(recipe)

    def _check_floors(self) -> None:
        if self.min_psnr is not None:
            within("--min-psnr", self.min_psnr, 20, 70, "dB; 40 is hard to see")
        if self.min_ssim is not None:
            within("--min-ssim", self.min_ssim, 0.5, 0.9999, "1 is identical")
        if self.has_floors() and not self.disrupts():
            raise ConfigError(f"--min-psnr and --min-ssim choose the strength of a disruption, and --recipe {NOTHING} has none")
        if self.preview and not self.disrupts():
            raise ConfigError(f"--preview shows strengths of a disruption, and --recipe {NOTHING} has none")
        if self.preview and self.dry_run:
            raise ConfigError("--preview shows one photo and --dry-run estimates a run: give one")

    def _check_ascent(self, recipe: Recipe) -> None:
        within("--steps", recipe.steps, 0 if self.universal else 1, 100_000, "ascent steps")
        if recipe.until is not None:
            within("--until", recipe.until, 1, 80, f"times the threshold of 0.05; or {NOTHING}")
            if self.measured_share() < 1:
                raise ConfigError(f"--until measures every photo: leave out --measure-share {self.measure_share:g}, or --until")
            if self.jitter:
                raise ConfigError("--until stops at the exact crop, and --jitter is for others: give one")
            if not recipe.climbs_what_counts:
                raise ConfigError(
                    "--until stops at broken outputs: it needs --aim away, --reference output, --objective visible or l2, and no "
                    f"--layer, --blur, --diversity or --robust-to; here give --until {NOTHING}, or leave it out"
                )
        if recipe.step_size is not None:
            within("--step-size", recipe.step_size, 0.01, 255, "levels")
        within("--last-step", recipe.last_step, 0.001, 1, "share of the first step")
        within("--momentum", recipe.momentum, 0, 1, "share of the earlier gradients")
        within("--diversity", recipe.diversity, 0, 1, "share of the steps")
        if recipe.smooth_gradient:
            within("--smooth-gradient", recipe.smooth_gradient, 0.2, 16, "pixels of what the network sees; or 0")
        if recipe.step_rule == "apgd":
            if recipe.against_apgd:
                option, why = AGAINST_APGD[recipe.against_apgd[0]]
                raise ConfigError(f"{option} does not go with --step-rule apgd: {why}")
            if self.jitter:
                raise ConfigError("--jitter does not go with --step-rule apgd: each step would show another crop: give one")
        for option, is_on in (("--jitter", self.jitter), ("--diversity", recipe.diversity > 0)):
            if is_on and recipe.reference == "noise":
                what = "another crop" if option == "--jitter" else "the photo otherwise"
                raise ConfigError(
                    f"{option} shows {what} in each step, and --reference noise would be another noise in each: give one"
                )

    def what_changes_results(self) -> dict[str, Any]:
        """The options that decide the bytes of the outputs, as plain values; weights and signals count by what is in them."""
        of_every_run = {
            "epsilon": self.epsilon,
            "format": self.format,
            "jpeg_quality": self.jpeg_quality if self.format == "jpeg" else None,
            "max_megapixels": self.photos.max_megapixels,
            "input": (self.input_as_typed or self.input).rstrip("/") or "/",
        }
        if self.photos.max_megabytes != Photos().max_megabytes:  # left out at its default, as in earlier runs
            of_every_run["max_megabytes"] = self.photos.max_megabytes
        of_every_run |= {name: getattr(self, name) for name in ("container", "image") if getattr(self, name) not in (None, "same")}
        of_every_run |= {"mask": True} if self.mask and self.changes_region() else {}
        of_every_run |= {"portable_names": True} if self.portable_names else {}
        of_every_run |= {"find_signed": True} if self.find_signed else {}
        of_every_run |= {"identity": True} if self.identity and self.measures() else {}
        of_every_run |= {"gain_map": self.gain_map} if self.gain_map != "drop" else {}
        if not self.disrupts():
            region = {"region": self.region or "square"} | ({"finder": self.finder} if self.finder else {})
            seen = region if self.universal else {"region": "square"}
            names = (self.generator, self.classes) if self.measures() else ((), ())
            share = {"measure_share": self.measured_share()} if self.measures() else {}
            return of_every_run | {"recipe": NOTHING, "generator": [*names[0]], "classes": [*names[1]]} | seen | share
        return of_every_run | {
            "recipe": _plain(self.resolved_recipe()),
            "region": self.region or "square",
            **({"finder": self.finder} if self.finder else {}),
            **({"jitter": JITTER_FORMAT} if self.jitter else {}),
            **({"measure_share": self.measured_share()} if self.measured_share() < 1 else {}),
            **{name: floor for name in ("min_psnr", "min_ssim") if (floor := getattr(self, name)) is not None},
            "seed": self.seed,
            "precision": self.precision,
            "generator": list(self.generator),
            "classes": list(self.classes),
        }


def signature(config: ProtectConfig, fingerprints: tuple[str, ...], added: Mapping[str, str] | None = None) -> str:
    """16 hex digits that two runs share exactly when their options, weights and what they add give the same files.

    ``fingerprints`` are those of the generators, ``added`` those of signals, universal perturbations and their key.
    """
    facts = config.what_changes_results() | {"weights": list(fingerprints), "format_version": RESULT_FORMAT} | dict(added or {})
    return signature_of(facts)


def _check_image(name: str) -> None:
    if not Path(name).is_file():
        raise ConfigError(f"--reference is one of {', '.join(REFERENCES)} or an image file, not {name!r}")
    try:
        decode_photo(Path(name).read_bytes())
    except (OSError, PhotoBrokenError, PhotoRefusedError) as error:
        raise ConfigError(f"--reference {name} cannot be used: {error}") from error


def _or(given: T | None, otherwise: T) -> T:
    return otherwise if given is None else given


def _words(given: tuple[str, ...]) -> tuple[str, ...]:
    """Names given by commas or spaces, each once; the word that means nothing, alone, gives none."""
    names = tuple(dict.fromkeys(word for part in given for word in part.replace(",", " ").split()))
    return () if names == (NOTHING,) else names


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, an image by its content; newer parts at their defaults are left out, as in earlier runs."""
    if recipe.reference not in REFERENCES:
        image = Path(recipe.reference)
        sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
        recipe = dataclasses.replace(recipe, reference=f"{image.name}, sha256 {sha256}")
    newer = ("objective", "last_step", "robust_to", "robust_mode", "until", "step_rule", "diversity", "smooth_gradient")
    unused = [name for name in newer if getattr(recipe, name) == getattr(Recipe(), name)]
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name not in unused}
