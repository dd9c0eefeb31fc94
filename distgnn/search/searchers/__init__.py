"""Searchers, one file each; see :data:`distgnn.register.searcher`."""
