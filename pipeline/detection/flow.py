"""The detection on Ray Data, top to bottom.

refs                     one row a shard: references only
  -> look   (CPU tasks)  pictures decoded, upright, as small as the detector sees them
  -> detect (actors, each with the detector, GPU or CPU)   rows, streamed to the driver
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Sequence
from functools import partial

from pipeline.containers.listing import PhotoRef
from pipeline.detection.detect import Detect
from pipeline.detection.look import Sight, look
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import DetectionRow
from pipeline.jobs.ray_data import set_up_ray_data
from pipeline.protection.flow import Batch, bytes_column, check_cluster, in_actors, in_tasks, source, streamed
from pipeline.signals.bundle import place_of

AFTER_DEATH = "(fewer --actors, smaller --max-megapixels): {reason}"


def detect_on_ray(shards: Sequence[list[PhotoRef]], config: DetectConfig, sight: Sight) -> Iterator[list[DetectionRow]]:
    """Judge the shards on the connected Ray cluster; yields the rows of each, in any order.

    Raises ConfigError when the cluster cannot hold the actors that are asked for, FlowError when processes die again and again.
    """
    check_cluster(config, config.threads)
    set_up_ray_data(ordered=False)
    # Workers may run in another folder than this process. The secret stays here.
    config = dataclasses.replace(config, signals=place_of(config.signals).absolute(), key_file=None)
    seen = in_tasks(source([{"refs": pickle.dumps(shard)} for shard in shards]), partial(_look, sight=sight))
    yield from streamed(in_actors(seen, _DetectActor, {"config": config}, config, config.threads), "judging", AFTER_DEATH)


def _look(batch: Batch, *, sight: Sight) -> Batch:
    looked = look(pickle.loads(batch["refs"][0]), sight)
    return {"looked": bytes_column(pickle.dumps(looked, protocol=pickle.HIGHEST_PROTOCOL))}


class _DetectActor:
    def __init__(self, *, config: DetectConfig) -> None:
        self._detect = Detect(config)

    def __call__(self, batch: Batch) -> Batch:
        return {"rows": bytes_column(pickle.dumps(self._detect(pickle.loads(batch["looked"][0]))))}
