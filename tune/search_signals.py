"""The search job for ``ray submit`` and ``ray job submit``: ``disrupt tune``."""

from __future__ import annotations

import sys

from pipeline.cli import run_verb


def main() -> int:
    """Parse and run; returns the exit code."""
    return run_verb("tune", sys.argv[1:], prog="search_signals.py")


if __name__ == "__main__":
    sys.exit(main())
