"""The training job: the plain loop on one machine, the same as ``python -m pipeline.training.loop``."""

from __future__ import annotations

from pipeline.training.loop import main

if __name__ == "__main__":
    main()
