"""The fuzzer of ``jobs/fuzz.py``: seeds, mutations, targets, and the process that runs a batch of inputs."""
