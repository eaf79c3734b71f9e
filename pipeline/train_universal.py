"""The job that learns universal perturbations for ``ray submit`` and ``ray job submit``: ``disrupt universal``, in one process."""

from __future__ import annotations

import sys

from pipeline.cli import run_verb


def main() -> int:
    """Parse and run; returns the exit code."""
    return run_verb("universal", sys.argv[1:], prog="train_universal.py")


if __name__ == "__main__":
    sys.exit(main())
