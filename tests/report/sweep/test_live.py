"""Display of a running sweep: each ended trial is printed once; a table on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from distgnn.report.sweep.live import SweepDisplay
from tests.helpers.sweeps import synthetic_sweep, trial

SWEEP = synthetic_sweep(trials=5, wall=0.0)
PARAMS = {"pretrain.l2p.node_lr": 0.001, "pretrain.l2p.node_steps": 2, "pretrain.l2p.order": 1}
GOOD = trial(0, "finished", 0.71, params=PARAMS)
BAD = trial(1, "failed", params=PARAMS, reason="ValueError: [red]no\nsuch thing[/red]")
EARLY, BUSY = trial(2, "stopped", 0.8, params=PARAMS), trial(3, "running", 0.7, params=PARAMS)


def plain() -> Console:
    return Console(file=io.StringIO(), highlight=False, width=60)


def printed_lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_line_for_each_ended_trial() -> None:
    console = plain()
    with SweepDisplay(SWEEP, console=console) as display:
        for trials in ([BUSY], [GOOD, BUSY], [GOOD, BUSY], [GOOD, BAD, EARLY, BUSY]):
            display.show(trials)
        display.say("done")
    first, second, third, last = printed_lines(console)
    settings = "node_lr=0.001 node_steps=2 order=1"
    assert f"trial 0 finished, validation roc_auc 71.00 after 90 steps, 13.0 s, {settings} | 1/5 trials ended" in first
    assert f"trial 1 failed, 0.0 s, {settings}, ValueError: [red]no such thing[/red] | 3/5 trials ended" in second
    assert "trial 2 stopped, validation roc_auc 70.00 after 10 steps" in third
    assert "best 71.00 (trial 0) | 0.0 s" in third
    assert last == "done"


def test_trials_of_earlier_sessions_are_not_printed_again() -> None:
    console = plain()
    with SweepDisplay(replace(SWEEP, wall=500.0), [GOOD, BUSY], console) as display:
        display.show([GOOD, replace(BUSY, state="finished")])
    (line,) = printed_lines(console)
    assert "trial 3 finished" in line
    assert line.endswith("0:08:20")


def test_a_table_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=150, highlight=False)
    with SweepDisplay(SWEEP, console=console) as display:
        display.show([GOOD, BAD, EARLY, BUSY])
        assert isinstance(console.file, io.StringIO)
        shown = console.file.getvalue()
    assert "3/5 trials ended | 1 finished | 1 stopped | 1 failed | 1 running | best 71.00 (trial 0)" in shown
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if "│" in line]
    settings = "node_lr=0.001 node_steps=2 order=1"
    assert rows == [
        ["0 ★", "finished", "71.00", "90/90", "13.0 s", settings], ["3", "running", "65.00", "30/90", "4.0 s", settings],
    ]  # fmt: skip
