"""The detection in a for-loop: the same stages in one process, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.containers.listing import PhotoRef
from pipeline.detection.detect import Detect
from pipeline.detection.look import Sight, look
from pipeline.detection.options import DetectConfig
from pipeline.detection.row import DetectionRow


def detect_locally(shards: Iterable[list[PhotoRef]], config: DetectConfig, sight: Sight) -> Iterator[list[DetectionRow]]:
    """Judge picture by picture in this process; yields the rows of each."""
    detect = Detect(config)
    for refs in shards:
        for ref in refs:
            yield detect(look([ref], sight))
