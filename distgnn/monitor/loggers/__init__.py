"""Loggers of metrics, one file each; see :data:`distgnn.register.logger`."""
