"""Tables of a sweep match its records, and test scores appear only in the final evaluation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distgnn.config import FinetuneConfig, TransferConfig, TuneConfig
from distgnn.report.sweep import texts
from distgnn.report.sweep.data import Final, View
from distgnn.report.sweep.study import Importance
from distgnn.report.sweep.table import Table, markdown, tables, terminal
from distgnn.search.records import Clone
from distgnn.search.space import defaults, read_space
from distgnn.search.space import texts as texts_of
from distgnn.search.winner import FinalEvaluation
from tests.helpers.sweeps import NODE_LR, NODE_STEPS, ORDER, final, synthetic_sweep, trial, view

PARAMS = {NODE_LR: 0.0123456, NODE_STEPS: 2, ORDER: 1}
TRIALS = [
    trial(0, "finished", 0.7, params=PARAMS),
    trial(1, "failed", params=PARAMS, reason="ValueError: bad\nnumbers | here", tries=3),
    trial(2, "stopped", 0.8, params=PARAMS),
    trial(3, "finished", 0.75, params=PARAMS, seconds=200.0, clones=(Clone(0, 1, 30, 1, PARAMS),)),
    trial(4, "queued", params=PARAMS),
]


def named(found: list[Table], heading: str) -> Table:
    return next(table for table in found if table.heading == heading)


def test_all_trials_are_listed_with_reasons() -> None:
    table = named(list(tables(view(TRIALS), None)), "Trials")
    assert table.titles == [
        "trial", "state", "validation roc_auc", "steps", "time", "l2p.node_lr", "l2p.node_steps", "l2p.order", "remarks",
    ]  # fmt: skip
    settings = ["0.0123", "2", "1"]
    assert table.body == [
        ["3 ★", "finished", "75.00", "90", "0:03:20", *settings, "clone of trial 0 at 30 steps"],
        ["0", "finished", "70.00", "90", "13.0 s", *settings, ""],
        ["2", "stopped", "70.00", "10", "1.0 s", *settings, ""],
        ["4", "queued", "-", "-", "0.0 s", *settings, ""],
        ["1", "failed", "-", "-", "0.0 s", *settings, "3 tries; ValueError: bad numbers | here"],
    ]
    assert "4/5 trials ended | 2 finished | 1 stopped | 1 failed | best 75.00 (trial 3)" in table.note
    assert "0:03:34 of compute time in 100.0 s: 2.14 trials in parallel on average" in table.note


def test_a_running_sweep_has_no_wall_time() -> None:
    seen = view(TRIALS)
    table = named(list(tables(replace(seen, sweep=replace(seen.sweep, wall=0.0)), None)), "Trials")
    assert table.note.endswith("0:03:34 of compute time.")


def test_errors_are_no_percentages() -> None:
    table = named(list(tables(view(TRIALS, mode="min"), None)), "Trials")
    assert [row[:3] for row in table.body[:2]] == [["0 ★", "finished", "0.700"], ["3", "finished", "0.750"]]
    assert table.note.startswith("rmse (lower is better)")


def test_settings_of_the_winner_and_the_default() -> None:
    found = Importance({ORDER: 0.6, NODE_LR: 0.3, NODE_STEPS: 0.1}, 9, 30)
    table = named(list(tables(view(TRIALS), found)), "Settings of the winner")
    assert table.titles == ["parameter", "trial 3", "default", "importance"]
    assert table.body == [
        [ORDER, "1", "2", "60 %"],
        [NODE_LR, "0.0123", "0.01", "30 %"],
        [NODE_STEPS, "2", "1", "10 %"],
    ]
    assert "from 9 trials after 30 steps" in table.note
    assert "Trial 3 continued with weights of other trials" in table.note
    alone = named(list(tables(view(TRIALS), None)), "Settings of the winner")
    assert [row[0] for row in alone.body] == [NODE_LR, NODE_STEPS, ORDER]
    assert "too few trials" in alone.note


def test_pareto_table() -> None:
    table = named(list(tables(view(TRIALS), None)), "Score and seconds")
    assert [row[:3] for row in table.body] == [["0", "70.00", "13.0 s"], ["3", "75.00", "0:03:20"]]


def test_final_evaluation_of_the_winner_and_the_default() -> None:
    table = next(tables(view(TRIALS, final(3)), None))
    assert table.titles == ["configuration", "seeds", "validation", "test", "test vs default", "p (paired t-test)"]
    assert table.body == [
        ["winner (trial 3)", "3", "73.67 ± 1.53", "71.33 ± 1.53", "+2.00", "0.0742"],
        ["default", "3", "71.00 ± 1.00", "69.33 ± 1.15", "", ""],
    ]
    assert "for no other trial" in table.note


def test_a_control_and_one_seed() -> None:
    sides = (
        FinalEvaluation("winner", (0.7,), (0.6,)),
        FinalEvaluation("default", (0.6,), (0.65,)),
        FinalEvaluation("none", (0.5,), (0.5,)),
    )
    table = next(tables(view(TRIALS, Final(0, sides)), None))
    assert [row[0] for row in table.body] == ["winner (trial 0)", "default", "none (no pre-training)"]
    assert [row[1:] for row in table.body] == [
        ["1", "70.00", "60.00", "-5.00", "-"], ["1", "60.00", "65.00", "", ""], ["1", "50.00", "50.00", "-15.00", "-"],
    ]  # fmt: skip


def test_before_the_final_evaluation_there_are_no_test_scores() -> None:
    assert " test" not in markdown(view(TRIALS), None)
    for table in list(tables(view(TRIALS, final(3)), None))[1:]:
        assert not any("test" in title for title in table.titles)


def test_the_terminal_shows_the_same_tables() -> None:
    text = terminal(view(TRIALS, final(3)))
    assert text.startswith("pre-train on data/molecules")
    assert "73.67 ± 1.53" in text
    row = next(line for line in text.splitlines() if "clone of trial" in line)
    assert "│ node_lr=0.0123 node_steps=2 order=1 │" in row


def test_markdown_tables_are_complete() -> None:
    text = markdown(view(TRIALS, final(3)), None)
    assert text.startswith("# Sweep adaptation\n\npre-train on data/molecules, fine-tune on data/bbbp; searcher ")
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "bad numbers \\| here" in text


@pytest.mark.parametrize("trials", [[], [trial(0, "queued")], [trial(0, "failed", reason="x")]])
def test_a_sweep_without_trials(trials: list) -> None:
    assert [table.heading for table in tables(view(trials), None)] == ["Trials"]


def test_short_names_are_unique() -> None:
    space = ("pretrain.train.lr=0.1..0.2", "finetune.lr=0.1..0.2", "pretrain.l2p.node_lr=0.1..0.2")
    assert list(texts.short(view([], space=space)).values()) == ["train.lr", "finetune.lr", "l2p.node_lr"]


TRANSFER = TransferConfig(data="data/lastfm", methods=("auxts_one",), schemes=("scratch",))
KINDS = {
    "transfer": TuneConfig(space=("weighting.hidden={8,16}",), transfer=TRANSFER),
    "finetune": TuneConfig(space=("lr=0.1..0.2",), finetune=FinetuneConfig(corpus="data/bbbp", checkpoint=("runs/a",))),
}


@pytest.mark.parametrize(
    ("kind", "about", "again", "control", "field"),
    [
        ("transfer", "transfer on data/lastfm", "each configuration trained", "the target alone", "weighting.hidden"),
        (
            "finetune",
            "fine-tune runs/a on data/bbbp",
            "each configuration fine-tuned",
            "no pre-training",
            "finetune.lr",
        ),
    ],
)
def test_other_kinds_of_trial(kind: str, about: str, again: str, control: str, field: str) -> None:
    space = read_space(KINDS[kind])
    sweep = replace(synthetic_sweep(), config=KINDS[kind], space=texts_of(space), default=defaults(KINDS[kind], space))
    params = {name: domain.ends()[0] for name, domain in space.items()}
    sides = tuple(FinalEvaluation(name, (0.5, 0.6), (0.4, 0.5)) for name in ("winner", "default", "none"))
    seen = View("x", sweep, space, (trial(0, params=params),), Final(0, sides))
    text = markdown(seen, None)
    assert f"\n\n{about}; searcher tpe" in text
    assert again in text
    assert f"| none ({control}) |" in text
    assert f"| time | {field} | remarks |" in text
