"""Options from the words of a command and from a YAML file: one `option: value` a line; the words win."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
import yaml

from pipeline.jobs.options import ConfigError, implied, with_absolute_paths

T = TypeVar("T")
NOT_IN_FILES = ("config", "input_as_typed", "finder")
"""The option that names the file, and what no user types."""


def parse(options: type[T], words: Sequence[str], *, prog: str, defaults: Sequence[str] = ()) -> T:
    """The options that the words set, else those of the file after ``--config``, else what a word stands for (`StandsFor`), else
    the words ``defaults``, else the defaults.

    Local paths are absolute.
    A wrong word or value ends the process with exit code 2; raises ConfigError for a file that cannot be read.
    """
    file = _settings_file(words)
    settings = _read(file, options) if file else {}
    needed = [field.name for field in dataclasses.fields(options) if field.default is dataclasses.MISSING]  # type: ignore[arg-type]
    places = {name: get_type_hints(options)[name](settings.pop(name)) if name in settings else tyro.MISSING for name in needed}
    # A word that takes one value ends the file's words: an option that takes several would swallow the places that follow.
    own = [*(word for name, value in settings.items() for word in _words(name, value)), "--config", str(file)] if file else []

    def with_words(*first: str) -> T:
        parsed: T = tyro.cli(options, prog=prog, args=[*defaults, *first, *own, *words], default=options(**places))
        return parsed

    parsed = with_words()
    if more := implied(parsed):
        parsed = with_words(*(word for name, value in more.items() for word in _words(name, value)))
    return with_absolute_paths(parsed)


def _settings_file(words: Sequence[str]) -> Path | None:
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            return Path(words[i + 1])
        if word.startswith("--config="):
            return Path(word.partition("=")[2])
    return None


def _read(path: Path, options: type) -> dict[str, Any]:
    """The options of a YAML file by field name; raises ConfigError, naming the option, for what no option can be."""
    try:
        lines = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {path}: {error}") from error
    if not isinstance(lines, dict):
        raise ConfigError(f"--config {path}: expected 'option: value' lines")
    kinds = dict(option_kinds(options))
    settings = {}
    for key, value in lines.items():
        name = str(key).replace("-", "_")
        if name not in kinds or name in NOT_IN_FILES:
            raise ConfigError(f"--config {path}: no option {key!r}; see --help")
        if isinstance(value, bool) != (kinds[name] is bool) or isinstance(value, dict):
            raise ConfigError(
                f"--config {path}: {key} is {value!r}, expected {'true or false' if kinds[name] is bool else 'a value'}"
            )
        settings[name] = value
    return settings


def option_kinds(options: type) -> Iterator[tuple[str, Any]]:
    """Name and type of every option, those of groups included."""
    for name, kind in get_type_hints(options).items():
        if dataclasses.is_dataclass(kind):
            yield from option_kinds(kind)  # type: ignore[arg-type]
        else:
            yield name, kind


def _words(name: str, value: object) -> list[str]:
    """An option of the file as words of a command."""
    flag = "--" + name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]
