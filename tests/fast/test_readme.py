"""What README.md and docs tell a user to type exists and works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.cli import VERBS
from pipeline.disruption.recipes import RECIPES
from pipeline.jobs.settings import option_kinds
from tests.verbs import protect

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "cluster/README.md", ROOT / "mlflow/README.md"]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
MOST_BYTES = 10_000
"""Of README.md: it is read at one go."""
CONFIGS = [resolve_name(verb.options) for verb in VERBS.values()]


def blocks(language: str) -> list[str]:
    """The fenced blocks of README and docs in one language ("" for none)."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == language]


def command_lines() -> list[list[str]]:
    lines = [line.strip() for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_a_page_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"`(make [^`]*)`", text) + re.findall(r"^(make [^#\n]*)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) | set(
        re.findall(r"^TABLES := (.*)$", makefile, re.M)[0].split()
    )
    named = {word for line in code.splitlines() for word in line.split()[1:] if "=" not in word}
    assert named <= targets, sorted(named - targets)


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= MOST_BYTES


def test_the_pages_name_every_make_target_that_make_lists() -> None:
    text = TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {target for target in listed if f"`make {target}`" not in text and f"make {target} " not in text} == {"help"}


def test_every_verb_that_the_pages_name_exists_and_every_verb_is_named() -> None:
    assert set(re.findall(r"\bdisrupt ([a-z]+)\b", "\n".join(blocks("") + re.findall(r"`([^`\n]+)`", TEXT)))) == set(VERBS)


def test_every_option_that_the_pages_name_exists() -> None:
    options = {f"--{name.replace('_', '-')}" for kind in CONFIGS for name, _ in option_kinds(kind)}
    options |= {"--no-tracking", "--config", "--help"}
    elsewhere = {"--working-dir", "--backend-store-uri", "--strict"}
    lines = [" ".join(words) for words in command_lines() if words[0].endswith("disrupt") or words[0] == "ray"]
    named = set(re.findall(r"(?<!\w)--[a-z][a-z-]+", "\n".join(lines + re.findall(r"`(?!python tests/)([^`\n]+)`", TEXT))))
    assert named - elsewhere <= options, sorted(named - elsewhere - options)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_page_links_or_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []
    files = re.findall(r"\b(?:pipeline|tune|cluster|tests|mlflow)/[\w./-]+\.\w+", text)
    assert [name for name in files if not (document.parent / name).exists() and not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *sorted(ROOT.glob("docs/tables/*.md"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_anchor_that_a_page_links_is_a_heading(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
    assert [(page, name) for page, name in links if name not in headings(document.parent / page if page else document)] == []


def headings(page: Path) -> set[str]:
    """The anchors that a page has."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_table_of_recipes_is_complete() -> None:
    table = TEXT.partition("## Recipes")[2].partition("\n## ")[0]
    assert set(re.findall(r"`([a-z-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))) == RECIPES.keys()


def test_the_generator_in_the_docs_protects_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = blocks("python")
    (tmp_path / "my_generator.py").write_text(sample, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / "one.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = ["--engine", "local", "--threads", "1", "--steps", "3", "--no-tracking", "--examples", "0", "--epsilon", "40"]
    assert protect(["photos", "out", "--generator", "my_generator:build", *options]) in (0, 1)
    (row,) = pq.read_table("out/manifest.parquet").to_pylist()
    assert row["classes"] == ["warm", "cold"]
    assert row["moved"]
    assert 0 < row["linf_levels"] <= 40


def test_every_function_of_the_walk_is_where_the_walk_says_and_the_walk_has_at_most_ten_steps() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## From `disrupt protect`")[2].partition("\n## ")[0]
    steps = re.findall(r"^\| \d+ \| `([\w/]+\.py)` `(\w+)` \|", text, re.MULTILINE)
    assert 5 <= len(steps) <= 10
    for file, name in steps:
        assert re.search(rf"^(?:def|class) {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (file, name)
