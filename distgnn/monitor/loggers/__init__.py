"""Experiment loggers, one file each; see :mod:`distgnn.monitor.loggers.base` and :data:`distgnn.register.logger`."""
