"""The evaluation on Ray Data, top to bottom.

pairs                     one row a shard: references only
  -> look    (CPU tasks)  both files decoded, compared, through the channels, as small as the generators see them
  -> measure (actors, each with the generators, GPU or CPU)   rows, streamed to the driver
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Sequence
from functools import partial

from pipeline.evaluation.look import look
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow
from pipeline.jobs.ray_data import set_up_ray_data
from pipeline.protection.flow import Batch, bytes_column, check_cluster, in_actors, in_tasks, source, streamed
from pipeline.protection.options import absolute_weights

AFTER_DEATH = "(fewer --actors, smaller --max-megapixels): {reason}"


def evaluate_on_ray(shards: Sequence[list[Pair]], config: EvaluateConfig, sizes: Sequence[int]) -> Iterator[list[EvaluationRow]]:
    """Measure the shards on the connected Ray cluster; yields the rows of each, in any order.

    Raises ConfigError when the cluster cannot hold the actors that are asked for, FlowError when processes die again and again.
    """
    check_cluster(config, config.threads)
    set_up_ray_data(ordered=False)
    config = dataclasses.replace(config, weights=absolute_weights(config.weights))
    pairs = source([{"pairs": pickle.dumps(shard)} for shard in shards])
    seen = in_tasks(pairs, partial(_look, config=config, sizes=tuple(sizes)))
    yield from streamed(in_actors(seen, _MeasureActor, {"config": config}, config, config.threads), "measuring", AFTER_DEATH)


def _look(batch: Batch, *, config: EvaluateConfig, sizes: tuple[int, ...]) -> Batch:
    looked = look(pickle.loads(batch["pairs"][0]), config, sizes)
    return {"looked": bytes_column(pickle.dumps(looked, protocol=pickle.HIGHEST_PROTOCOL))}


class _MeasureActor:
    def __init__(self, *, config: EvaluateConfig) -> None:
        self._measure = Measure(config, threads=config.threads)

    def __call__(self, batch: Batch) -> Batch:
        return {"rows": bytes_column(pickle.dumps(self._measure(pickle.loads(batch["looked"][0]))))}
