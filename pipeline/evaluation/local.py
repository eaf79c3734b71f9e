"""The evaluation in a for-loop: the same stages in one process, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.evaluation.look import look
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow


def evaluate_locally(shards: Iterable[list[Pair]], config: EvaluateConfig, sizes: Sequence[int]) -> Iterator[list[EvaluationRow]]:
    """Measure shard by shard in this process; yields the rows of each."""
    measure = Measure(config, threads=config.compute.threads)
    for pairs in shards:
        for pair in pairs:  # one at a time, so that only one is in memory as pixels
            yield measure(look([pair], config, sizes))
