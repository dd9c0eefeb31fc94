"""Encoders, per-graph adaptation, operations on ragged rows."""
