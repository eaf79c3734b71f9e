"""The training job for ``ray submit`` and ``ray job submit``: ``disrupt train``, on Ray with one worker unless told otherwise."""

from __future__ import annotations

import sys

from pipeline.cli import run_verb


def main() -> int:
    """Parse and run; returns the exit code."""
    return run_verb("train", sys.argv[1:], prog="train_generator.py", defaults=["--workers", "1"])


if __name__ == "__main__":
    sys.exit(main())
