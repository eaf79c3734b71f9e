"""The detection on Ray Data, top to bottom.

refs                     one row a shard: references only
  -> look   (CPU tasks)  pictures decoded, upright, as small as the detector sees them
  -> detect (actors, each with the detector, GPU or CPU)   rows, streamed to the driver
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

from pipeline.containers.listing import PhotoRef
from pipeline.detection.detect import Detect
from pipeline.detection.look import Sight, look
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import DetectionRow
from pipeline.jobs.ray_data import TaskStage, actor_stage, run_stages
from pipeline.signals.bundle import bundle_path


def detect_on_ray(shards: Sequence[list[PhotoRef]], config: DetectConfig, sight: Sight) -> Iterator[list[DetectionRow]]:
    """Judge the shards on the connected Ray cluster; yields the rows of each, in any order.

    Raises FlowError when processes die over all pictures.
    """
    # Workers may run in another folder than this process. The secret stays here.
    config = dataclasses.replace(config, signals=bundle_path(config.signals).absolute(), key_file=None)
    looking = TaskStage("look", partial(look, sight=sight))
    detecting = actor_stage("detect", partial(Detect, config), config.compute)
    yield from run_stages(shards, [looking, detecting], _fail)


def _fail(ref: PhotoRef, stage: str, reason: str) -> list[DetectionRow]:
    return [DetectionRow(key=ref.key, status="failed", stage=stage, reason=reason)]
