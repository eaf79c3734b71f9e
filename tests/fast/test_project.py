"""The layout and who may import whom, read from the imports; and that no file names a place that only one machine has."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import pipeline

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pipeline"

TORCH_FREE = (
    "photos",
    "channels",
    "ledger",
    "containers",
    "report",
    "storage",
    "jobs.options",
    "jobs.tracking",
    "jobs.parts",
    *(f"images.{name}" for name in ("types", "levels", "orientation", "quality")),
    *(f"signals.{name}" for name in ("add", "bundle", "key")),
    *(f"universal.{name}" for name in ("add", "bundle")),
    *(f"{verb}.{name}" for verb in ("protection", "evaluation", "detection") for name in ("row", "summary", "report")),
    *(
        "protection.options",
        "learning.options",
        "evaluation.pairs",
        "evaluation.bootstrap",
        "detection.options",
        "detection.decide",
    ),
)
RAY_FREE = (
    *TORCH_FREE,
    *(
        "generators",
        "disruption",
        "images",
        "signals",
        "universal",
        "training",
        "learning",
        "jobs.samples",
        "jobs.settings",
        "jobs.doctor",
    ),
    *("protection.stages", "protection.flow", "evaluation.flow", "detection.stages"),
)
ON_RAY = {"pipeline.training.driver", "pipeline.training.feed", "pipeline.training.run"}
"""The modules of Ray-free packages that lead to Ray; run imports the driver when workers are asked for."""
ONLY = {
    "ray": {
        "pipeline.jobs.ray_data",
        "pipeline.jobs.ray",
        "pipeline.jobs.room",
        "pipeline.training.driver",
        "pipeline.training.feed",
        "tune.search",
    },
    "ray.data": {"pipeline.jobs.ray_data", "pipeline.training.feed"},
    "ray.train": {"pipeline.training.driver"},
    "mlflow": {"pipeline.jobs.tracking"},
    "ray.tune": {"tune.search"},
    "optuna": {"tune.search", "tune.space", "tune.trials"},
    "sklearn": {"pipeline.signals.measures"},
}
"""Who may import a library at all, also inside functions and for types only."""
SCRIPTS = (
    "pipeline.protect_dataset",
    "pipeline.evaluate_dataset",
    "pipeline.detect_dataset",
    "pipeline.train_generator",
    "pipeline.train_universal",
)
LAYERS: tuple[tuple[str, ...], ...] = (
    ("pipeline.tables",),
    (*SCRIPTS, "tune.search_signals"),
    ("pipeline.cli",),
    ("tune", "pipeline.learning"),
    ("pipeline.protection", "pipeline.evaluation", "pipeline.detection", "pipeline.training"),
    ("pipeline.jobs",),
    ("pipeline.report", "pipeline.containers", "pipeline.ledger"),
    ("pipeline.universal",),
    ("pipeline.signals",),
    ("pipeline.disruption", "pipeline.generators", "pipeline.channels"),
    ("pipeline.photos",),
    ("pipeline.images", "pipeline.storage"),
    ("pipeline.s3",),
    ("pipeline",),
)
"""Rooms from the top down. A module knows its own room and rooms of lower layers; modules do not import each other in a circle."""
MOST_LOOSE = 9
"""Modules that lie in pipeline/ itself, at most."""


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it; `from a import b` counts as a.b, which may be a module or a name in one."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def graph() -> Mapping[str, frozenset[str]]:
    """The imports of each module of both packages."""
    files = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tune").rglob("*.py")])
    return {module_name(file): frozenset(imports(file)) for file in files}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def modules_of(part: str) -> list[str]:
    found = [module for module in graph() if within(module, f"pipeline.{part}")]
    assert found, f"pipeline/{part} is gone; mend this test"
    return found


def reached_from(module: str) -> set[str]:
    """Every module of the project and every library that importing `module` can bring in."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        parents = [name.rsplit(".", cut)[0] for cut in range(1, name.count(".") + 1)]
        for known in {name, *parents} - seen:
            seen.add(known)
            waiting += graph().get(known, ())
    return seen


@pytest.mark.parametrize(("parts", "library"), [(TORCH_FREE, "torch"), (RAY_FREE, "ray")])
def test_what_is_to_run_without_a_library_never_reaches_it(parts: tuple[str, ...], library: str) -> None:
    reach = {module: reached_from(module) for part in parts for module in modules_of(part) if module not in ON_RAY}
    assert [module for module, names in reach.items() if any(within(name, library) for name in names)] == []


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_imported_only_at_its_edge(library: str) -> None:
    users = {module for module, names in graph().items() if any(within(name, library) for name in names)}
    assert users == ONLY[library], f"{library} is imported by {sorted(users)}"


def test_the_search_knows_the_pipeline_and_of_the_pipeline_only_the_command_line_knows_the_search() -> None:
    users = {module for module, names in graph().items() if any(within(name, "tune") for name in names)}
    assert {module for module in users if within(module, "pipeline")} <= {"pipeline.cli"}
    on_ray = {"tune.search", "tune.run", "tune.search_signals"}
    trials = [module for module in graph() if within(module, "tune") and module not in on_ray]
    assert "tune.objective" in trials
    assert [module for module in trials if any(within(name, "ray") for name in reached_from(module))] == []


