"""The training job for ``ray submit`` and ``ray job submit``: ``disrupt train``, on Ray with one worker unless told otherwise."""

from __future__ import annotations

import sys

from pipeline.cli import train


def main() -> int:
    """Parse and run; returns the exit code."""
    return train(sys.argv[1:], prog="train_generator.py", workers=1)


if __name__ == "__main__":
    sys.exit(main())
