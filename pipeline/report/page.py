"""Reports as one HTML file each: no scripts, nothing loaded from anywhere, readable offline."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, FunctionLoader, StrictUndefined

from pipeline.report.outcome import number

MAX_REASONS = 100


def template(name: str) -> Any:
    """A page of this package to be filled in; every text is escaped, and what is not given is an error."""
    load = FunctionLoader(lambda wanted: files("pipeline.report").joinpath(wanted).read_text(encoding="utf-8"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=load)
    environment.filters |= {"number": number, "picture": _data_uri, "size": size}
    return environment.get_template(name)


def as_yaml(config: Mapping[str, Any]) -> str:
    """Options as YAML, paths and the like as text."""
    return yaml.safe_dump(json.loads(json.dumps(dict(config), default=str)), sort_keys=False, allow_unicode=True)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def size(count: int) -> str:
    """Bytes for people: ``12.3 MB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
