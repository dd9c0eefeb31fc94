"""Hyperparameter search without Ray: spaces, searchers, trials and records of sweeps."""