def room_of(module: str) -> tuple[int, str]:
    """The layer of a module, counted from the top, and its room: the longest name in LAYERS that it lies in."""
    rooms = [(depth, room) for depth, layer in enumerate(LAYERS) for room in layer if within(module, room)]
    return max(rooms, key=lambda entry: len(entry[1]))


def arrows(imported: Mapping[str, frozenset[str]]) -> dict[str, set[str]]:
    """The modules of the project that each module imports."""
    longest = {
        name: max((known for known in imported if within(name, known)), key=len, default="")
        for names in imported.values()
        for name in names
    }
    return {module: {longest[name] for name in names} - {module, ""} for module, names in imported.items()}


def wrong_arrows(imported: Mapping[str, frozenset[str]]) -> list[str]:
    """Imports that go up or sideways, and circles of modules."""
    known = arrows(imported)
    wrong = [
        f"{a} -> {b}"
        for a, targets in known.items()
        for b in targets
        if room_of(a) != room_of(b) and room_of(a)[0] >= room_of(b)[0]
    ]
    try:
        list(TopologicalSorter(known).static_order())
    except CycleError as error:
        wrong.append("circle: " + " -> ".join(error.args[1]))
    return wrong


def test_imports_only_go_down_and_never_in_circles() -> None:
    assert wrong_arrows(graph()) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pipeline.images.levels", "pipeline.jobs.options.Compute"),
        ("pipeline.detection.run", "pipeline.protection.run.run_protect"),
        ("pipeline.jobs.options", "pipeline.cli.VERBS"),
        ("pipeline.training.loop", "pipeline.tables.page.write"),
        ("pipeline.storage", "pipeline.ledger.run.open_run"),
        ("pipeline.protection.job", "pipeline.protection.run.run_protect"),
        ("pipeline.training.run", "tune.space.PARAMETERS"),
    ],
)
def test_a_planted_import_that_goes_up_sideways_or_round_is_found(module: str, name: str) -> None:
    planted = dict(graph()) | {module: graph()[module] | {name}}
    assert wrong_arrows(planted) != []


def test_every_room_is_there_and_few_modules_are_loose() -> None:
    assert {room_of(module)[1] for module in graph()} == {room for layer in LAYERS for room in layer}
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_LOOSE


def test_what_the_program_can_do_is_shown_without_waiting_for_torch() -> None:
    program = (
        "import sys; from pipeline.cli import VERBS, main\n"
        "for words in (['--help'], ['--version'], *([verb, '--help'] for verb in VERBS if verb != 'doctor')):\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code == 0, words\n"
        "    assert {'torch', 'ray', 'mlflow'}.isdisjoint(sys.modules), words"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_no_module_of_the_package_hides_a_library_from_scripts_that_run_inside_it() -> None:
    paths = [*PACKAGE.iterdir(), *(ROOT / "tune").iterdir()]
    ours = {path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert ours.isdisjoint(sys.stdlib_module_names)
    assert ours.isdisjoint(packages_distributions())


def test_no_folder_of_the_project_hides_a_library() -> None:
    assert list((ROOT / "mlflow").rglob("*.py")) == []
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert "pipeline" in packages
    installed = packages_distributions()
    assert [name for name in packages if set(installed.get(name, [])) - {"disrupt"}] == []


def test_the_version_is_one_number_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == pipeline.__version__
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_the_unchanged_apache_licence() -> None:
    lines = (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines[1:4]] == [
        "Apache License",
        "Version 2.0, January 2004",
        "http://www.apache.org/licenses/",
    ]
    assert len(lines) == 202
    assert lines[-1].strip() == "limitations under the License."


OF_THIS_MACHINE = (
    "/wo" + "rk/",
    "/opt/py" + "pi",
    "/opt/wh" + "eels",
    "py" + "pi.org",
    "python" + "hosted.org",
    "download.py" + "torch.org",
)
NOT_OURS = {".git", ".venv", "build", "dist", "demo", "mlruns", "mlartifacts", "__pycache__"}


def own_texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file of the project; what tools leave behind is passed over."""
    open_folders = [ROOT]
    while open_folders:
        for path in open_folders.pop().iterdir():
            if path.is_dir():
                is_tools = path.name in NOT_OURS or path.name.endswith((".egg-info", "_cache")) or path.name == ".hypothesis"
                open_folders += [] if is_tools or path.is_symlink() else [path]
            elif path.suffix not in {".safetensors", ".db", ".png", ".jpg", ".pyc"}:
                yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    texts = dict(own_texts())
    assert {"README.md", ".ci/run", "pipeline/cli.py"} <= texts.keys()
    assert [(name, place) for name, text in texts.items() for place in OF_THIS_MACHINE if place in text] == []


def test_make_bench_runs_only_scripts_that_need_no_words() -> None:
    (line,) = re.findall(r"^BENCHES := .*", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    scripts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/bench").glob("*.py")}
    need_words = {name for name, text in scripts.items() if re.search(r'add_argument\("[a-z]|add_subparsers|sys\.argv\[1\]', text)}
    assert need_words
    assert {name for name in need_words if f"tests/bench/{name}" not in line} == set()
