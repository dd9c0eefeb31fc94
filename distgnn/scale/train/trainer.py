"""Trainings on Ray Train: the trainer, and its own files while it runs.

The trainer is the base class of Ray's TorchTrainer, a developer interface, since TorchTrainer imports torch where it is not used.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback

from distgnn.loading import load_function
from distgnn.scale.private import RankTrainer
from distgnn.scale.train.launch import run_rank
from distgnn.storage.folder import Folder

_RAY = "ray"


def run_config(folder: Folder, name: str, max_failures: int, callbacks: Sequence[UserCallback] = ()) -> RunConfig:
    """Return Ray Train's config of a training in ``folder``. Ray's files lie in its folder "ray".

    Args:
        folder: Folder of the training.
        name: Beginning of Ray's name of the run, which is unique, since Ray would restore its own state of a known name.
        max_failures: Number of times that Ray restarts the workers.
        callbacks: Callbacks of Ray Train.
    """
    storage = folder.sub(_RAY)
    return RunConfig(
        name=f"{name}-{secrets.token_hex(2)}",
        storage_path=storage.path,
        storage_filesystem=storage.filesystem,
        failure_config=FailureConfig(max_failures=max_failures),
        callbacks=list(callbacks),
    )


def rank_trainer(
    work: str, settings: dict[str, Any], scaling: ScalingConfig, run: RunConfig, **data: Any
) -> RankTrainer:
    """Return the trainer: on GPUs TorchTrainer, which sets up NCCL; on CPUs one whose controller starts without torch.

    Args:
        work: Entry point of a function of (settings, :class:`~distgnn.distributed.ProcessGroup`), called in each rank.
        settings: Its settings.
        scaling: Ray Train's config of the ranks.
        run: Ray Train's config of the training (:func:`run_config`).
        **data: Ray Train's ``datasets`` and ``dataset_config``, if Ray Data reads.
    """
    config = {"work": work, "settings": ray.put(settings)}
    kind = load_function("ray.train.torch:TorchTrainer") if scaling.use_gpu else RankTrainer
    return kind(run_rank, train_loop_config=config, scaling_config=scaling, run_config=run, **data)


def fit_trainer(trainer: RankTrainer, folder: Folder, failures: list[Exception]) -> None:
    """Train, and delete Ray's files in ``folder`` at the end.

    Args:
        trainer: The trainer, with the config of :func:`run_config`.
        folder: Folder of the training.
        failures: Receives the exception if training fails.
    """
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - raised in the main thread
        failures.append(error)
    finally:
        if folder.sub(_RAY).names():
            folder.delete_folder(_RAY)
