"""The page of a sweep: figures hold what they should, texts are escaped, nothing is fetched, and it is written in time."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from distgnn.errors import RequestError
from distgnn.report.sweep import axes, grid, lines
from distgnn.report.sweep.data import View, view_of
from distgnn.report.sweep.importance import importance
from distgnn.report.sweep.page import page, pictures
from distgnn.report.sweep.write import MARKDOWN, PAGE, Pages, write_sweep_report
from distgnn.search.records import Clone
from distgnn.storage.folder import open_folder
from tests.helpers.sweeps import GRID, NODE_LR, final, planted, trial, view, write

STEPS = ("pretrain.l2p.node_steps", "pretrain.l2p.graph_steps")
GONE = trial(24, "failed", reason="RuntimeError: <script>alert(1)</script>")
SEEN = view([*planted(), GONE, trial(25, "running", 0.7)])


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def points(figure: Figure) -> dict[str, int]:
    """Number of points by label, of all panels."""
    found: dict[str, int] = {}
    for panel in figure.axes:
        for item in panel.collections:
            if isinstance(item, PathCollection):
                name = str(item.get_label())
                found[name] = found.get(name, 0) + len(np.asarray(item.get_offsets()))
    return found


def grid_view(cells: dict[tuple[int, int], list[float]]) -> View:
    pairs = [(cell, score) for cell, scores in cells.items() for score in scores]
    trials = [trial(n, score=s, params=dict(zip(STEPS, cell, strict=True))) for n, (cell, s) in enumerate(pairs)]
    return view(trials, space=GRID)


class TestFigures:
    def test_progress(self) -> None:
        figure = drawn(lines.progress(SEEN))
        found = points(figure)
        assert (found["finished"], found["stopped early, last score"]) == (16, 8)
        (axis,) = figure.axes
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("trials ended", "validation roc_auc x 100")
        best = np.asarray(axis.lines[0].get_ydata())
        assert best[-1] == pytest.approx(100 * max(t.score or 0 for t in SEEN.of("finished")))
        assert (np.diff(best[np.isfinite(best)]) >= 0).all()

    def test_rungs_show_every_trial_with_a_score(self) -> None:
        axis = drawn(lines.rungs(SEEN)).axes[0]
        assert len(axis.lines) == 25
        assert sum(line.get_linestyle() == ":" for line in axis.lines) == 1  # the running one
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["10", "30", "90"]
        assert (axis.get_xscale(), axis.get_xlabel()) == ("log", "steps")
        crosses = [item for item in axis.collections if isinstance(item, PathCollection)]
        assert len(crosses) == 8 + 1  # and a star

    def test_rungs_before_any_trial_has_finished(self) -> None:
        axis = drawn(lines.rungs(view([trial(0, "running")]))).axes[0]
        assert np.asarray(axis.lines[0].get_ydata()).tolist() == pytest.approx([60, 65])

    def test_rungs_mark_clones(self) -> None:
        params = trial(0).params
        twice = replace(
            trial(0), clones=(Clone(1, 0, 30, 1, params), Clone(1, 0, 90, 3, params))
        )  # the second has no rung yet
        figure = drawn(lines.rungs(view([twice, trial(1)])))
        axis = figure.axes[0]
        spots = [
            np.asarray(item.get_offsets()).tolist() for item in axis.collections if isinstance(item, PathCollection)
        ]
        assert [spot for spot in spots if spot[0][0] == 30] == [[[30, pytest.approx(65)]]]
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["with weights of another trial"]

    def test_one_rung_needs_no_curve(self) -> None:
        assert lines.rungs(view([trial(0, "stopped"), trial(1, "queued")])) is None

    def test_seconds(self) -> None:
        trials = [trial(n, score=0.7 + n / 100, seconds=5.0 - (n == 3)) for n in range(4)]
        figure = drawn(lines.seconds(view(trials)))
        assert points(figure)["finished"] == 4
        assert [text.get_text() for text in figure.axes[0].texts] == ["3"]

    def test_importance_bars(self) -> None:
        figure = drawn(axes.bars(SEEN, importance(SEEN)))
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
            "l2p.order",
            "l2p.node_steps",
            "l2p.node_lr",
        ]
        assert "25 trials, 10 steps" in figure.axes[0].get_xlabel()
        assert axes.bars(SEEN, None) is None

    def test_slices(self) -> None:
        figure = drawn(axes.slices(SEEN))
        panels = [panel for panel in figure.axes if panel.get_visible()]
        assert [panel.get_xlabel() for panel in panels] == ["l2p.node_lr", "l2p.node_steps", "l2p.order"]
        assert points(figure) == {"finished": 3 * 16, "stopped early, last score": 3 * 8, "best": 3}
        offsets = np.concatenate([np.asarray(item.get_offsets()) for item in panels[0].collections])
        rate = {round((np.log10(t.params[NODE_LR]) + 4) / 3, 6) for t in SEEN.of("finished", "stopped")}  # pyright: ignore
        assert {round(x, 6) for x in offsets[:, 0]} == rate
        (default,) = [line for line in panels[0].lines if line.get_label() == "default"]
        assert default.get_xdata()[0] == pytest.approx(1 / 3)  # pyright: ignore[reportIndexIssue]

    def test_parallel(self) -> None:
        figure = drawn(axes.parallel(SEEN))
        (strands,) = [item for item in figure.axes[0].collections if isinstance(item, LineCollection)]
        segments = np.stack([np.asarray(segment) for segment in strands.get_segments()])
        assert segments.shape == (24, 4, 2)
        assert segments[-1, -1, 1] == 1  # the best is drawn last and ends on top
        widths = np.asarray(strands.get_linewidths())
        assert np.argmax(widths) == 23

    def test_equal_scores_are_drawn(self) -> None:
        same = view([trial(n, score=0.7) for n in range(3)])
        for figure in (axes.parallel(same), axes.slices(same), lines.rungs(same), lines.seconds(same)):
            drawn(figure)

    def test_grid(self) -> None:
        seen = grid_view({(0, 0): [0.5, 0.7], (1, 1): [0.8], (3, 2): [0.65]})
        cells = grid.cells(seen, *STEPS)
        assert cells.shape == (4, 4)
        assert cells[0, 0] == pytest.approx(0.6)
        assert np.isfinite(cells).sum() == 3
        axis = drawn(grid.heat(seen)).axes[0]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("l2p.graph_steps", "l2p.node_steps")
        assert sorted(text.get_text() for text in axis.texts)[-3:] == ["60.00", "65.00", "80.00"]
        corners = [patch.get_xy() for patch in axis.patches]  # pyright: ignore[reportAttributeAccessIssue]
        assert np.round(corners).tolist() == [[1, 1], [1, 1]]  # best and default: s = t = 1

    def test_no_grid_of_other_spaces(self) -> None:
        assert grid.heat(SEEN) is None
        assert grid.heat(view([], space=GRID)) is None
        space = ("l2p.node_lr=log(1e-4,1e-1)", "l2p.order={1,2}")
        assert grid.heat(view([trial(0)], space=space)) is None

    def test_which_there_are(self) -> None:
        assert [p.name for p in pictures(SEEN, importance(SEEN))] == [
            "progress", "rungs", "importance", "slices", "parallel", "seconds",
        ]  # fmt: skip
        assert [p.name for p in pictures(grid_view({(0, 0): [0.5]}), None)] == [
            "progress", "rungs", "grid", "slices", "parallel", "seconds",
        ]  # fmt: skip
        assert list(pictures(view([trial(0, "queued"), GONE]), None)) == []


class Reader(HTMLParser):
    """Tags with their attributes, and the texts of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("td", "th"):
            self.cells[-1] += data.strip()


