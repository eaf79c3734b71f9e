"""The evaluation job for ``ray submit`` and ``ray job submit``: the same as ``disrupt evaluate``, on Ray unless told otherwise."""

from __future__ import annotations

import sys

from pipeline.cli import evaluate


def main() -> int:
    """Parse and run; returns the exit code."""
    return evaluate(sys.argv[1:], prog="evaluate_dataset.py", engine="ray")


if __name__ == "__main__":
    sys.exit(main())
