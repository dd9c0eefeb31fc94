"""Encoders of the user's own, written for PyG, in the place of our layers."""
