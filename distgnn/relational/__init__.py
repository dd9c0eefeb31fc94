"""Relational databases: schema, store, tasks and sources."""
