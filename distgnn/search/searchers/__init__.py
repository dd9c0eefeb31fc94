"""Proposers of trials, one file each; see :data:`distgnn.register.searcher`."""
