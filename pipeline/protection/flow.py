"""The protect flow on Ray Data, top to bottom.

    shards {id, works}                       one row a micro-shard: references only
      -> read    (CPU tasks)                 file bytes and decoded pixels
      -> protect (actors, each with the generators, GPU or CPU)   protected pixels, effect; or a signal alone, without generators
      -> write   (CPU tasks)                 files written and verified, part committed
      -> rows                                what became of each input, streamed to the driver

A shard crosses the object store twice: decoded on its way to an actor, protected (with the file bytes, not the old pixels) on its
way to be written.
"""

from __future__ import annotations

import dataclasses
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset
from ray.util.annotations import RayDeprecationWarning

from pipeline.jobs.compute import Compute
from pipeline.jobs.interrupt import heeded
from pipeline.jobs.ray_data import set_up_ray_data
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.schema import ManifestRow
from pipeline.protection.options import REFERENCES, ConfigError, ProtectConfig, absolute_weights
from pipeline.protection.row import Work
from pipeline.protection.stages.choose import chosen_stage
from pipeline.protection.stages.read import read_photos
from pipeline.protection.stages.sign import Signer
from pipeline.protection.stages.write import Destination, write_shard
from pipeline.storage import open_storage

RESTARTS, RETRIES = 4, 2
"""How often an actor that died is started again, and how often a shard is tried again after its actor died."""
AFTER_DEATH = "(fewer --actors, smaller --shard-count or --max-megapixels): {reason}. What is done is kept."
Batch = Any
"""A dict of columns; Ray's own annotations of batches do not fit plain dicts."""


def protect_on_ray(
    shards: Sequence[tuple[str, list[Work]]], config: ProtectConfig, to: Destination, *, threads: int, signer: Signer | None = None
) -> Iterator[list[ManifestRow]]:
    """Protect the shards on the connected Ray cluster; yields the rows of each as soon as they are committed, in any order.

    Raises ConfigError when the cluster cannot hold the actors that are asked for, FlowError when processes die again and again, and
    the project's own errors of a stage as they are.
    """
    check_cluster(config, threads)
    set_up_ray_data(ordered=False)
    # Workers may run in another folder than this process.
    config = dataclasses.replace(
        config,
        weights=absolute_weights(config.weights),
        reference=str(Path(config.reference).absolute())
        if config.reference and config.reference not in REFERENCES
        else config.reference,
    )
    place = Place(to.path if to.fs.type_name == "local" else config.output, to.signature, to.generator, to.signals)
    yield from streamed(drawing(shards, config, place, threads, signer), "protecting", AFTER_DEATH)


def drawing(
    shards: Sequence[tuple[str, list[Work]]], config: ProtectConfig, place: Place, threads: int, signer: Signer | None = None
) -> Dataset:
    """The flow itself; nothing runs before it is read."""
    read = in_tasks(
        source([{"id": shard_id, "works": pickle.dumps(works)} for shard_id, works in shards]), partial(_read, config=config)
    )
    protected = in_actors(read, _ProtectActor, {"config": config, "threads": threads, "signer": signer}, config, threads)
    return in_tasks(protected, partial(_write, config=config, place=place))


def source(rows: list[Batch]) -> Dataset:
    """A dataset of one block a row."""
    return ray.data.from_items(rows, override_num_blocks=len(rows))


def in_tasks(dataset: Dataset, stage: Callable[[Batch], Batch]) -> Dataset:
    """``dataset`` through a light stage, one row at a time, on half a core."""
    return dataset.map_batches(stage, batch_size=1, num_cpus=0.5)


def in_actors(dataset: Dataset, actor: type, arguments: dict[str, Any], config: Compute, threads: int) -> Dataset:
    """``dataset`` through actors that are made with ``arguments`` and hold the generators; deaths and retries are bounded."""
    with warnings.catch_warnings():
        # Unbounded by default: a photo that kills its actor would be tried for ever. Ray 2.60 has no other way to say it.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        return dataset.map_batches(
            actor,
            batch_size=1,
            fn_constructor_kwargs=arguments,
            compute=ActorPoolStrategy(min_size=1, max_size=config.actors),
            num_cpus=None if config.on_gpu() else _actor_cpus(threads),
            num_gpus=config.gpus_per_actor if config.on_gpu() else None,
            max_restarts=RESTARTS,
            max_task_retries=RETRIES,
        )


