"""Training on a target and auxiliary tasks, with weighted losses."""
