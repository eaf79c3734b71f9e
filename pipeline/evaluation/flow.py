"""What happens to pairs of files, top to bottom. `pipeline.jobs.stages` folds this list in a loop or on Ray.

shard of pairs                references only
  -> look                     both files decoded, compared, through the channels, as small as the generators see them
  -> measure (holds the generators)   rows
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline.evaluation.look import look
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import EvaluationRow
from pipeline.jobs.stages import ActorStage, TaskStage


def evaluate_stages(config: EvaluateConfig, sizes: Sequence[int]) -> list[TaskStage | ActorStage]:
    """The stages of an evaluation; ``sizes`` are the native sides of the generators."""
    measure = partial(Measure, config, threads=config.compute.threads)
    return [TaskStage("look", partial(look, config=config, sizes=tuple(sizes))), ActorStage("measure", measure)]


def fail(pair: Pair, stage: str, reason: str) -> list[EvaluationRow]:
    """The row of a pair that killed its process."""
    protected = pair.protected.key if pair.protected else None
    return [EvaluationRow(key=pair.key, protected=protected, status="failed", stage=stage, reason=reason)]
