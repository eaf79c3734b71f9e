"""A training on Ray Train: workers that share each batch, fed by Ray Data, with checkpoints by ``ray.train.report``.

    this process                      each worker (Ray Train replaces one that dies)
    trainer.fit() in a thread          state <- last checkpoint; batches <- Ray Data, in the order of the steps
    events <- mailbox <--------------- losses, sample pictures; checkpoint -> the folder of the training

The workers run the loop of ``session.train``; what is theirs alone is how gradients are averaged and how a checkpoint is handed in.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from torch import Tensor

from pipeline.jobs.room import Need
from pipeline.training.batches import Source
from pipeline.training.errors import TrainError
from pipeline.training.feed import TASK_CPUS, Feed
from pipeline.training.folder import RAY_FOLDER, furthest_state
from pipeline.training.mailbox import Mailbox
from pipeline.training.session import End, Event, train
from pipeline.training.setup import STATE_FILE, Job, open_state, threads
from pipeline.training.state import TrainState
from pipeline.training.step import Share

KEPT = 2
"""How many checkpoints Ray keeps."""
MOST_TASKS = 4
"""Tasks that make batches for one worker at the same time, at most."""
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Ended:
    """How a worker's training ended; with a message when it cannot go on and trying again would not help."""

    how: End | None
    message: str = ""


def train_on_ray(job: Job, source: Source, tell: Callable[[Event], None]) -> End:
    """Train on the connected Ray cluster; events reach ``tell`` in this process, checkpoints the folder of the training.

    Raises TrainError when the training cannot go on.
    """
    mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
    found: list[BaseException] = []
    fitting = threading.Thread(target=_fit, args=(_trainer(job, source, mailbox), found), name="disrupt-fit", daemon=True)
    fitting.start()
    endings: list[Ended] = []
    while True:
        alive = fitting.is_alive()
        for letter in ray.get(mailbox.take.remote()):
            item = pickle.loads(letter)
            if isinstance(item, Ended):
                endings.append(item)
            else:
                tell(item)
        if not alive:
            break
        fitting.join(LOOK_SECONDS)
    if refusals := [ending.message for ending in endings if ending.how is None]:
        raise TrainError(refusals[-1])
    if found:
        raise _gave_up(job, found[0]) from found[0]
    return endings[-1].how or "done"


def workers_need(job: Job) -> Need:
    """What the workers, and for each the task that feeds it, ask of a cluster; they begin together."""
    every = [bundle for _ in range(job.config.workers) for bundle in (_worker(job), {"CPU": TASK_CPUS})]
    return Need(every, every, "--workers, --threads or --gpus-per-worker")


def _worker(job: Job) -> dict[str, float]:
    """What a worker takes: half a core less than its threads, so that reading pictures never waits for a core."""
    gpus = job.config.gpus_per_worker
    return {"CPU": threads(job.config) - 0.5} | ({"GPU": gpus} if gpus else {})


def _trainer(job: Job, source: Source, mailbox: Any) -> TorchTrainer:
    tasks = max(1, min(MOST_TASKS, int(ray.cluster_resources()["CPU"] / job.config.workers / 2)))
    resources = _worker(job)
    return TorchTrainer(
        _work,
        train_loop_config={"job": _placed(job), "source": [ray.put(source)], "mailbox": mailbox, "tasks": tasks},
        scaling_config=ScalingConfig(num_workers=job.config.workers, use_gpu="GPU" in resources, resources_per_worker=resources),
        run_config=RunConfig(
            name=f"train-{job.signature}",
            storage_path=str(job.out / RAY_FOLDER),
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
            failure_config=FailureConfig(max_failures=job.config.retries),
        ),
        torch_config=TorchConfig(backend="nccl" if "GPU" in resources else "gloo"),
    )


def _placed(job: Job) -> Job:
    """The job with places by names that hold in any process."""
    config = dataclasses.replace(
        job.config,
        output=job.out,
        init_from=job.config.init_from and job.config.init_from.absolute(),
        threads=threads(job.config),
    )
    return dataclasses.replace(job, config=config)


def _fit(trainer: TorchTrainer, found: list[BaseException]) -> None:
    """Run the trainer; what it raises is for the main thread, which a Ctrl-C reaches."""
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        found.append(error)


def _work(loop_config: dict[str, Any]) -> None:
    """A worker's whole life: open, train, hand in. What all workers meet alike is told; after anything else Ray tries again."""
    job, mailbox = loop_config["job"], loop_config["mailbox"]
    torch.set_num_threads(job.config.threads)
    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size(), average)
    first = share.rank == 0
    state = open_state(job, device=get_device(), checkpoint=furthest_state(job))
    feed = Feed(loop_config["source"][0], steps=job.settings.steps, tasks=loop_config["tasks"])

    def tell(item: Event | Ended) -> Any:
        return mailbox.put.remote(pickle.dumps(item))

    try:
        _check_same_step(state)
        ended = Ended(train(job, state, feed, tell=tell, save=_hand_in(first), share=share))
    except TrainError as error:
        ended = Ended(None, str(error))
    if first:
        ray.get(tell(ended))


def _check_same_step(state: TrainState) -> None:
    """Raise TrainError, on all workers, when they do not go on from the same step."""
    steps = torch.tensor([state.step, state.step**2], dtype=torch.float64, device=state.device)
    average([steps])
    if steps[1] > steps[0] ** 2:
        raise TrainError("the workers found different checkpoints; OUT has to be a folder that all machines of the cluster share")


def _hand_in(first: bool) -> Callable[[TrainState], None]:
    """Gives a state to Ray: the first worker its content, all of them word that they are there."""

    def save(state: TrainState) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trouble = _saved(state, Path(folder) / STATE_FILE) if first else None
            troubled = torch.full((1,), float(trouble is not None), device=state.device)
            average([troubled])
            if troubled[0] > 0:
                raise trouble or TrainError("the first worker could not write its checkpoint")
            checkpoint = ray.train.Checkpoint.from_directory(folder) if first else None
            ray.train.report({"step": state.step}, checkpoint=checkpoint)

    return save


def _saved(state: TrainState, path: Path) -> TrainError | None:
    try:
        state.save(path)
    except TrainError as error:
        return error
    return None


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


def _gave_up(job: Job, error: BaseException) -> TrainError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else type(error).__name__)
    return TrainError(
        f"the workers failed {job.config.retries + 1} times ({reason[:300]}); the last checkpoint is kept, the same command goes on"
    )
