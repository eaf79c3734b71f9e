"""The pool of earlier outputs, shared by two processes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from tests.slow import pool_worker


def test_two_workers_hold_the_pool_of_one(tmp_path: Path) -> None:
    spawn(pool_worker.work, args=(str(tmp_path),), nprocs=2)
    shown, pool = pool_worker.exchanged(0, 1)
    for rank in range(2):
        worker = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(worker["images"], pool.images)
        assert torch.equal(worker["filled"], pool.filled)
        assert torch.equal(worker["shown"], shown[:, 2 * rank : 2 * rank + 2])
