"""Every command that the pages show runs as written: page by page, in order, from another folder, with relative paths.

A command that is in neither table below fails: `SMALL` has the flags that cut it to seconds, `NOT_RUN` why it is not run here.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from PIL import Image

from pipeline.cli import main
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.generators.ganimation import GANimationGenerator
from pipeline.generators.stargan import StarGANGenerator
from tests.fast.tiny import photo_bytes, picture
from tests.fast.training.few_faces import write_faces

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "cluster/README.md", "mlflow/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LIBRARIES = [
    "torch",
    "mlflow.store.tracking.sqlalchemy_store",
    "ray.data",
    "ray.train.torch",
    "ray.tune",
    "sklearn.metrics",
    "matplotlib.pyplot",
]
"""What every command would load anew, a second each."""
LANGUAGES = {"", "python", "csv", "yaml", "json"}
"""Of fenced blocks; those without one hold commands."""
FEW = "--limit 1 --steps 4 --epsilon 20 --examples 0"
NARROW = "--steps 1 --conv-dim 4 --d-conv-dim 4 --batch 2 --grid-every 0"
SMALL_SIGNALS = "--steps 1 --batch 2 --size 32 --d-conv-dim 8 --generator stargan-faces --survive none"

SMALL = {
    "disrupt doctor": "",
    "disrupt protect": FEW,
    "disrupt protect photos protected": "--limit 2 --steps 4 --epsilon 20",
    "disrupt protect photos protected --actors": f"{FEW} --actors 1 --address RAY",
    "disrupt protect photos scaled": f"{FEW} --actors 1 --address RAY",
    "disrupt protect photos signed": "--examples 0",
    "disrupt protect shards": "--steps 4 --examples 0",
    "disrupt protect 'shards": "--steps 4 --examples 0",
    "disrupt protect photos out": FEW,
    "disrupt protect photos out4": FEW,
    "disrupt protect photos out5": FEW,
    "disrupt protect photos crops": "--limit 1 --steps 20 --epsilon 20 --examples 0",
    "disrupt protect photos lines": "--limit 1 --steps 20 --examples 0",
    "disrupt protect photos looks": "--limit 1 --steps 4",
    "disrupt protect photos good": "--limit 1 --steps 20 --epsilon 20 --examples 0",
    "disrupt protect photos sure": "--limit 1 --steps 20 --epsilon 20 --min-ssim 0.5 --examples 0",
    "disrupt protect photos masked": "--limit 1 --steps 20 --epsilon 20 --examples 0",
    "disrupt evaluate": "--limit 1 --classes Male --bootstrap 0",
    "disrupt evaluate photos protected --generator": "--limit 1 --classes Male happy --bootstrap 0",
    "disrupt evaluate photos protected --actors": "--limit 1 --classes Male --bootstrap 0 --actors 1 --address RAY",
    "disrupt detect": "",
    "disrupt detect protected": "--actors 1 --address RAY",
    "disrupt train samples": NARROW,
    "disrupt train FACES": NARROW,
    "disrupt train FACES hard": f"{NARROW} --attack-steps 1",
    "disrupt train FACES spread": f"{NARROW} --workers 1 --address RAY",
    "disrupt train FACES strong": SMALL_SIGNALS,
    "disrupt train FACES signals": SMALL_SIGNALS,
    "disrupt train faces.parquet": NARROW,
    "disrupt train HORSES": NARROW,
    "disrupt train SCENES": NARROW,
    "disrupt universal FACES": "--steps 2 --batch 2 --held-out 2 --examples 0",
    "disrupt tune": f"{SMALL_SIGNALS} --trials 1 --grace 1 --every 1 --photos 2 --final-steps 0 --address RAY",
    "head": "",
    "mlflow run": "",
}
"""The start of a command, and the flags that are added to it; the longest start counts. RAY is the address of this test's Ray."""

EXIT_CODES = {"disrupt protect photos out4": 1}
"""Where the page says that it is not 0."""

NOT_RUN = {
    "make demo": "installs; CI runs it",
    "make test": "is what runs this test",
    "pip install": "changes the environment that runs this test",
    "source .venv/bin/activate": "the environment is the one that runs this test",
    "disrupt protect s3://": "needs a cloud account",
    "aws ": "the same",
    "export AWS_ACCESS_KEY_ID": "the same",
    "disrupt protect photos out6": "needs the package vintagify, which no extra installs",
    "disrupt protect photos on-gpus": "needs two GPUs",
    "ray ": "needs machines: test_cluster_launcher.py runs ray up, submit, job submit, dashboard and down on SSH hosts",
    "export RAY_API_SERVER_ADDRESS": "the same",
    "export MLFLOW_TRACKING_URI": "needs Docker",
    "docker compose": "needs Docker",
    "cd mlflow/server": "needs Docker",
    "cp .env.example": "needs Docker",
}
"""The start of a command, and why it is not run."""


