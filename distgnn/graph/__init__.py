"""Packed graphs, their features, and keyed random numbers."""
