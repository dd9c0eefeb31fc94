"""The tables of a sweep: final evaluation, settings of the winner, all trials, and the Pareto front of score and seconds."""

from __future__ import annotations

from collections.abc import Iterator

from distgnn.config.transfer import CONTROL
from distgnn.labels.scores import paired_p_value
from distgnn.report.page import Table
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import Final, View, leader, ordered
from distgnn.report.sweep.study import Importance, importance, pareto
from distgnn.report.table import escape_markdown, markdown_table, text_table
from distgnn.search.records import TrialRecord
from distgnn.search.winner import DEFAULT, WINNER, FinalEvaluation

_COMPARISON = "Winner vs. default configuration"
TRIALS = "Trials"
_PARETO = "Score and seconds"
_SETTINGS = "Settings of the winner"
_PROCEDURE = {
    "pretrain": "one pre-training of each configuration fine-tuned with every seed",
    "finetune": "each configuration fine-tuned with every seed",
    "transfer": "each configuration trained with every seed",
}

_CLONED = (
    " Trial {} continued with weights of other trials, so these settings alone do not reproduce it;"
    " its checkpoint is in winner/."
)


def tables(view: View, found: Importance | None) -> Iterator[Table]:
    """Yield the tables for which the sweep has data."""
    if view.final is not None:
        yield _final(view, view.final)
    best = leader(view)
    if best is not None:
        yield _settings(view, best, found)
    yield _trials(view, best)
    if best is not None:
        yield _pareto(view)


def _final(view: View, final: Final) -> Table:
    default = next((side for side in final.sides if side.name == DEFAULT), None)
    control = "the target alone" if view.sweep.kind == "transfer" else "no pre-training"
    names = {WINNER: f"winner (trial {final.number})", CONTROL: f"{CONTROL} ({control})"}
    body = []
    for side in final.sides:
        against = ["", ""] if default is None or side is default else _against(view, side, default)
        both = [texts.spread(view, side.validation), texts.spread(view, side.test)]
        body.append([names.get(side.name, side.name), str(len(side.test)), *both, *against])
    note = (
        f"{texts.metric(view)}: mean ± sample standard deviation over seeds, {_PROCEDURE[view.sweep.kind]}. The test part is "
        "scored only here, and for no other trial. The winner was selected on validation, so its validation score is optimistic."
    )
    return Table(
        _COMPARISON,
        note,
        ["configuration", "seeds", "validation", "test", "test vs default", "p (paired t-test)"],
        body,
    )


def _against(view: View, side: FinalEvaluation, default: FinalEvaluation) -> list[str]:
    """Difference of mean test scores, and p-value of the paired t-test over seeds."""
    factor, decimals = texts.scale(view)
    difference = sum(side.test) / len(side.test) - sum(default.test) / len(default.test)
    p_value = paired_p_value(side.test, default.test)
    return [f"{factor * difference:+.{decimals}f}", "-" if p_value is None else f"{p_value:.3g}"]


def _settings(view: View, best: TrialRecord, found: Importance | None) -> Table:
    """Parameters of the best trial and of the default, most important first."""
    shares = found.shares if found else {}
    names = sorted(view.space, key=lambda name: -shares.get(name, 0.0))
    body = [
        [
            name,
            texts.setting(best.params.get(name)),
            texts.setting(view.default.get(name)),
            f"{100 * shares[name]:.0f} %" if name in shares else "-",
        ]
        for name in names
    ]
    note = "Importance: the parameter's share of the score variance that single parameters explain (fANOVA)"
    source = f", from {found.trials} trials after {found.fidelity} {view.sweep.axis}." if found else "; too few trials."
    source += _CLONED.format(best.number) if best.clones else ""
    return Table(_SETTINGS, note + source, ["parameter", f"trial {best.number}", "default", "importance"], body)


def _trials(view: View, best: TrialRecord | None) -> Table:
    titles = [
        "trial",
        "state",
        f"validation {view.sweep.metric}",
        view.sweep.axis,
        "time",
        *texts.short(view).values(),
        "remarks",
    ]
    body = [_row(view, trial, best) for trial in ordered(view)]
    note = (
        f"{texts.metric(view)}, on the validation part. Finished trials from best to worst, then trials stopped early "
        f"(scored after fewer {view.sweep.axis}), then the rest. {texts.standing(view)}. Trials took "
        f"{texts.seconds(sum(trial.seconds for trial in view.trials))} of compute time{_concurrency(view)}."
    )
    return Table(TRIALS, note, titles, body, [trial.state for trial in ordered(view)])


def _row(view: View, trial: TrialRecord, best: TrialRecord | None) -> list[str]:
    fidelity = str(trial.fidelity) if trial.rungs else "-"
    remarks = [f"clone of trial {clone.of} at {clone.at} {view.sweep.axis}" for clone in trial.clones]
    remarks += [f"{trial.tries} tries"] if trial.tries > 1 else []
    remarks += [" ".join(trial.reason.split())] if trial.reason else []
    name = f"{trial.number} ★" if best is not None and trial.number == best.number else str(trial.number)
    settings = [texts.setting(trial.params.get(field)) for field in view.space]
    cells = [name, trial.state, texts.score(view, trial.score), fidelity, texts.seconds(trial.seconds)]
    return [*cells, *settings, "; ".join(remarks)]


def _concurrency(view: View) -> str:
    """Wall time and mean concurrency, once the sweep has recorded its wall time."""
    wall = view.sweep.wall
    if not wall:
        return ""
    return f" in {texts.seconds(wall)}: {sum(trial.seconds for trial in view.trials) / wall:.2f} trials in parallel on average"


def _pareto(view: View) -> Table:
    body = [
        [
            str(trial.number),
            texts.score(view, trial.score),
            texts.seconds(trial.seconds),
            *(texts.setting(trial.params.get(name)) for name in view.space),
        ]
        for trial in pareto(view)
    ]
    note = "The Pareto front: finished trials for which no other finished trial has a better score at no more seconds."
    return Table(_PARETO, note, ["trial", f"validation {view.sweep.metric}", "time", *texts.short(view).values()], body)


def terminal(view: View) -> str:
    """Return the tables as text for standard output, with one column for all settings of a trial."""
    narrow = (_folded(view, table) for table in tables(view, importance(view)))
    parts = [f"{text_table(table.heading, table.titles, table.body)}\n{table.note}" for table in narrow]
    return "\n\n".join([texts.about(view), *parts])


def _folded(view: View, table: Table) -> Table:
    names = dict(zip(texts.short(view).values(), texts.short(view, 1).values(), strict=True))
    columns = [place for place, title in enumerate(table.titles) if title in names]
    if not columns:
        return table
    first, last = columns[0], columns[-1] + 1
    body = [
        [*row[:first], " ".join(f"{names[table.titles[place]]}={row[place]}" for place in columns), *row[last:]]
        for row in table.body
    ]
    return table._replace(titles=[*table.titles[:first], "settings", *table.titles[last:]], body=body)


def markdown(view: View, found: Importance | None) -> str:
    """Return all tables as Markdown."""
    about, standing = escape_markdown(texts.about(view)), escape_markdown(texts.standing(view))
    head = f"# Sweep {escape_markdown(view.name)}\n\n{about}\n\n{standing}"
    parts = [
        f"## {table.heading}\n\n{markdown_table(table.titles, table.body)}\n\n{escape_markdown(table.note)}"
        for table in tables(view, found)
    ]
    return "\n\n".join([head, *parts]) + "\n"
