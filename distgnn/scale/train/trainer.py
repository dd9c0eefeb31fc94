"""Ray Train's own files: where a training keeps them while it runs, and their removal when it ends."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from ray.train import FailureConfig, RunConfig, UserCallback
from ray.train.torch import TorchTrainer

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


def fit_trainer(trainer: TorchTrainer, folder: Folder, failures: list[Exception]) -> None:
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
