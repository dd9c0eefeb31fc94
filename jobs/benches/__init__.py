"""Benchmarks of jobs/bench.py, one file each."""
