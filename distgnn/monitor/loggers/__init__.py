"""Loggers of metrics, one file each; see :mod:`distgnn.monitor.loggers.base`."""

from distgnn.monitor.loggers import csv, mlflow, tensorboard, wandb

__all__ = ["csv", "mlflow", "tensorboard", "wandb"]
