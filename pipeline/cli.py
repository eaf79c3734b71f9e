"""The verbs of ``disrupt`` as a table. A verb's modules are imported when it is called; its help waits for no heavy library."""

from __future__ import annotations

import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name

from pipeline import __version__
from pipeline.jobs.console import PlainConsole
from pipeline.storage import advice_on

WRONG_CALL, STOPPED, UNREAD = 2, 130, 141
RESUMES = "Run the same command again: it resumes, and produces the same files."


@dataclass(frozen=True)
class Verb:
    """A verb: one line about it, the dotted names of its options and of its run, and what Ctrl-C leaves."""

    about: str
    options: str
    run: str
    after_stop: str


VERBS = {
    "protect": Verb(
        "photos -> protected photos, manifest and report",
        "pipeline.protection.options:ProtectConfig",
        "pipeline.protection.run:run_protect",
        f"stopped; finished photos are kept. {RESUMES}",
    ),
    "evaluate": Verb(
        "originals and protected photos -> what generators make of them, measured on the files",
        "pipeline.evaluation.options:EvaluateConfig",
        "pipeline.evaluation.run:run_evaluation",
        "stopped; nothing is written.",
    ),
    "detect": Verb(
        "pictures -> which of them carry a signal, which were manipulated, and where",
        "pipeline.detection.options:DetectConfig",
        "pipeline.detection.run:run_detection",
        "stopped; nothing is written.",
    ),
    "train": Verb(
        "pictures -> a generator, plain or hardened against disruptions, or a set of signals",
        "pipeline.training.options:TrainConfig",
        "pipeline.training.run:run_train",
        f"stopped; the last checkpoint is kept. {RESUMES}",
    ),
    "tune": Verb(
        "photos -> the loss weights, number and budget of signals that detect best, and that set, trained",
        "tune.options:SearchConfig",
        "tune.run:run_search",
        f"stopped; the trials' results are kept. {RESUMES}",
    ),
    "universal": Verb(
        "faces -> one perturbation, or a keyed set, that protects any photo without a network",
        "pipeline.learning.options:UniversalConfig",
        "pipeline.learning.run:run_universal",
        f"stopped; the steps so far are kept. {RESUMES}",
    ),
    "doctor": Verb(
        "what this machine has, what fits, what is missing",
        "pipeline.jobs.doctor:DoctorConfig",
        "pipeline.jobs.doctor:run_doctor",
        "stopped.",
    ),
}


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
    sys.exit(run_verb(name, rest))


def run_verb(name: str, words: Sequence[str], *, prog: str | None = None, defaults: Sequence[str] = ()) -> int:
    """Run a verb with these words and return its exit code; the words ``defaults`` count where ``words`` say nothing else."""
    verb, prog = VERBS[name], prog or f"disrupt {name}"

    def run() -> int:
        from pipeline.jobs.settings import parse

        config = parse(resolve_name(verb.options), words, prog=prog, defaults=defaults)
        code: int = resolve_name(verb.run)(config, command=shlex.join([*prog.split(), *words]), console=PlainConsole())
        return code

    return exit_code(run, prog=prog, after_stop=verb.after_stop)


def exit_code(run: Callable[[], int], *, prog: str, after_stop: str) -> int:
    """The exit code of ``run``; an error of the call or of access becomes one line and 2, Ctrl-C ``after_stop`` and 130.

    Where whoever read the output has gone (``| head``), it is 141 without a word, as of a program that SIGPIPE ends.
    """
    errors = PlainConsole(stderr=True, highlight=False)
    try:
        return run()
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_unread():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be flushed at exit goes there
            return UNREAD
        advice = advice_on(error)
        if not advice and not (isinstance(error, ValueError) and type(error).__module__.startswith("pipeline.")):
            raise  # a bug keeps its traceback
        errors.print(f"{prog}: {error} {advice or ''}".rstrip(), style="bold red", soft_wrap=True)
        return WRONG_CALL
    except KeyboardInterrupt:
        errors.print(after_stop)
        return STOPPED


def _is_unread() -> bool:
    """Whether standard output is a pipe without a reader."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


if __name__ == "__main__":
    main()
