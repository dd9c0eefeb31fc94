"""Metrics and experiment loggers."""