def commands(page: Path) -> list[str]:
    """The lines of the page's blocks without a language; comments are left out."""
    fences = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    unknown = {language for language, _ in fences} - LANGUAGES
    assert not unknown, f"{page}: blocks of commands name no language, others one of {LANGUAGES}; found {unknown}"
    lines = [re.sub(r"\s+#.*", "", line).strip() for language, text in fences if not language for line in text.splitlines()]
    return [line.removeprefix(".venv/bin/") for line in lines if line and not line.startswith("#")]


ALL = {page: found for page in PAGES if (found := commands(page))}


def longest(table: dict[str, str], command: str) -> str | None:
    """The longest start in ``table`` that the command has."""
    return max((start for start in table if command.startswith(start)), key=len, default=None)


def runnable(page: Path) -> list[tuple[str, str]]:
    """The commands of a page that are run, each with its start in `SMALL`."""
    return [(command, start) for command in ALL[page] if (start := longest(SMALL | NOT_RUN, command)) in SMALL]


RUNNABLE = [page for page in ALL if runnable(page)]


def test_every_command_is_run_or_the_test_says_why_not_and_no_line_of_the_tables_is_idle() -> None:
    every = [command for found in ALL.values() for command in found]
    assert [command for command in every if longest(SMALL | NOT_RUN, command) is None] == []
    assert set(SMALL | NOT_RUN) - {longest(SMALL | NOT_RUN, command) for command in every} == set()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands take, by the names that the pages give it."""
    folder = tmp_path_factory.mktemp("inputs")
    for i, name in enumerate(("photos/one.jpg", "photos/party/one.jpg", "pictures/two.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo_bytes(96, 80, seed=i))
    (folder / "shards").mkdir()
    for name in ("shard-000.tar", "shard-001.tar"):
        with tarfile.open(folder / "shards" / name, "w") as tar:
            tar.add(folder / "photos/one.jpg", "one.jpg")
    pq.write_table(pa.table({"image": [(folder / "photos/one.jpg").read_bytes()]}), folder / "shards.parquet")
    page = (ROOT / "docs/protect.md").read_text(encoding="utf-8")
    for language, name in (("csv", "faces.csv"), ("python", "my_generator.py")):
        (text,) = re.findall(rf"^ *```{language}\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    add_expressions(write_faces(folder / "FACES"))
    with (folder / "FACES" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [{"image": (folder / "FACES" / row["file"]).read_bytes(), **row} for row in csv.DictReader(file)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "faces.parquet")
    for name in ("HORSES/trainA", "HORSES/trainB", "SCENES/train_img"):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            picture(128, 64, seed=i).save(folder / name / f"{i}.png")
    for name in ("train_label", "train_inst"):
        (folder / "SCENES" / name).mkdir()
        for i in range(3):
            Image.fromarray(np.full((64, 128), i + 1, np.uint8)).save(folder / "SCENES" / name / f"{i}.png")
    torch.manual_seed(0)
    nets = {"200000-G.ckpt": StarGANGenerator(4, 5, 1), "net_epoch_30_id_G.pth": GANimationGenerator(4, 17, 1)}
    for name, net in (nets | {"horse2zebra.pth": CycleGANGenerator(4, blocks=1)}).items():
        for weight in net.parameters():
            weight.data *= 3  # steep enough to be disrupted
        torch.save(net.state_dict(), folder / name)
    shutil.copytree(ROOT / "mlflow", folder / "mlflow")
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    return folder


def add_expressions(faces: Path) -> None:
    """Adds what GANimation learns from to the table of labels; the last three rows are held out."""
    names = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
    with (faces / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row | {name: (i + k) % 2 for k, name in enumerate(names)} for i, row in enumerate(csv.DictReader(file))]
    rows[-3:] = [row | {"split": "val"} for row in rows[-3:]]
    with (faces / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_as_written(page: Path, inputs: Path, tmp_path: Path) -> None:
    small = runnable(page)
    folder = tmp_path / "work place"
    shutil.copytree(inputs, folder, symlinks=True)
    settings = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{inputs.parent / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    stands_for = {"RAY": ray.get_runtime_context().gcs_address}
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(LIBRARIES)
    for command, start in small:
        words = [stands_for.get(word, word.replace("/data/", f"{folder}/")) for word in shlex.split(f"{command} {SMALL[start]}")]
        log = tmp_path / "log.txt"
        if words[0] == "disrupt":
            process = processes.Process(target=call, args=(words[1:], folder, os.environ | settings, log))
            process.start()
            process.join()
            code: int | None = process.exitcode
        else:
            with log.open("w") as file:
                line = command if start == "head" else shlex.join(words)
                done = subprocess.run(
                    ["bash", "-c", line], cwd=folder, env=os.environ | settings, stdout=file, stderr=file, check=False
                )
                code = done.returncode
        assert code == EXIT_CODES.get(start, 0), f"{command}\n{log.read_text()}"


def call(words: list[str], folder: Path, settings: dict[str, str], log: Path) -> None:
    """``disrupt`` with these words in a process of its own, as the console script runs it."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    os.environ.update(settings)
    sys.path.insert(0, str(folder))
    sys.argv = ["disrupt", *words]
    main()
