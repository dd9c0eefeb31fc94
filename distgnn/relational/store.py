"""Stores of databases: Arrow columns and foreign-key indexes, memory-mapped."""

from __future__ import annotations

from distgnn.relational.database import Database, in_memory
from distgnn.relational.sources.base import Input
from distgnn.relational.sources.database_json import DatabaseJson


def open_database(uri: str) -> Database:
    """Open a database: a store, or a folder with database.json and Parquet files, which is read into memory.

    Args:
        uri: Path or URI of the folder.

    Raises:
        RequestError: It is neither, or damaged.
    """
    source = DatabaseJson(Input(uri))
    return in_memory(source, source.schema())
