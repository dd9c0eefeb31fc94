"""Tables, curves and figures of a synthetic comparison match its scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from distgnn.auxiliary.comparison import Row
from distgnn.auxiliary.jobs import Job
from distgnn.auxiliary.trainer import CURVES
from distgnn.report import curves
from distgnn.report.auxiliary import markdown, rows, terminal, transfer_summary
from distgnn.report.curves import pictures, write_curves, write_pictures
from distgnn.storage.folder import open_folder
from tests.helpers.transfers import STEPS, TASKS, made

NONE, FIXED, AUXTS = [0.70, 0.72, 0.74], [0.60, 0.63, 0.65], [0.80, 0.82, 0.85]
SCORES = {
    ("scratch", 0, "none"): NONE,
    ("scratch", 0, "fixed"): FIXED,
    ("scratch", 0, "auxts_one"): AUXTS,
    ("scratch", 1, "none"): [0.5, 0.5, 0.5],
    ("scratch", 1, "fixed"): [0.5, 0.5, 0.5],
    ("scratch", 1, "auxts_one"): [0.6, 0.5, 0.7],
}
RESULT = made(SCORES)


class TestTable:
    def test_cells(self) -> None:
        titles, body = rows(RESULT, "roc_auc")
        differences = [f"{name} minus none [95 %]" for name in ("e0", "e1")]
        assert titles == ["scheme", "method", "e0", differences[0], "e1", differences[1], "average gain", "seconds"]
        assert body == [
            ["scratch", "none", "72.00 ± 2.00", "", "50.00 ± 0.00", "", "", "0.5"],
            [
                "scratch",
                "fixed",
                "62.67 ± 2.52* ↓",
                "-9.33 [-10.77, -7.90]",
                "50.00 ± 0.00",
                "+0.00",
                f"{100 * (0.6266667 / 0.72 - 1) / 2:+.2f} %",
                "0.5",
            ],
            [
                "scratch",
                "auxts_one",
                "82.33 ± 2.52*",
                "+10.33 [+8.90, +11.77]",
                "60.00 ± 10.00",
                "+10.00 [-14.84, +34.84]",
                f"{50 * (0.8233333 / 0.72 - 1 + 0.2):+.2f} %",
                "0.5",
            ],
        ]

    def test_both_schemes_and_one_seed(self) -> None:
        scores = {(scheme, 0, m): [v] for scheme in ("scratch", "pretrained") for m, v in
                  (("none", 0.5), ("fixed", 0.4), ("auxts_one", 0.6))}  # fmt: skip
        body = rows(made(scores, schemes=("scratch", "pretrained")), "roc_auc")[1]
        assert [row[:4] for row in body[3:]] == [
            ["pretrained", "none", "50.00", ""],
            ["pretrained", "fixed", "40.00", "-10.00"],
            ["pretrained", "auxts_one", "60.00", "+10.00"],
        ]

    def test_a_loss_inside_the_interval_is_no_negative_transfer(self) -> None:
        scores = {
            ("scratch", 0, "none"): NONE,
            ("scratch", 0, "fixed"): [0.5, 0.73, 0.74],
            ("scratch", 0, "auxts_one"): NONE,
        }
        cell, difference = rows(made(scores), "roc_auc")[1][1][2:4]
        assert cell == "65.67 ± 13.58"
        assert difference == "-6.33 [-35.76, +23.09]"

    def test_lower_is_better_for_errors(self) -> None:
        result = made(SCORES, metric="rmse")
        found = result.contrasts(metric="rmse")[Row("fixed", "e0", "scratch")]
        assert found.relative_gain == pytest.approx(1 - 0.6266667 / 0.72)
        assert rows(result, "rmse")[1][2][2] == "0.823 ± 0.025* ↓"

    def test_a_row_that_diverged_with_one_encoder_is_named(self) -> None:
        result = made(SCORES, diverged=[Job(1, "scratch", 1, "fixed")])
        _, fixed, auxts = rows(result, "roc_auc")[1]
        assert fixed[4:6] == ["diverged", ""]
        assert fixed[6] == f"{100 * (0.6266667 / 0.72 - 1):+.2f} %"
        assert auxts[4] == "60.00 ± 10.00"
        left_out = (
            "Left out, since trainings of them diverged:\n\n- fixed, e1, scratch: 1 of 3 seed(s), such as 1 (too far)\n"
        )
        assert left_out in markdown(result)
        place = {"method": "fixed", "encoder": "e1", "scheme": "scratch", "seed": 1, "reason": "too far"}
        assert transfer_summary(result)["diverged"] == [place]

    def test_texts(self) -> None:
        text = markdown(RESULT)
        assert text.startswith("data|x: roc_auc x 100 (higher is better), 3 seed(s)\n\n| scheme | method | e0 |")
        assert "other x 100" in text
        assert text.endswith("Auxiliary tasks:\n\n- edgepred\n- attrmasking\n")
        assert "82.33 ± 2.52*" in terminal(RESULT)
        assert "There is one seed" not in terminal(RESULT)

    def test_json(self) -> None:
        value = json.loads(json.dumps(transfer_summary(RESULT)))
        cell = next(c for c in value["cells"] if (c["method"], c["encoder"], c["metric"]) == ("fixed", "e0", "roc_auc"))
        assert cell["scores"] == FIXED
        assert cell["gain"] == pytest.approx(0.6266667 / 0.72 - 1)
        assert 0 < cell["p_value"] < cell["p_holm"] < 0.05
        assert len(value["runs"]) == 18
        assert value["runs"][1]["test"]["roc_auc"] == FIXED[0]


def test_parquet_has_every_number(tmp_path: Path) -> None:
    write_curves(RESULT, open_folder(str(tmp_path)))
    table = pq.read_table(tmp_path / "curves.parquet").to_pandas()
    assert len(table) == 18 * STEPS * len(TASKS)
    for (row, seed), fitted in RESULT.results.items():
        names = zip(("seed", "method", "encoder"), (seed, row.method, row.encoder), strict=True)
        mine = table[np.logical_and.reduce([table[name] == value for name, value in names])]
        for curve in CURVES:
            wide = mine.pivot(index="step", columns="task", values=curve)[list(TASKS)]
            np.testing.assert_array_equal(wide.to_numpy(), fitted.curves[curve])
        target = mine[mine.task == "target"].sort_values("step")
        assert target.meta_loss.tolist() == fitted.meta_loss.tolist()
        assert mine[mine.task != "target"].meta_loss.isna().all()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, whose bytes are left out."""
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "_png", lambda figure: figures.append(figure) or b"")
    return figures


