"""Corpora: many graphs in shards, with a manifest, a reader and a plan of steps."""
