"""The attack table: FGSM, I-FGSM and PGD on held-out faces, counted on the written files.

``python tests/bench/attacks.py FACES`` where FACES holds labels.csv (columns file, split); only rows of split ``test`` are used.
Prints Markdown: L1, L2, % disrupted over all (photo, class) samples, and the quality of the protected files.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.jobs.options import DEFAULT_GENERATOR
from pipeline.protection.summary import summarise
from tests.verbs import protect

RECIPES = ("fgsm", "ifgsm", "pgd")


def held_out_table(faces: Path, to: Path, *, licence: str | None, limit: int | None) -> int:
    """Write a table of the test photos that ``disrupt protect`` takes; returns how many."""
    with (faces / "labels.csv").open(newline="", encoding="utf-8") as handle:
        names = [r["file"] for r in csv.DictReader(handle) if r["split"] == "test" and licence in (None, r["licence"])][:limit]
    lines = ["path,key", *(f"{(faces / name).resolve()},{name}" for name in names)]
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(names)


def main() -> None:
    """Run the recipes and print the table."""
    parser = argparse.ArgumentParser(description="FGSM, I-FGSM and PGD on held-out faces.")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--epsilon", type=int, nargs="+", default=[6], help="levels")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--licence", default=None, help="only rows with this licence")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--generator", nargs="+", default=[DEFAULT_GENERATOR])
    a = parser.parse_args()
    lines = ["| recipe | epsilon | photos | L1 | L2 | % dis. | PSNR dB (min) | SSIM |", "| --- " * 8 + "|"]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "held_out.csv"
        count = held_out_table(a.faces, table, licence=a.licence, limit=a.limit)
        for recipe in a.recipes:
            for epsilon in a.epsilon:
                out = Path(folder) / f"{recipe}-{epsilon}"
                flags = ["--recipe", recipe, "--epsilon", str(epsilon), "--region", "square", "--examples", "0"]
                flags += ["--no-tracking", "--engine", "local"]
                code = protect([str(table), str(out), *flags, "--generator", *a.generator])
                if code not in (0, 1):
                    sys.exit(code)
                s = summarise(pq.read_table(out / "manifest.parquet"))
                effect = f"{s.everything.l1:.3f} | {s.everything.l2:.3f} | {100 * s.everything.disrupted:.1f}"
                quality = f"{s.psnr_mean:.1f} ({s.psnr_min:.1f}) | {s.ssim_mean:.3f}"
                lines.append(f"| {recipe} | {epsilon} | {count} | {effect} | {quality} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
