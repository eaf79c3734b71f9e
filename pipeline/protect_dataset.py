"""The protect job for ``ray submit`` and ``ray job submit``: the same as ``disrupt protect``, on Ray unless told otherwise."""

from __future__ import annotations

import sys

from pipeline.cli import run_verb


def main() -> int:
    """Parse and run; returns the exit code."""
    return run_verb("protect", sys.argv[1:], prog="protect_dataset.py", defaults=["--engine", "ray"])


if __name__ == "__main__":
    sys.exit(main())
