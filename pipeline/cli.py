"""The verbs of ``disrupt``: parse, call one function, turn errors of the call into one line and exit code 2."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import tyro
from rich.console import Console

from pipeline import __version__

if TYPE_CHECKING:
    from pipeline.protection.options import ProtectConfig

WRONG_CALL, STOPPED = 2, 130
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: ``disrupt <verb> ...``; ends the process with the verb's exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print("usage: disrupt VERB ...   (disrupt VERB --help says more)\n")
        print("\n".join(f"  {name:10} {verb.about}" for name, verb in VERBS.items()))
        sys.exit(0 if words else WRONG_CALL)
    name, *rest = words
    if name == "--version":
        print(__version__)
        sys.exit(0)
    if name not in VERBS:
        print(f"disrupt: no verb {name!r}; verbs: {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(WRONG_CALL)
    sys.exit(VERBS[name].run(rest))


def protect(arguments: Sequence[str], *, prog: str = "disrupt protect", **defaults: str) -> int:
    """Run ``disrupt protect`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""
    console = Console(markup=False, emoji=False)

    def run() -> int:
        config = parse_protect(arguments, prog=prog, defaults=defaults)
        from pipeline.protection.dry_run import estimate
        from pipeline.protection.run import run_protect

        command = shlex.join([*prog.split(), *arguments])
        return estimate(config, console=console) if config.dry_run else run_protect(config, command=command, console=console)

    return ended(run, prog=prog, after_stop="stopped; what is done is kept. Run the same command again to go on.")


def evaluate(arguments: Sequence[str], *, prog: str = "disrupt evaluate", **defaults: str) -> int:
    """Run ``disrupt evaluate`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""

    def run() -> int:
        from pipeline.evaluation.options import EvaluateConfig

        config = parse(EvaluateConfig, ("originals", "protected"), arguments, prog=prog, defaults=defaults)
        from pipeline.evaluation.run import run_evaluation

        console = Console(markup=False, emoji=False)
        return run_evaluation(config, command=shlex.join([*prog.split(), *arguments]), console=console)

    return ended(run, prog=prog, after_stop="stopped; nothing is written.")


def detect(arguments: Sequence[str], *, prog: str = "disrupt detect", **defaults: str) -> int:
    """Run ``disrupt detect`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""

    def run() -> int:
        from pipeline.detection.options import DetectConfig

        config = parse(DetectConfig, ("input", "signals"), arguments, prog=prog, defaults=defaults)
        from pipeline.detection.run import run_detection

        console = Console(markup=False, emoji=False)
        return run_detection(config, command=shlex.join([*prog.split(), *arguments]), console=console)

    return ended(run, prog=prog, after_stop="stopped; nothing is written.")


def train(arguments: Sequence[str], *, prog: str = "disrupt train", **defaults: object) -> int:
    """Run ``disrupt train`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""

    def run() -> int:
        from pipeline.training.config import TrainConfig

        config = parse(TrainConfig, ("data", "output"), arguments, prog=prog, defaults=defaults)
        from pipeline.training.run import run_train

        console = Console(markup=False, emoji=False)
        return run_train(config, command=shlex.join([*prog.split(), *arguments]), console=console)

    return ended(run, prog=prog, after_stop="stopped; the last checkpoint is kept. Run the same command again to go on.")


def doctor(_arguments: Sequence[str]) -> int:
    """Run ``disrupt doctor``, which takes no words. Returns the exit code."""
    from pipeline.jobs.doctor import examine

    return examine()


def tune(arguments: Sequence[str]) -> int:
    """Run ``disrupt tune`` with these words; returns the exit code."""
    from tune.cli import tune as search

    return search(arguments)


@dataclass(frozen=True)
class Verb:
    """A verb: what it does in one line, and the function that takes the words after it and returns the exit code."""

    about: str
    run: Callable[[Sequence[str]], int]


VERBS = {
    "protect": Verb("photos -> protected photos, manifest and report", protect),
    "evaluate": Verb("originals and protected photos -> what generators make of them, measured on the files", evaluate),
    "detect": Verb("pictures -> which of them carry a signal, which were manipulated", detect),
    "train": Verb("pictures -> a generator, plain or hardened against disruptions, or a set of signals", train),
    "tune": Verb("photos -> the loss weights, number and budget of signals that detect best, and that set, trained", tune),
    "doctor": Verb("what this machine has, what fits, what is missing", doctor),
}


def ended(run: Callable[[], int], *, prog: str, after_stop: str) -> int:
    """The exit code of ``run``; an error of the call becomes one line and 2, Ctrl-C the line ``after_stop`` and 130."""
    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    try:
        return run()
    except ValueError as error:
        if not is_ours(error):
            raise
        errors.print(f"{prog}: {error}", style="bold red", soft_wrap=True)
        return WRONG_CALL
    except KeyboardInterrupt:
        errors.print(after_stop)
        return STOPPED


def is_ours(error: ValueError) -> bool:
    """Whether the project raised this error itself, with a message for the user; anything else is a bug and keeps its trace."""
    return type(error).__module__.startswith("pipeline.")


def parse_protect(arguments: Sequence[str], *, prog: str, defaults: dict[str, str]) -> ProtectConfig:
    """The options of ``disrupt protect``; see `parse`."""
    from pipeline.protection.options import ProtectConfig

    return parse(ProtectConfig, ("input", "output"), arguments, prog=prog, defaults=defaults)


def parse(options: type[T], places: tuple[str, ...], arguments: Sequence[str], *, prog: str, defaults: Mapping[str, object]) -> T:
    """The options from ``--config FILE`` (YAML), then the flags, which win; ``places`` are the fields without a default.

    A wrong flag or value ends the process with 2.
    """
    from pipeline.jobs.settings import read_settings

    settings: dict[str, object] = dict(defaults)
    config_file = _config_file(arguments)
    if config_file is not None:
        settings |= read_settings(config_file, options)
    default = options(**(dict.fromkeys(places, tyro.MISSING) | settings))
    return tyro.cli(options, prog=prog, args=arguments, default=default)


def _config_file(words: Sequence[str]) -> Path | None:
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            return Path(words[i + 1])
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    return None


if __name__ == "__main__":
    main()
