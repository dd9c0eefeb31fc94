"""User-defined encoders written for PyG."""
