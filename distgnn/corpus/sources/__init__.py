"""Builders of corpora, one file each; see :data:`distgnn.register.corpus_source`."""