def streamed(dataset: Dataset, doing: str, after_death: str) -> Iterator[Any]:
    """Runs a dataset and yields the value pickled in each row's column ``rows``, in any order.

    ``doing`` and ``after_death`` complete the message when the process that does it dies again and again. Raises FlowError then,
    and the project's own errors of a stage as they are.
    """
    try:
        with heeded() as heed_ctrl_c:
            for batch in dataset.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0):
                heed_ctrl_c()
                yield pickle.loads(batch["rows"][0])
    except ray.exceptions.RayTaskError as error:
        raise _cause(error) from error
    except ray.exceptions.RayActorError as error:
        raise FlowError(_why_died(error, doing, after_death)) from error


class FlowError(ValueError):
    """The cluster cannot finish the run; the message says what happened."""


@dataclasses.dataclass(frozen=True)
class Place:
    """The destination as plain text, which travels to every node."""

    uri: str
    signature: str
    generator: str | None
    signals: str | None = None

    def open(self) -> Destination:
        """The destination as seen from this process."""
        fs, path = open_storage(self.uri)
        return Destination(fs, path, self.signature, self.generator, self.signals)


def _read(batch: Batch, *, config: ProtectConfig) -> Batch:
    works = read_photos(_works(batch), max_pixels=config.max_megapixels * 10**6)
    return _batch(batch, works)


class _ProtectActor:
    def __init__(self, *, config: ProtectConfig, threads: int, signer: Signer | None) -> None:
        self._protect = chosen_stage(config, signer, threads=threads)

    def __call__(self, batch: Batch) -> Batch:
        return _batch(batch, self._protect(_works(batch)))


def _write(batch: Batch, *, config: ProtectConfig, place: Place) -> Batch:
    rows = write_shard(str(batch["id"][0]), _works(batch), config, place.open())
    return {"rows": bytes_column(pickle.dumps(rows))}


def _works(batch: Batch) -> list[Work]:
    works: list[Work] = pickle.loads(batch["works"][0])
    return works


def _batch(batch: Batch, works: list[Work]) -> Batch:
    return {"id": batch["id"], "works": bytes_column(pickle.dumps(works, protocol=pickle.HIGHEST_PROTOCOL))}


def bytes_column(data: bytes) -> pa.Array:
    """One value of any size (a plain binary column ends at 2 GB)."""
    return pa.array([data], pa.large_binary())


def _actor_cpus(threads: int) -> float:
    """Half a core less than the threads: the light stages get the rest, and a pool never takes the whole machine."""
    return threads - 0.5


def check_cluster(config: Compute, threads: int) -> None:
    """Raise ConfigError when the cluster has too few cores or GPUs for the actors; Ray would wait for ever."""
    have = ray.cluster_resources()
    cpus, gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    if config.on_gpu() and gpus < config.gpus_per_actor * config.actors:
        raise ConfigError(f"{config.actors} actors need {config.gpus_per_actor * config.actors:g} GPUs, the cluster has {gpus:g}")
    if not config.on_gpu() and cpus < _actor_cpus(threads) * config.actors + 0.5:
        raise ConfigError(
            f"{config.actors} actors of {threads} threads need {_actor_cpus(threads) * config.actors + 0.5:g} cores, "
            f"the cluster has {cpus:g}: give fewer --actors or --threads"
        )


def _cause(error: ray.exceptions.RayTaskError) -> Exception:
    """The project's own error behind Ray's wrapping, without the lines that Ray appends; else the error itself."""
    cause = getattr(error, "cause", None)
    return type(cause)(str(cause).partition("\n")[0]) if isinstance(cause, (ConfigError, LedgerError)) else error


def _why_died(error: ray.exceptions.RayActorError, doing: str, after_death: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("pipeline.") and "Error: " in line]
    if own:
        return own[-1].partition(": ")[2]
    return (
        f"a {doing} process died {RETRIES + 1} times over the same photos, perhaps for want of memory "
        f"{after_death.format(reason=lines[0] if lines else 'no reason given')}"
    )
