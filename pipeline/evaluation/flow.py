"""The evaluation on Ray Data, top to bottom.

pairs                     one row a shard: references only
  -> look    (CPU tasks)  both files decoded, compared, through the channels, as small as the generators see them
  -> measure (actors, each with the generators, GPU or CPU)   rows, streamed to the driver
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

from pipeline.evaluation.look import look
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow
from pipeline.jobs.options import absolute_weights
from pipeline.jobs.ray_data import TaskStage, actor_stage, run_stages


def evaluate_on_ray(shards: Sequence[list[Pair]], config: EvaluateConfig, sizes: Sequence[int]) -> Iterator[list[EvaluationRow]]:
    """Measure the shards on the connected Ray cluster; yields the rows of each, in any order.

    Raises FlowError when processes die over all photos.
    """
    config = dataclasses.replace(config, weights=absolute_weights(config.weights))
    looking = TaskStage("look", partial(look, config=config, sizes=tuple(sizes)))
    measuring = actor_stage("measure", partial(Measure, config, threads=config.compute.threads), config.compute)
    yield from run_stages(shards, [looking, measuring], _fail)


def _fail(pair: Pair, stage: str, reason: str) -> list[EvaluationRow]:
    protected = pair.protected.key if pair.protected else None
    return [EvaluationRow(key=pair.key, protected=protected, status="failed", stage=stage, reason=reason)]
