"""Sections of a report from the folders that commands write: corpora, databases, runs, comparisons, evaluations, studies and
sweeps. Each kind is known by its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from distgnn.corpus import inspect
from distgnn.corpus import manifest as corpora
from distgnn.errors import RequestError
from distgnn.pretraining.history import NAME as PROGRESS
from distgnn.pretraining.history import read_progress
from distgnn.relational.manifest import STORE
from distgnn.report import result_sections, summary
from distgnn.report.captions import caption_of
from distgnn.report.charts import Titles, bar_chart, line_chart
from distgnn.report.curves import CURVES_FILE
from distgnn.report.database_sections import evaluation_section, prediction_section, store_section
from distgnn.report.kinds import CONFIG, KINDS, METRICS, RESULTS, STUDY, kind_of, rows_of, unfinished
from distgnn.report.page import Chart, Section, Table
from distgnn.report.result_sections import MeasureRecord, ModelRecord, StudyRecord
from distgnn.report.side_by_side import WHAT
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import view_of
from distgnn.report.sweep.page import Drawn, draw
from distgnn.report.sweep.specs import progress_specs
from distgnn.report.sweep.table import tables
from distgnn.report.table import TITLES
from distgnn.report.transfer_charts import transfer_charts
from distgnn.search.records import SWEEP
from distgnn.storage.environment import DATA
from distgnn.storage.environment import NAME as ENVIRONMENT
from distgnn.storage.folder import Folder, absence, open_folder
from distgnn.storage.records import MAX_BYTES, Name, convert, parse_object, read_records
from distgnn.storage.uri import base_name
from distgnn.storage.verified import CHECKSUMS

_MACHINE = ("system", "processor", "memory", "gpus")
_MAX_PICTURES, _PICTURE_BYTES = 40, 8 << 20


def section_of(uri: str, sweep: Drawn | None = None) -> Section:
    """Read what a command wrote in the folder ``uri``.

    Args:
        uri: The folder.
        sweep: The sweep in it if already drawn.

    Raises:
        RequestError: The folder holds nothing that can be reported, or one of its files is malformed.
    """
    folder = open_folder(uri)
    if folder.size(CHECKSUMS) is not None:
        raise RequestError(f"{uri}: is a checkpoint or a saved model, which has no curves; give the folder of its run")
    kind = kind_of(folder)
    if kind is None and (status := unfinished(folder)):
        raise RequestError(f"{uri}: no results yet ({status}); start its command again to go on")
    if kind is None:
        known = ", ".join(f"{kind.word} ({kind.file})" for kind in KINDS)
        raise RequestError(f"{uri}: nothing to report here; give the folder of a {known}{absence(folder)}")
    found = _drawn_sweep(sweep) if sweep else _SECTIONS[kind.file](folder)
    heading = f"{kind.word.capitalize()} {base_name(uri)}"
    facts = {"folder": uri} | found.facts | _environment(folder)
    return replace(found, heading=heading, facts=facts, details=_config(folder))


def _corpus(folder: Folder) -> Section:
    facts = inspect.stat(folder.uri)
    manifest = corpora.read_manifest(folder)
    files = _names(manifest.provenance.get("files"))
    shown = {
        "graphs": f"{facts['graphs']:,} in {facts['shards']:,} shard(s)",
        "rejected": f"{facts['rejected']:,} rows",
        "size": f"{facts['bytes'] / 1e6:,.1f} MB, {facts['bytes_per_graph']:g} bytes a graph",
        "nodes a graph": f"{facts['nodes']['mean']:g}",
        "edges a graph": f"{facts['edges']['mean']:g}",
        "node features": _features(facts["node_features"]),
        "edge features": _features(facts["edge_features"]),
        "labels": ", ".join(manifest.schema.labels) or "none",
        "digest": manifest.digest(),
        "source": ": ".join(filter(None, [str(manifest.provenance.get("source", "")), _short(files)])),
        "options": _short(manifest.provenance.get("options", {})),
    }
    charts = []
    for part in ("nodes", "edges"):
        counts = facts[part]["histogram"]
        if counts:
            titles = Titles(f"{part.capitalize()} a graph", f"Number of graphs by number of {part}.", part, "graphs")
            charts.append(bar_chart(list(counts), list(counts.values()), titles))
    return Section("", facts=shown, charts=charts)


def _names(files: Any) -> list[str]:
    return [str(item.get("name", "")) for item in files if isinstance(item, dict)] if isinstance(files, list) else []


def _features(features: list[dict[str, Any]]) -> str:
    return ", ".join(f"{item['name']} ({item['kind']}, {item['size']})" for item in features) or "none"


def _run(folder: Folder) -> Section:
    shot = read_progress(folder)
    facts = {name: str(shot[name]) for name in ("status", "step", "total", "checkpoint", "error") if shot.get(name)}
    facts |= {name.replace("_", " "): f"{value:,.0f}" for name, value in shot.get("cost", {}).items()}
    rows = pd.DataFrame(rows_of(folder))
    charts = [chart for metric in METRICS if (chart := _curves(rows, metric)) is not None]
    metrics = {part: shot.get(key, {}) for part, key in (("training", "metrics"), ("validation", "validation"))}
    body = [[part, name, _number(value)] for part, found in metrics.items() for name, value in found.items()]
    state = "finished" if shot["status"] == "finished" else f"not finished ({shot['status']})"
    verdict = f"The run has {state} at step {shot['step']:,}."
    gain = metrics["validation"].get("adaptation_gain")
    if isinstance(gain, int | float):
        word = "lowers" if gain > 0 else "does not lower"
        verdict += f" On held-out graphs, adaptation {word} the loss of the queries ({gain:+.3g})."
    return Section("", [verdict], facts, [Table("Last metrics", "", ["part", "metric", "value"], body)], charts)


def _curves(rows: pd.DataFrame, metric: str) -> Chart | None:
    """Draw a metric in training and in validation against the step; None if the run has no such metric."""
    parts = [
        pd.DataFrame({"x": rows["step"], "y": rows[column], "line": line}).dropna()
        for column, line in ((metric, "training"), (f"validation_{metric}", "validation"))
        if column in rows
    ]
    if not parts or not sum(map(len, parts)):
        return None
    title, held = METRICS[metric], f"validation_{metric}" in rows
    caption = f"{title} in training{' and on held-out graphs' if held else ''} against the step."
    return line_chart(pd.concat(parts), Titles(title, caption, "step", title.lower()))


def _results(folder: Folder) -> Section:
    values = parse_object(folder.read(RESULTS, MAX_BYTES), folder.at(RESULTS), WHAT)
    for name, section in (("records", evaluation_section), ("columns", prediction_section)):
        if isinstance(values.get(name), list):
            found = section(values, folder.at(RESULTS))
            return replace(found, charts=found.charts or _stored_pictures(folder))
    metric = str(values.get("metric", ""))
    facts = {
        name: _short(values[name])
        for name in ("task", "labels", "graphs", "test_graphs", "note", "cost_warning")
        if values.get(name)
    }
    facts |= {"metric": f"{TITLES.get(metric, metric)}, {summary.direction(metric)}"} if metric else {}
    for name, described in (("analysis", _analysis), ("models", _evaluation)):
        if isinstance(values.get(name), list):
            return replace(described(values, metric, folder), facts=facts)
    if not isinstance(values.get("summary"), list):
        return Section("", facts=facts, charts=_stored_pictures(folder))
    scores = read_records(values["summary"], summary.Score, folder.at(RESULTS), WHAT)
    charts = [*summary.charts(scores), *transfer_charts(folder, values, scores, folder.at(RESULTS))]
    if folder.size(CURVES_FILE) is None:
        charts += _stored_pictures(folder)
    return Section("", summary.verdicts(scores), facts, [summary.table(scores)], charts)


def _analysis(values: dict[str, Any], metric: str, folder: Folder) -> Section:
    records = read_records(values["analysis"], MeasureRecord, folder.at(RESULTS), WHAT)
    verdicts = result_sections.analysis_verdicts(records, metric)
    charts = [*result_sections.analysis_charts(records, metric), *_stored_pictures(folder, without=("cka", "changes"))]
    return Section("", verdicts, tables=[_plain("Results", values["analysis"])], charts=charts, charts_first=True)


def _evaluation(values: dict[str, Any], metric: str, folder: Folder) -> Section:
    models = read_records(values["models"], ModelRecord, folder.at(RESULTS), WHAT)
    graphs = values.get("graphs")
    verdicts = result_sections.evaluation_verdicts(models, metric, graphs if isinstance(graphs, dict) else {})
    charts = result_sections.evaluation_charts(models, metric)
    return Section("", verdicts, tables=[_plain("Results", values["models"])], charts=charts)


def _study(folder: Folder) -> Section:
    values = parse_object(folder.read(STUDY, MAX_BYTES), folder.at(STUDY), WHAT)
    records, described = values.get("records"), values.get("study")
    if not isinstance(records, list) or not isinstance(described, dict):
        raise RequestError(f"{folder.at(STUDY)}: not {WHAT} of a study (records and study are missing)")
    facts = {
        "title": str(described.get("title", "")),
        "seeds": str(described.get("seeds", "")),
        "sets": _short(values.get("sets")),
        **({"sets not evaluated": _short(values["failed"])} if values.get("failed") else {}),
    }
    read = read_records(records, StudyRecord, folder.at(STUDY), WHAT)
    chart = result_sections.gain_chart([("", one) for one in read])
    charts = [*([chart] if chart else []), *_stored_pictures(folder)]
    return Section("", result_sections.study_verdicts(read), facts, [_plain("Comparisons", records)], charts)


def _sweep(folder: Folder) -> Section:
    return _drawn_sweep(draw(view_of(folder)))


def _drawn_sweep(drawn: Drawn) -> Section:
    view, found, shown = drawn
    specs = progress_specs(view)
    charts = [Chart(picture.title, picture.caption, picture.data, specs.get(picture.name)) for picture in shown]
    return Section("", texts.verdicts(view), {"sweep": texts.about(view)}, list(tables(view, found)), charts)


def _plain(heading: str, rows: list[Any]) -> Table:
    records = [_flat(row) for row in rows if isinstance(row, dict)]
    titles = list(dict.fromkeys(name for record in records for name in record))
    shown = [name.replace("_", " ") for name in titles]
    return Table(heading, "", shown, [[_number(record.get(name)) for name in titles] for record in records])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= (
            {f"{name} {key}": item for key, item in _flat(value).items()} if isinstance(value, dict) else {name: value}
        )
    return found


def _stored_pictures(folder: Folder, without: Sequence[str] = ()) -> list[Chart]:
    """Return the pictures that the command wrote, but those that are drawn anew."""
    shown = folder.sub("pictures")
    names = [name.removesuffix(".png") for name in shown.names() if name.endswith(".png")]
    chosen = [name for name in names if name not in without][:_MAX_PICTURES]
    return [Chart(*caption_of(name), shown.read(f"{name}.png", _PICTURE_BYTES)) for name in chosen]


def _environment(folder: Folder) -> dict[str, str]:
    """Return the facts of environment.json, and the command that repeats the work; empty for folders without."""
    raw = folder.read_if_there(ENVIRONMENT)
    if raw is None:
        return {}
    facts = convert(parse_object(raw, folder.at(ENVIRONMENT), WHAT), dict[Name, Name], folder.at(ENVIRONMENT), WHAT)
    command = facts.pop("command", "")
    data = {name.removeprefix(DATA): facts.pop(name) for name in list(facts) if name.startswith(DATA)}
    told = {"to repeat it": _again(command, folder)} if command else {}
    told |= {"data": ", ".join(f"{uri} (digest {digest})" for uri, digest in data.items())} if data else {}
    versions = ", ".join(f"{name} {value}" for name, value in facts.items() if name not in _MACHINE)
    machine = ", ".join(f"{name} {facts[name]}" for name in _MACHINE if name in facts)
    return told | {"versions": versions, "machine": machine}


def _again(command: str, folder: Folder) -> str:
    """The command that repeats the work; a study is a job of the repository, whose file is among its words."""
    if folder.size(STUDY) is not None:
        return f"python jobs/study.py {command.partition(' ')[2]} --out OTHER_FOLDER"
    return f"distgnn {command} --config {folder.at(CONFIG)} --out OTHER_FOLDER"


def _config(folder: Folder) -> str:
    """Text of config.json; of sweeps and studies without it, what sweep.json and study.json say of it."""
    raw = folder.read_if_there(CONFIG)
    if raw is not None:
        return raw.decode(errors="replace").strip()
    for name, part in ((SWEEP, "config"), (STUDY, "study")):
        raw = folder.read_if_there(name, MAX_BYTES)
        if raw is not None:
            return json.dumps(parse_object(raw, folder.at(name), WHAT).get(part, {}), indent=1)
    return ""


def _short(value: Any, most: int = 300) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{name} {_short(item)}" for name, item in value.items() if item not in ("", [], None))
    elif isinstance(value, list) and len(value) > 1 and len(set(map(str, value))) == 1:
        text = f"{value[0]} (each of {len(value)})"
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= most else f"{text[:most]} ..."


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _short(value, 120)


_SECTIONS: dict[str, Callable[[Folder], Section]] = {
    corpora.NAME: _corpus,
    STORE: store_section,
    SWEEP: _sweep,
    STUDY: _study,
    PROGRESS: _run,
    RESULTS: _results,
}
"""Reads a folder to a section, by the file by which its kind is known."""
