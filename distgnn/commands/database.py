"""The commands ``distgnn database build``, ``verify``, ``stat`` and ``tasks``."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from distgnn.api.database import add_automatic_tasks, add_tasks, build_database
from distgnn.commands.output import Output
from distgnn.config import DatabaseBuildConfig
from distgnn.errors import RequestError
from distgnn.options import DatabaseStatOptions, DatabaseTasksOptions, DatabaseUri
from distgnn.relational.database import Database
from distgnn.relational.manifest import STORE, read_manifest
from distgnn.relational.statistics import statistics, task_warnings, undated
from distgnn.relational.store import open_database, verify_database
from distgnn.relational.tasks import Task, load_task, task_names
from distgnn.report.schema_picture import save_picture
from distgnn.storage.folder import open_folder

_SHOWN_CLASSES = 5


def build(config: DatabaseBuildConfig, output: Output) -> int:
    """Build a store, and print its size and what was found in the data."""
    start = time.monotonic()
    database = build_database(config)
    manifest = read_manifest(open_folder(config.out))
    facts = {
        "database": config.out,
        "name": database.schema.name,
        "key": manifest.key,
        "tables": len(manifest.rows),
        "rows": sum(manifest.rows.values()),
        "foreign_keys": len(database.schema.foreign_keys),
        "bytes": sum(item.bytes for item in manifest.arrays),
        "findings": [asdict(one) for one in manifest.findings],
        "proposed": dict(manifest.proposed),
        "warnings": [*undated(database)],
        "seconds": time.monotonic() - start,
    }
    lines = [f"proposed: {place}: {figures}" for place, figures in manifest.proposed.items()]
    lines += [one.line() for one in manifest.findings]
    lines += [f"warning: {one}" for one in facts["warnings"]]
    counts = f"{facts['tables']} tables, {facts['rows']:,} rows, {facts['foreign_keys']} foreign keys"
    lines.append(f"{config.out}: {counts}, {facts['bytes']:,} bytes, {facts['seconds']:.1f} s")
    output.emit(facts, "\n".join(lines))
    return 0


def verify(options: DatabaseUri, output: Output) -> int:
    """Verify every byte of a store and print the problems; raises RequestError with their number."""
    problems = verify_database(options.uri)
    for problem in problems:
        output.emit({"problem": problem}, problem)
    if problems:
        raise RequestError(
            f"{options.uri}: {len(problems)} problems found; restore the files or build the database again"
        )
    output.emit({"database": options.uri, "ok": True}, f"{options.uri}: no problems")
    return 0


def stat(options: DatabaseStatOptions, output: Output) -> int:
    """Print statistics of a database, and draw its schema."""
    database = open_database(options.uri)
    facts = statistics(database) | {"findings": _findings(options.uri)}
    if options.picture:
        rows = {table.name: database.rows(table.name) for table in database.schema.tables}
        save_picture(database.schema, rows, options.picture)
        facts["picture"] = options.picture
    output.emit(facts, "\n".join(_lines(facts)))
    return 0


def _findings(uri: str) -> list[dict[str, Any]]:
    folder = open_folder(uri)
    if folder.size(STORE) is None:
        return []
    return [asdict(one) | {"line": one.line()} for one in read_manifest(folder).findings]


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['name']}: {len(facts['tables'])} tables, {facts['rows']:,} rows"]
    for one in facts["tables"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in one["columns"].items())
        time_range = " to ".join(one["time_range"]) if one["time_range"] else "no time"
        time_range += f" (times of {one['time_of']})" if one["time_of"] else ""
        late = f"; late: {', '.join(one['late'])}" if one["late"] else ""
        lines.append(
            f"  {one['table']}: {one['rows']:,} rows, key {one['key'] or '(none)'}, {time_range}; {kinds}{late}"
        )
    lines += [
        f"  {one['key']}: {one['rows'] - one['no_parent']:,} of {one['rows']:,} rows have a parent, at most"
        f" {one['most_children']:,} children, {one['childless']:,} without"
        for one in facts["foreign_keys"]
    ]
    found = [one["line"] for one in facts["findings"]]
    return lines + [f"  {line}" for line in found] + [f"  warning: {line}" for line in facts["warnings"]]


def tasks(options: DatabaseTasksOptions, output: Output) -> int:
    """Print the tasks of a database with warnings; add some first if asked."""
    left_out = add_tasks(options.uri, options.add) if options.add else {}
    if options.automatic:
        add_automatic_tasks(options.uri, options.automatic)
    database, failed = open_database(options.uri), 0
    for name in task_names(options.uri):
        try:
            facts = _task_facts(database, name)
        except RequestError as error:
            facts, failed = {"task": name, "problem": str(error)}, failed + 1
        facts |= {"left_out": [asdict(one) for one in left_out.get(name, [])]}
        output.emit(facts, _task_line(facts) + "".join(f"\n  {one.line()}" for one in left_out.get(name, [])))
    if failed:
        raise RequestError(f"{options.uri}: {failed} tasks cannot be used; correct or remove them")
    return 0


def _task_facts(database: Database, name: str) -> dict[str, Any]:
    task, rows = load_task(database, name)
    counts = np.bincount(rows.split, minlength=3).tolist()
    known = rows.label[~np.isnan(rows.label)]
    return {
        "task": name,
        "table": task.table,
        "kind": task.kind,
        "metric": task.metric,
        "rule": task.rule,
        "horizon_days": task.horizon / 86_400_000_000,
        "rows": dict(zip(("train", "val", "test"), counts, strict=True)),
        "unlabelled": len(rows.label) - len(known),
        "mean_label": float(known.mean()) if len(known) else None,
        "classes": _shares(task, known),
        "hide": [".".join(pair) for pair in task.hide],
        "hide_entity": list(task.hide_entity),
        "warnings": task_warnings(database, task, rows),
    }


def _shares(task: Task, labels: np.ndarray) -> dict[str, float]:
    """Share of each class by name; empty if the classes have no names."""
    return {name: float((labels == place).mean()) for place, name in enumerate(task.classes) if len(labels)}


def _task_line(facts: dict[str, Any]) -> str:
    if "problem" in facts:
        return f"{facts['task']}: {facts['problem']}"
    counts = "/".join(f"{count:,}" for count in facts["rows"].values())
    mean = "" if facts["mean_label"] is None else f", mean label {facts['mean_label']:.4g}"
    if facts["classes"]:
        largest = sorted(facts["classes"].items(), key=lambda one: -one[1])
        mean = ", " + ", ".join(f"{share:.1%} {name}" for name, share in largest[:_SHOWN_CLASSES])
        mean += f" and {len(largest) - _SHOWN_CLASSES} more" if len(largest) > _SHOWN_CLASSES else ""
    mean += f", {facts['unlabelled']:,} of test without a label" if facts["unlabelled"] else ""
    line = (
        f"{facts['task']}: {facts['kind']} of {facts['table']}, {counts} rows (train/val/test){mean}: {facts['rule']}"
    )
    return line + "".join(f"\n  warning: {one}" for one in facts["warnings"])
