"""The report of a sweep: figures, an escaped and self-contained page, files, and rewriting while the sweep runs."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import PathCollection

from distgnn.errors import RequestError
from distgnn.report.sweep import figures
from distgnn.report.sweep.data import View, view_of
from distgnn.report.sweep.figures import Picture, pictures
from distgnn.report.sweep.page import MARKDOWN, PAGE, Pages, page, write_sweep_report
from distgnn.report.sweep.study import study_of
from distgnn.search.records import Clone
from distgnn.storage.folder import open_folder
from tests.helpers.sweeps import GRID, final, planted, trial, view, write

STEPS = ("pretrain.l2p.node_steps", "pretrain.l2p.graph_steps")
GONE = trial(24, "failed", reason="RuntimeError: <script>alert(1)</script>")
SEEN = view([*planted(), GONE, trial(25, "running", 0.7)])


def grid_view(cells: dict[tuple[int, int], list[float]]) -> View:
    pairs = [(cell, score) for cell, scores in cells.items() for score in scores]
    trials = [trial(n, score=s, params=dict(zip(STEPS, cell, strict=True))) for n, (cell, s) in enumerate(pairs)]
    return view(trials, space=GRID)


def names(seen: View) -> list[str]:
    """Names of the pictures, which are drawn but not rendered."""
    with patch.object(figures, "png", return_value=b""):
        return [picture.name for picture in pictures(seen)]


class TestFigures:
    def test_figures_of_each_kind_of_sweep(self) -> None:
        assert names(SEEN) == ["progress", "rungs", "importance", "slices", "parallel", "seconds"]
        assert names(grid_view({(0, 0): [0.5], (1, 2): [0.6]})) == [
            "progress", "rungs", "grid", "slices", "parallel", "seconds",
        ]  # fmt: skip
        assert names(view([trial(0, "queued"), GONE])) == []
        assert names(view([trial(0, "running")])) == ["rungs"]
        assert names(view([trial(0, score=float("nan"))], space=GRID)) == ["rungs"]
        assert names(view([trial(0, "stopped"), trial(1, "queued")])) == []

    def test_many_parameters_are_sliced_over_several_pictures(self) -> None:
        names_of = ("l2p.node_steps", "l2p.graph_steps", "l2p.support", "l2p.query", "l2p.children")
        space, fields = tuple(f"{name}=1..3" for name in names_of), [f"pretrain.{name}" for name in names_of]
        trials = [trial(n, params=dict(zip(fields, [n + 1] * 5, strict=True))) for n in range(3)]
        assert [name for name in names(view(trials, space=space)) if "slices" in name] == ["slices", "slices-2"]

    def test_every_picture_is_a_png_with_a_title_and_no_figure_or_style_is_left_open(self) -> None:
        before = pyplot.get_fignums(), dict(matplotlib.rcParams), pyplot.get_backend()
        for picture in pictures(grid_view({(0, 0): [0.5], (1, 2): [0.6]})):
            assert picture.data.startswith(b"\x89PNG")
            assert picture.title
            assert picture.caption
        assert (pyplot.get_fignums(), dict(matplotlib.rcParams), pyplot.get_backend()) == before

    def test_equal_scores_and_parameters_are_drawn(self) -> None:
        same = view([trial(n, score=0.7, params=trial(0).params) for n in range(3)])
        assert names(same) == ["progress", "rungs", "slices", "parallel", "seconds"]

    def test_learning_curves_mark_clones(self) -> None:
        params = trial(0).params
        clones = (Clone(1, 0, 30, 1, params), Clone(1, 0, 90, 3, params))  # the second has no rung yet
        seen = view([replace(trial(0), clones=clones), trial(1)])
        with figures.drawing():
            (axes,) = figures.learning_curves(seen, study_of(seen)).axes
        marks = [np.asarray(item.get_offsets()) for item in axes.collections if isinstance(item, PathCollection)]
        assert np.concatenate(marks).tolist() == [[30, pytest.approx(65)]]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "validation roc_auc x 100")

    def test_grid(self) -> None:
        seen = grid_view({(0, 0): [0.5, 0.7], (1, 1): [0.8], (3, 2): [0.65]})
        cells = figures.cell_means(seen, *STEPS)
        assert cells.shape == (4, 4)
        assert cells[0, 0] == pytest.approx(0.6)
        assert np.isfinite(cells).sum() == 3
        axis = figures.heat_map(seen).axes[0]
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("l2p.graph_steps", "l2p.node_steps")
        assert sorted(text.get_text() for text in axis.texts)[-3:] == ["60.00", "65.00", "80.00"]
        corners = [patch.get_xy() for patch in axis.patches]  # pyright: ignore[reportAttributeAccessIssue]
        assert np.round(corners).tolist() == [[1, 1], [1, 1]]  # best and default: s = t = 1

    def test_no_grid_of_other_spaces(self) -> None:
        space = ("l2p.node_lr=log(1e-4,1e-1)", "l2p.order={1,2}")
        for seen in (view([], space=GRID), view([trial(0)], space=space)):
            assert "grid" not in names(seen)


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
        if self.cells and self.tags[-1][0] in ("td", "button"):
            self.cells[-1] += data.strip()


class TestPage:
    def test_texts_are_escaped_and_the_page_is_self_contained(self) -> None:
        hostile = replace(SEEN, name="<b>bold</b>", sweep=replace(SEEN.sweep, metric='"<i>'))
        read = Reader(page(hostile, None, [Picture(f"p{n}", "t", "c", b"png") for n in range(5)]))
        tags = [tag for tag, _ in read.tags]
        assert tags.count("script") == 1
        assert not {"b", "i", "link", "iframe"} & set(tags)
        assert GONE.reason in read.cells
        assert 'validation "<i>' in read.cells
        sources = [attrs["src"] for tag, attrs in read.tags if tag == "img"]
        assert sources == ["data:image/png;base64,cG5n"] * 5
        assert all(str(attrs["href"]).startswith("#s") for _, attrs in read.tags if "href" in attrs)

    def test_every_trial_is_listed(self) -> None:
        read = Reader(page(SEEN, None, []))
        rows = [attrs.get("class") for tag, attrs in read.tags if tag == "tr" and "class" in attrs]
        assert rows == ["finished"] * 16 + ["stopped"] * 8 + ["running", "failed"]


class TestFiles:
    def test_a_written_report_can_be_read(self, tmp_path: Path) -> None:
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

    def test_a_folder_without_a_sweep_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"sweep\.json is missing"):
            write_sweep_report(open_folder(str(tmp_path)))

    @pytest.mark.parametrize("damage", [b"{", b"[]", b'{"number": 1}', b'{"number": 1, "rows": [{"name": "winner"}]}'])
    def test_a_damaged_result_is_refused(self, tmp_path: Path, damage: bytes) -> None:
        folder = open_folder(write(tmp_path, SEEN))
        folder.sub("winner").write("result.json", damage)
        with pytest.raises(RequestError, match=r"winner/result\.json: not the result of a sweep"):
            write_sweep_report(folder)

    @pytest.mark.parametrize(("row", "part"), [(0, "test"), (1, "validation"), (1, "test")])
    def test_scores_of_unequal_numbers_of_seeds(self, tmp_path: Path, row: int, part: str) -> None:
        folder = open_folder(write(tmp_path, SEEN))
        rows = [{"name": name, "validation": [0.7, 0.8], "test": [0.6, 0.7]} for name in ("winner", "default")]
        rows[row][part] = [0.5, 0.6, 0.7]
        folder.sub("winner").write("result.json", json.dumps({"number": 3, "rows": rows}).encode())
        with pytest.raises(
            RequestError, match=rf"winner/result\.json: .*3 scores of {rows[row]['name']}\.{part}, but 2 of"
        ):
            write_sweep_report(folder)

    def test_pages_are_refreshed_periodically(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        drawings: list[float] = []

        def slow(*_: object) -> dict:
            drawings.append(now[0])
            now[0] += 4.0
            return {}

        monkeypatch.setattr("distgnn.report.sweep.page._write", slow)
        pages = Pages(open_folder(str(tmp_path)), clock=lambda: now[0])
        for second in (1, 29, 31, 40, 100, 114, 116, 190, 200):
            now[0] = max(now[0], float(second))
            pages.refresh(SEEN.sweep, SEEN.trials)
        assert drawings == [
            31.0,
            116.0,
            200.0,
        ]  # after 30 seconds, and then 20 times as long as drawing takes: 80 seconds

    def test_a_page_that_cannot_be_drawn_does_not_stop_the_sweep(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("distgnn.report.sweep.page.pictures", lambda *_: {}["figure"])
        clock = iter([0.0, 31.0, 32.0]).__next__
        Pages(open_folder(str(tmp_path)), clock=clock).refresh(SEEN.sweep, SEEN.trials)
        assert "the page of the sweep could not be drawn (KeyError: 'figure')" in capsys.readouterr().err

    def test_the_page_of_a_running_sweep_writes_no_picture_files(self, tmp_path: Path) -> None:
        pages = Pages(open_folder(str(tmp_path)), clock=iter([0.0, 31.0, 32.0]).__next__)
        pages.refresh(SEEN.sweep, SEEN.trials[:3])
        assert sorted(path.name for path in tmp_path.iterdir()) == [PAGE, MARKDOWN]
