"""Which stage changes the pixels of a run. What needs torch is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Work
from pipeline.protection.stages.sign import Sign, Signer

Stage = Callable[[Sequence[Work]], list[Work]]
"""Photos in; the same inputs with changed pixels out, in the same order."""


def chosen_stage(config: ProtectConfig, signer: Signer | None, *, threads: int) -> Stage:
    """The stage of a run: the signal alone with --recipe none, else the disruption of ``threads`` CPU threads, signal included."""
    if signer is not None and not config.disrupts():
        return Sign(signer)
    from pipeline.protection.stages.disrupt import Protect

    return Protect(config, threads=threads, signer=signer)
