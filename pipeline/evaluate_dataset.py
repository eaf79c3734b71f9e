"""The evaluation job for ``ray submit`` and ``ray job submit``: the same as ``disrupt evaluate``, on Ray unless told otherwise."""

from __future__ import annotations

import sys

from pipeline.cli import run_verb


def main() -> int:
    """Parse and run; returns the exit code."""
    return run_verb("evaluate", sys.argv[1:], prog="evaluate_dataset.py", defaults=["--engine", "ray"])


if __name__ == "__main__":
    sys.exit(main())
