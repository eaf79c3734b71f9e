"""A training on Ray Train: workers that share each batch, fed by Ray Data, with checkpoints by ``ray.train.report``.

    this process                      each worker (Ray Train replaces one that dies)
    trainer.fit() in a thread          state <- last checkpoint; batches <- Ray Data, in the order of the steps
    events <- queue <----------------- losses, sample pictures; checkpoint -> the folder of the training

The workers run the loop of ``loop.train``; gradients are averaged and checkpoints reported here.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.queue import Queue
from torch import Tensor

from pipeline.jobs.room import Need
from pipeline.training.data.batches import Source
from pipeline.training.feed import TASK_CPUS, Feed
from pipeline.training.job import Job, open_state, threads
from pipeline.training.loop import Event, SaveDue, train
from pipeline.training.options import TrainError
from pipeline.training.state import RAY_FOLDER, STATE_FILE, TrainState, furthest_checkpoint
from pipeline.training.step import Share

CHECKPOINTS = 2
"""How many checkpoints Ray keeps."""
MOST_TASKS = 4
"""Tasks that make batches for one worker at the same time, at most."""
LOOK_SECONDS = 0.25


def train_on_ray(job: Job, source: Source) -> Iterator[Event]:
    """Train on the connected Ray cluster; yields the first worker's events, checkpoints reach the folder of the training.

    Raises TrainError when the training cannot go on.
    """
    queue = Queue(actor_options={"num_cpus": 0})
    errors: list[BaseException] = []
    fitting = threading.Thread(target=_fit, args=(_trainer(job, source, queue), errors), name="disrupt-fit", daemon=True)
    fitting.start()
    failure: TrainError | None = None
    is_alive = True
    while is_alive:
        fitting.join(LOOK_SECONDS)
        is_alive = fitting.is_alive()
        for data in queue.get_nowait_batch(queue.qsize()):
            item = pickle.loads(data)
            if isinstance(item, TrainError):
                failure = item
            else:
                yield item
    if failure is not None:
        raise failure
    if errors:
        lines = [line.strip() for line in str(errors[0]).splitlines() if line.strip()] or [type(errors[0]).__name__]
        reason = next((line for line in reversed(lines) if "Error" in line), lines[-1])
        raise TrainError(
            f"the workers failed {job.config.retries + 1} times ({reason[:300]}); "
            "the last checkpoint stays, run the same command again to resume"
        ) from errors[0]


def workers_need(job: Job) -> Need:
    """What the workers, and for each the task that feeds it, ask of a cluster; they begin together."""
    every = [bundle for _ in range(job.config.workers) for bundle in (_worker(job), {"CPU": TASK_CPUS})]
    return Need(every, every, "--workers, --threads or --gpus-per-worker")


def _worker(job: Job) -> dict[str, float]:
    """What a worker takes: half a core less than its threads, so that reading pictures never waits for a core."""
    gpus = job.config.gpus_per_worker
    return {"CPU": threads(job.config) - 0.5} | ({"GPU": gpus} if gpus else {})


def _trainer(job: Job, source: Source, queue: Queue) -> TorchTrainer:
    tasks = max(1, min(MOST_TASKS, int(ray.cluster_resources()["CPU"] / job.config.workers / 2)))
    resources = _worker(job)
    counted = dataclasses.replace(job, config=dataclasses.replace(job.config, threads=threads(job.config)))
    return TorchTrainer(
        _work,
        train_loop_config={"job": counted, "source": [ray.put(source)], "queue": queue, "tasks": tasks},
        scaling_config=ScalingConfig(num_workers=job.config.workers, use_gpu="GPU" in resources, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"train-{job.signature}",
            storage_path=str(job.out / RAY_FOLDER),
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS),
            failure_config=FailureConfig(max_failures=job.config.retries),
        ),
        torch_config=TorchConfig(backend="nccl" if "GPU" in resources else "gloo"),
    )


def _fit(trainer: TorchTrainer, errors: list[BaseException]) -> None:
    """Run the trainer; its errors are for the main thread, which Ctrl-C reaches."""
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        errors.append(error)


def _work(loop_config: dict[str, Any]) -> None:
    """A worker's whole life: open, train, report. Errors that every worker raises are sent; others make Ray retry."""
    job, queue = loop_config["job"], loop_config["queue"]
    torch.set_num_threads(job.config.threads)
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size(), average)
    first = share.rank == 0
    state = open_state(job, device=get_device(), checkpoint=furthest_checkpoint(job.out))
    feed = Feed(loop_config["source"][0], steps=job.settings.steps, tasks=loop_config["tasks"])
    try:
        _check_same_step(state)
        for event in train(state, job.system, feed, job.settings, job.schedule, share=share):
            if isinstance(event, SaveDue):
                _report(state, first=first)
            elif first:
                queue.put(pickle.dumps(event))  # in bytes, so that the queue's process imports nothing large
    except TrainError as error:
        if first:
            queue.put(pickle.dumps(TrainError(str(error))))


def _check_same_step(state: TrainState) -> None:
    """Raise TrainError, on all workers, when they do not go on from the same step."""
    steps = torch.tensor([state.step, state.step**2], dtype=torch.float64, device=state.device)
    average([steps])
    if steps[1] > steps[0] ** 2:
        raise TrainError("the workers have different checkpoints; OUT has to be a folder that all machines of the cluster share")


def _report(state: TrainState, *, first: bool) -> None:
    """Give a state to Ray: the first worker its content, all of them word that they are there."""
    error: TrainError | None = None
    with tempfile.TemporaryDirectory() as folder:
        if first:
            try:
                state.save(Path(folder) / STATE_FILE)
            except TrainError as unsaved:
                error = unsaved
        failures = torch.full((1,), float(error is not None), device=state.device)
        average([failures])
        if failures[0] > 0:
            raise error or TrainError("the first worker could not write its checkpoint")
        ray.train.report({"step": state.step}, checkpoint=ray.train.Checkpoint.from_directory(folder) if first else None)


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor, in place, by its mean over all workers: one message for all of a kind."""
    world = torch.distributed.get_world_size()
    if world == 1 or not tensors:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        kind = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in kind])
        torch.distributed.all_reduce(flat)
        flat /= world
        for tensor, mean in zip(kind, flat.split([tensor.numel() for tensor in kind]), strict=True):
            tensor.copy_(mean.view_as(tensor))
