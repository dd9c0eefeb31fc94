"""One large graph: storage, sampling, meta-paths."""
