"""Building databases: ``distgnn.build_database``."""

from __future__ import annotations

from contextlib import closing, nullcontext
from itertools import islice
from typing import Any

from distgnn import register
from distgnn.api.arguments import build_config
from distgnn.api.output import write_config
from distgnn.config import DatabaseBuildConfig
from distgnn.errors import RequestError
from distgnn.relational.automatic import LEAST_STORED, automatic_tasks, stored_task
from distgnn.relational.build import JOURNAL, Build, check_columns, remove_build
from distgnn.relational.combined import combined_tables
from distgnn.relational.database import Database
from distgnn.relational.draft import draft
from distgnn.relational.draft_keys import Draft
from distgnn.relational.manifest import LEFT_OUT, STORE, Finding, read_manifest
from distgnn.relational.schema_file import read_schema, written
from distgnn.relational.sources.base import Closes, HasTasks, Input, Source
from distgnn.relational.store import open_database
from distgnn.relational.task_files import make_task, read_specs, save_tasks
from distgnn.storage.folder import Folder, open_folder
from distgnn.storage.lock import LOCK, locked
from distgnn.storage.uri import parent

_TASKS, _TASK_FOLDER = "tasks.json", "tasks"
_CANDIDATES = 5


def build_database(config: DatabaseBuildConfig | None = None, **options: Any) -> Database:
    """Build a store from a relational database.

    A source that does not declare keys or time columns needs a schema file: without one, a draft is written beside the store
    and RequestError names it.

    Args:
        config: The config. Alternatively, its fields as keyword options.
        **options: Fields of :class:`~distgnn.config.DatabaseBuildConfig`, such as ``input``, ``out`` and ``schema``.

    Returns:
        The database, memory-mapped.

    Raises:
        RequestError: The input cannot be read, a schema must be confirmed, keys are not unique, or the target is taken.
    """
    chosen = build_config(DatabaseBuildConfig, config, options)
    folder = open_folder(chosen.out)
    kind, source = open_source(chosen)
    with closing(source) if isinstance(source, Closes) else nullcontext(), locked(folder):
        _prepare(folder, chosen.overwrite)
        _build(folder, kind, source, chosen)
    return open_database(chosen.out)


def open_source(config: DatabaseBuildConfig) -> tuple[str, Source]:
    """Open the source of a config: the kind it names, or the first that recognises the input."""
    if config.source:
        entry = register.database_source.get(config.source, "source")
        return entry.name, entry.make(Input(config.input, config.encoding))
    # Folders with a description come before plain folders of files.
    entries = sorted(register.database_source.entries(), key=lambda entry: entry.name == "files")
    for entry in entries:
        make: Any = entry.make
        if make.recognises(config.input):
            return entry.name, entry.make(Input(config.input, config.encoding))
    kinds = ", ".join(entry.name for entry in entries)
    raise RequestError(
        f"{config.input}: no database is recognised there (known kinds: {kinds}); check the path, or name the source"
    )


def _prepare(folder: Folder, overwrite: bool) -> None:
    """Refuse a folder that holds a store or other things; with ``overwrite``, a store may be there."""
    names = set(folder.names()) - {LOCK}
    if STORE in names and not overwrite:
        remove_build(folder)
        raise RequestError(f"{folder.uri}: a store already exists; use another out or overwrite")
    if names and STORE not in names and JOURNAL not in names:
        raise RequestError(f"{folder.uri}: the folder holds other things ({min(names)}); choose an empty target")
    if overwrite:
        remove_build(folder)


def _remove_store(folder: Folder) -> None:
    """Delete the store of a folder, if there is one."""
    if folder.size(STORE) is None:
        return
    files = [item.file for item in read_manifest(folder).arrays]
    folder.delete(STORE)
    for name in (*files, _TASKS):
        if folder.size(name) is not None:
            folder.delete(name)
    if folder.local and _TASK_FOLDER in folder.names():
        folder.delete_folder(_TASK_FOLDER)