class TestPage:
    def test_texts_are_escaped_and_nothing_is_fetched(self) -> None:
        odd = replace(SEEN, name="<b>bold</b>", sweep=replace(SEEN.sweep, metric='"<i>'))
        read = Reader(page(odd, None, dict.fromkeys(pictures(SEEN, None), b"png")))
        tags = [tag for tag, _ in read.tags]
        assert tags.count("script") == 1
        assert not {"b", "i", "link", "iframe"} & set(tags)
        assert GONE.reason in read.cells
        assert 'validation "<i>' in read.cells
        sources = [attrs["src"] for tag, attrs in read.tags if tag == "img"]
        assert sources == ["data:image/png;base64,cG5n"] * 5
        assert not [attrs for _, attrs in read.tags if "href" in attrs]

    def test_every_trial_is_there(self) -> None:
        read = Reader(page(SEEN, None, {}))
        rows = [attrs.get("class") for tag, attrs in read.tags if tag == "tr" and "class" in attrs]
        assert rows == ["finished"] * 16 + ["stopped"] * 8 + ["running", "failed"]


class TestFiles:
    def test_written_and_read_again(self, tmp_path: Path) -> None:
        seen = replace(SEEN, name=tmp_path.name, final=final(3))
        folder = open_folder(write(tmp_path, seen))
        assert view_of(folder) == seen
        write_sweep_report(folder)
        assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
            f"{name}.png" for name in ("progress", "rungs", "importance", "slices", "parallel", "seconds")
        }
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "pictures").iterdir())
        assert "winner (trial 3)" in (tmp_path / MARKDOWN).read_text()
        assert (tmp_path / PAGE).read_text().count("data:image/png;base64,") == 6

    def test_no_sweep(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"sweep\.json is missing"):
            write_sweep_report(open_folder(str(tmp_path)))

    @pytest.mark.parametrize("damage", [b"{", b"[]", b'{"number": 1}', b'{"number": 1, "rows": [{"name": "winner"}]}'])
    def test_a_damaged_result(self, tmp_path: Path, damage: bytes) -> None:
        folder = open_folder(write(tmp_path, SEEN))
        folder.sub("winner").write("result.json", damage)
        with pytest.raises(RequestError, match=r"winner/result\.json: not the result of a sweep"):
            write_sweep_report(folder)

    def test_pages_are_drawn_now_and_then(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        drawings: list[float] = []

        def slow(*_: object) -> dict:
            drawings.append(now[0])
            now[0] += 4.0
            return {}

        monkeypatch.setattr("distgnn.report.sweep.write._write", slow)
        pages = Pages(open_folder(str(tmp_path)), clock=lambda: now[0])
        for second in (1, 29, 31, 40, 100, 114, 116, 190, 200):
            now[0] = max(now[0], float(second))
            pages.refresh(SEEN.sweep, SEEN.trials)
        assert drawings == [
            31.0,
            116.0,
            200.0,
        ]  # after 30 seconds, and then 20 times as long as drawing takes: 80 seconds

    def test_a_page_that_cannot_be_drawn_stops_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("distgnn.report.sweep.write.draw", lambda *_: {}["figure"])
        clock = iter([0.0, 31.0, 32.0]).__next__
        Pages(open_folder(str(tmp_path)), clock=clock).refresh(SEEN.sweep, SEEN.trials)
        assert "the page of the sweep could not be drawn (KeyError: 'figure')" in capsys.readouterr().err

    def test_a_page_while_it_runs_has_no_pictures_beside_it(self, tmp_path: Path) -> None:
        pages = Pages(open_folder(str(tmp_path)), clock=iter([0.0, 31.0, 32.0]).__next__)
        pages.refresh(SEEN.sweep, SEEN.trials[:3])
        assert sorted(path.name for path in tmp_path.iterdir()) == [PAGE, MARKDOWN]
