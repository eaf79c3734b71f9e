"""What happens to pairs of files, top to bottom. `pipeline.jobs.parts` folds this list in a loop here or in an actor on Ray.

part of the plan              references only; of containers, their photos one by one
  -> look                     both files decoded, compared, through the channels, as small as the generators see them
  -> measure (holds the generators)   rows
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from pipeline.evaluation.inside import pairs_of_part
from pipeline.evaluation.look import look
from pipeline.evaluation.measures import Measure
from pipeline.evaluation.options import EvaluateConfig
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.row import ORDER, EvaluationRow, as_table, evaluation_schema, outcomes
from pipeline.evaluation.sums import sums_of
from pipeline.jobs.parts import PartJob, Stage, same
from pipeline.storage import Folder

TOGETHER = 16
"""Pairs that are measured together on a GPU."""


def evaluate_stages(config: EvaluateConfig, sizes: Sequence[int]) -> tuple[Stage, ...]:
    """The stages of an evaluation; ``sizes`` are the native sides of the generators."""
    return (
        Stage("look", partial(same, partial(look, config=config, sizes=tuple(sizes)))),
        Stage("measure", partial(Measure, config, threads=config.compute.threads)),
    )


def part_job(config: EvaluateConfig, sizes: Sequence[int], folder: Folder) -> PartJob:
    """How the parts of an evaluation are done, in a work folder."""
    return PartJob(
        folder,
        evaluate_stages(config, sizes),
        photos=partial(pairs_of_part, config=config),
        died=fail,
        table=partial(_table, schema=evaluation_schema(identity=config.identity)),
        order=ORDER,
        sums=sums_of,
        outcomes=outcomes,
        batch=TOGETHER if config.compute.on_gpu else 1,
        threads=config.compute.threads,
    )


def fail(pair: Pair, stage: str, reason: str) -> list[EvaluationRow]:
    """The row of a pair that killed its process."""
    protected = pair.protected.key if pair.protected else None
    return [EvaluationRow(key=pair.key, protected=protected, status="failed", stage=stage, reason=reason)]


def _table(rows: Sequence[EvaluationRow], part: str, *, schema: pa.Schema) -> pa.Table:
    return as_table(rows, schema)
