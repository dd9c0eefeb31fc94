"""Labelled corpora, targets, scores and tests."""