def test_pictures_show_means_and_spread(captured: list[Figure]) -> None:
    names = [name for name, _ in pictures(RESULT)]
    assert names == [
        f"scratch-{encoder}-{what}.png" for encoder in ("e0", "e1") for what in ("validation", "fixed", "auxts_one")
    ]
    losses, weights, cosines, judge = captured[1].axes
    assert [axes.get_ylabel() for axes in (losses, weights, cosines)] == ["loss", "weight", "gradient similarity"]
    assert {axes.get_xlabel() for axes in captured[1].axes} == {"step"}
    shown = {str(line.get_label()): np.asarray(line.get_ydata()) for line in judge.lines}
    np.testing.assert_allclose(shown["rows of the judge"], np.arange(STEPS))
    np.testing.assert_allclose(shown["rows of the step"], np.arange(STEPS) * len(TASKS) + 1)
    raw = np.asarray(losses.lines[2].get_ydata())  # the second task's faint line; seeds are 0, 1, 2
    np.testing.assert_allclose(raw, np.arange(STEPS) * len(TASKS) + 1 + 1)
    assert [text.get_text() for text in captured[1].legends[0].get_texts()] == list(TASKS)
    band = losses.collections[0].get_paths()[0].vertices
    assert np.ptp(np.asarray(band)[np.isclose(np.asarray(band)[:, 0], 3), 1]) == pytest.approx(2.0)  # +- 1
    assert [line.get_label() for line in captured[0].axes[0].lines] == ["none", "fixed", "auxts_one"]
    assert captured[0].axes[0].get_ylabel() == "validation roc_auc"


def test_methods_without_a_look_ahead_have_no_judge(captured: list[Figure]) -> None:
    results = {
        key: replace(found, meta_loss=np.full(STEPS, np.nan, np.float32)) for key, found in RESULT.results.items()
    }
    assert len(dict(pictures(replace(RESULT, results=results)))) == len(captured) == 6
    assert len(captured[1].axes) == 3


def test_smoothing_and_shorter_seeds() -> None:
    figure = Figure()
    axes = figure.subplots()
    noisy = np.where(np.arange(400) % 2, 1.0, -1.0)
    curves._line(axes, [noisy, noisy[:200]], "x", "C0")
    raw, smooth = (np.asarray(line.get_ydata()) for line in axes.lines)
    assert len(raw) == len(smooth) == 400
    assert np.abs(raw).max() == 1
    assert np.abs(smooth[20:180]).max() < 0.2
    curves._line(axes, [np.full(5, np.nan)], "nothing", "C1")
    assert len(axes.lines) == 2


def test_pictures_are_png_files(tmp_path: Path) -> None:
    one = made({key: value[:1] for key, value in SCORES.items() if key[1] == 0}, methods=("fixed", "auxts_one"))
    write_pictures(one, open_folder(str(tmp_path)))
    files = sorted((tmp_path / "pictures").iterdir())
    assert len(files) == 3
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
