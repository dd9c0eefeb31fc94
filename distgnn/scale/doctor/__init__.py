"""Examination of clusters."""
