"""The benches of jobs/bench.py, one file each."""