def _build(folder: Folder, kind: str, source: Source, config: DatabaseBuildConfig) -> None:
    chosen = source.schema() if not config.schema or not _exists(config.schema) else read_schema(config.schema)
    if chosen is not None and config.schema and not _exists(config.schema):
        raise _to_confirm(Draft(chosen), source, config)
    if chosen is not None:
        check_columns(chosen, source)
    build = Build(
        folder, source, [kind, source.fingerprint(), config.encoding, None if chosen is None else chosen.to_json()]
    )
    with build.staged() as (_, tables, findings):
        proposed: dict[str, str] = {}
        if chosen is None:
            made = draft(source, tables)
            findings += [Finding(LEFT_OUT, note[:4000], 1) for note in made.left_out()]
            proposed, chosen = made.proposed, made.schema
            if (proposed and not config.accept_proposal) or config.schema:
                raise _to_confirm(made, source, config)
        _remove_store(folder)
        notes = _write_tasks(folder, source)
        write_config(folder, config, "database build")
        build.finish(chosen, combined_tables(tables, chosen), findings + notes, proposed, kind)
    remove_build(folder)


def _exists(uri: str) -> bool:
    folder, name = parent(uri)
    return open_folder(folder).size(name) is not None


def _to_confirm(made: Draft, source: Source, config: DatabaseBuildConfig) -> RequestError:
    """Write the draft for the user; returns the error that asks to check it."""
    beside = f"{config.out.rstrip('/')}.schema.toml" if open_folder(config.out).local else f"{source.name}.schema.toml"
    uri = config.schema or beside
    folder, name = parent(uri)
    if not open_folder(folder).write_new(name, written(made).encode()):
        return RequestError(f"{uri}: this schema file exists; check it and build with schema {uri}, or delete it")
    count = f"{len(made.proposed)} keys and times are proposed" if made.proposed else "its kinds are measured"
    return RequestError(f"{source.uri}: {count}, none is taken unseen; check {uri} and build again with schema {uri}")


def _write_tasks(folder: Folder, source: Source) -> list[Finding]:
    if not isinstance(source, HasTasks):
        return []
    found = list(source.tasks())
    save_tasks(folder, [task for task in found if not isinstance(task, str)])
    return [Finding(LEFT_OUT, note[:4000], 1) for note in found if isinstance(note, str)]


def add_tasks(uri: str, file: str) -> dict[str, list[Finding]]:
    """Add the tasks of a TOML file to a store; those of the same name are replaced.

    Args:
        uri: The store.
        file: The file; see docs/databases.md.

    Returns:
        What was left out of each task, by its name.

    Raises:
        RequestError: The file or one of its tasks is wrong; then none is added.
    """
    folder, database = open_folder(uri), open_database(uri)
    read_manifest(folder)
    made = {name: make_task(database, name, spec, file) for name, spec in read_specs(file).items()}
    with locked(folder):
        save_tasks(folder, [one.task for one in made.values()])
    return {name: one.findings for name, one in made.items()}


def add_automatic_tasks(uri: str, most: int, seed: int = 0) -> list[str]:
    """Add tasks that are made from the schema to a store: cells to fill in, and what happens next to an entity.

    Args:
        uri: The store.
        most: Most tasks.
        seed: Seed of their choice.

    Returns:
        Their names. Tasks with few rows, one rare class, or a split with one label are not made, so there may be fewer.

    Raises:
        RequestError: There is no store, or no task can be made.
    """
    folder, database = open_folder(uri), open_database(uri)
    read_manifest(folder)
    candidates = (
        stored_task(database, one) for one in automatic_tasks(database, _CANDIDATES * most, seed, LEAST_STORED)
    )
    named = {one.name: one for one in candidates if one is not None}  # one task for each rule
    made = list(islice(named.values(), most))
    if not made:
        raise RequestError(
            f"{uri}: no task can be made: no table with a key has {LEAST_STORED} rows of a value that varies in each split;"
            " write tasks (add_tasks)"
        )
    with locked(folder):
        save_tasks(folder, made)
    return [task.name for task in made]
