"""Options from a YAML file: one `option: value` a line, each checked against the type of the option."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from pipeline.protection.options import ConfigError

OWN_NAME = "config"  # the option that names the file; a file does not name another
_PLAIN: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def read_settings(path: Path, options: type) -> dict[str, object]:
    """The options of a dataclass that a YAML file sets, by field name and in the field's type.

    Raises ConfigError, naming the line's option, for a file that cannot be read, an unknown option, or a value of another type.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {path}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"--config {path}: expected 'option: value' lines")
    types = get_type_hints(options)
    settings: dict[str, object] = {}
    for key, value in found.items():
        name = str(key).replace("-", "_")
        if name not in types or name == OWN_NAME:
            raise ConfigError(f"--config {path}: no option {key!r}; see --help")
        try:
            settings[name] = _as(types[name], value)
        except TypeError:
            raise ConfigError(f"--config {path}: {key} is {value!r}, expected {_expected(types[name])}") from None
    return settings


def _as(kind: Any, value: object) -> object:
    """The value in the type of an option; raises TypeError when it is of another."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal and value in inner and isinstance(value, str):
        return value
    if origin in (Union, UnionType):
        return None if value is None else _as(inner[0], value)
    if origin is tuple:
        return tuple(_as(inner[0], one) for one in (value if isinstance(value, list) else [value]))
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise TypeError(value)


def _expected(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return _expected(inner[0])
    if origin is tuple:
        return f"{_expected(inner[0])} or a list of such"
    return _PLAIN[kind]
