"""The verbs of ``disrupt``: parse, call one function, turn errors of the call into one line and exit code 2."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from pipeline import __version__
from pipeline.config import ProtectConfig
from pipeline.settings_file import read_settings

VERBS = {
    "protect": "photos -> protected photos, manifest and report",
    "doctor": "what this machine has, what fits, what is missing",
}
WRONG_CALL, STOPPED = 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: ``disrupt <verb> ...``; ends the process with the verb's exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print("usage: disrupt VERB ...   (disrupt VERB --help says more)\n")
        print("\n".join(f"  {verb:10} {about}" for verb, about in VERBS.items()))
        sys.exit(0 if words else WRONG_CALL)
    if words[0] == "--version":
        print(__version__)
        sys.exit(0)
    verb, *rest = words
    if verb == "protect":
        sys.exit(protect(rest))
    if verb == "doctor":
        from pipeline.doctor import examine

        sys.exit(examine())
    print(f"disrupt: no verb {verb!r}; verbs: {', '.join(VERBS)}", file=sys.stderr)
    sys.exit(WRONG_CALL)


def protect(arguments: Sequence[str], *, prog: str = "disrupt protect", **defaults: str) -> int:
    """Run ``disrupt protect`` with these words; ``defaults`` replace defaults of options. Returns the exit code."""
    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    console = Console(markup=False, emoji=False)
    try:
        config = parse_protect(arguments, prog=prog, defaults=defaults)
        from pipeline.dry_run import estimate
        from pipeline.protect import run_protect

        command = shlex.join([*prog.split(), *arguments])
        return estimate(config, console=console) if config.dry_run else run_protect(config, command=command, console=console)
    except ValueError as error:
        if not is_ours(error):
            raise
        errors.print(f"{prog}: {error}", style="bold red", soft_wrap=True)
        return WRONG_CALL
    except KeyboardInterrupt:
        errors.print("stopped; what is done is kept. Run the same command again to go on.")
        return STOPPED


def is_ours(error: ValueError) -> bool:
    """Whether the project raised this error itself, with a message for the user; anything else is a bug and keeps its trace."""
    return type(error).__module__.startswith("pipeline.")


def parse_protect(arguments: Sequence[str], *, prog: str, defaults: dict[str, str]) -> ProtectConfig:
    """The options from ``--config FILE`` (YAML), then the flags, which win. A wrong flag or value ends the process with 2."""
    settings: dict[str, object] = dict(defaults)
    config_file = _config_file(arguments)
    if config_file is not None:
        settings |= read_settings(config_file, ProtectConfig)
    places = {"input": tyro.MISSING, "output": tyro.MISSING}
    default = ProtectConfig(**(places | settings))
    return tyro.cli(ProtectConfig, prog=prog, args=arguments, default=default)


def _config_file(words: Sequence[str]) -> Path | None:
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            return Path(words[i + 1])
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    return None


if __name__ == "__main__":
    main()
