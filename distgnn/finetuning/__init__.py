"""Comparison of checkpoints on labels, saved models, evaluation."""
