"""Reports of every kind of folder: what they say, and how they look in a browser: dark, on a phone, in print, without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import distgnn as dg
from distgnn.report.folders import section_of
from distgnn.report.side_by_side import compared
from tests.helpers.browser import chromium, needs_chromium, wrong_by_axe
from tests.helpers.kinds import write_first_kinds, write_other_kinds, write_study

pytestmark = pytest.mark.slow
NOT_INTERACTIVE = {"store"}
"""Kinds all of whose charts are pictures: the drawing of a schema."""


@pytest.fixture(scope="module")
def kinds(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("kinds")
    first = write_first_kinds(place, corpus)
    return first | write_other_kinds(place, first)


@pytest.fixture(scope="module")
def page(kinds: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One page about a folder of every kind."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    dg.write_report(list(kinds.values()), str(out))
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def test_every_kind_has_a_header_true_captions_and_interactive_charts(kinds: dict[str, str]) -> None:
    for kind, uri in kinds.items():
        section = section_of(uri)
        if kind not in ("sweep", "study"):  # these were written by hand
            assert {"to repeat it", "versions", "machine"} <= set(section.facts), kind
        assert section.details, kind
        assert any("digest" in name or "digest" in text for name, text in section.facts.items()) or kind in (
            "sweep",
            "study",
        )
        assert section.charts, kind
        assert all(len(chart.caption) > 15 and "As the command" not in chart.caption for chart in section.charts), kind
        assert kind in NOT_INTERACTIVE or any(chart.spec for chart in section.charts), kind


def test_results_in_words(kinds: dict[str, str]) -> None:
    said = {kind: " ".join(section_of(uri).verdicts) for kind, uri in kinds.items()}
    assert re.search(
        r"Of l2p, fine-tuning changes '[a-z0-9 ]+' most: CKA 0\.\d+ after 2 updates with 8 labels", said["analysis"]
    )
    assert re.search(
        r"l2p is (better|worse) than none by .* after 2 updates with 12 labels \(95 % interval", said["analysis"]
    )
    assert re.search(
        r"On test \(\d+ graphs\), mean and standard deviation over 2 seed\(s\) in ROC-AUC", said["evaluation"]
    )
    assert re.search(r"first is [\d.]+ (above|below|level with) none on test", said["evaluation"])
    assert (
        "l2p is better than none by 2.10 points of AUC (95 % interval +1.10 to +3.10): 100 labels, 30 updates"
        in said["study"]
    )
    assert "better in 4 and worse in 0 of 10 set(s); significant, corrected p = 0.004." in said["study"]
    assert "edgepred is worse than none by 0.20 points" in said["study"]
    assert "Trial 14 is best in validation: 81.18 in roc_auc x 100 (higher is better), with node_lr=" in said["sweep"]
    assert "pre-trained is " in said["database evaluation"]


def test_charts_of_a_transfer_are_its_curves(kinds: dict[str, str]) -> None:
    charts = {chart.title: chart for chart in section_of(kinds["transfer"]).charts}
    assert {"Validation: scratch, gin", "Losses of fixed", "Weights of auxts_one", "Judge of auxts_one"} <= set(charts)
    spec = charts["Losses of auxts_one"].spec
    assert spec is not None
    rows = spec["data"]["values"]
    assert {row["line"] for row in rows} == {"target", "edgepred", "attrmasking"}
    assert len(rows) == 3 * 4
    seen = charts["Validation: scratch, gin"].spec
    assert seen is not None
    runs = json.loads((Path(kinds["transfer"]) / "results.json").read_text())["runs"]
    first = [run["validation"][0]["roc_auc"] for run in runs if run["method"] == "none"]
    assert seen["data"]["values"][0] == {"line": "none", "x": 1, "y": pytest.approx(100 * sum(first) / 2)}


def test_comparisons_and_studies_side_by_side(kinds: dict[str, str], tmp_path: Path) -> None:
    runs, results = compared([kinds[name] for name in ("run", "second run", "few labels", "fine-tuning", "transfer")])
    assert (runs.heading, results.heading) == ("Comparison of the runs", "Comparison of the results")
    body = results.tables[0].body
    assert {row[0] for row in body} == {"few", "tuned", "transfer"}
    assert len(body) == 4 + 1 + 2
    assert results.charts[0].spec is not None
    other = write_study(tmp_path / "later")
    (studies,) = compared([kinds["study"], other])
    assert "l2p - none, 100 labels, 30 updates: +2.10 in study, +2.10 in later points of AUC." in studies.verdicts
    again = write_few(kinds, tmp_path)
    (both,) = compared([kinds["few labels"], again])
    assert any("differences to the control in ROC-AUC x 100, best first: l2p in " in text for text in both.verdicts)


def write_few(kinds: dict[str, str], place: Path) -> str:
    """A copy of the few-label comparison."""
    (place / "copy").mkdir()
    (place / "copy" / "results.json").write_bytes((Path(kinds["few labels"]) / "results.json").read_bytes())
    return str(place / "copy")


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 420])
def test_charts_are_drawn_and_axe_finds_nothing(browser: Any, page: Path, scheme: str, width: int) -> None:
    opened = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.goto(page.as_uri())
    charts = opened.locator("figure script").count()
    opened.wait_for_function(f"document.querySelectorAll('.live:not([hidden]) svg').length === {charts}")
    assert opened.locator(".still[hidden]").count() == charts > 20
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert wrong_by_axe(opened) == {}
    assert said == []
    opened.close()


@needs_chromium
def test_print_shows_light_pictures(browser: Any, page: Path) -> None:
    opened = browser.new_page(color_scheme="dark", viewport={"width": 800, "height": 900})
    opened.goto(page.as_uri())
    opened.locator(".live:not([hidden]) svg").first.wait_for()
    opened.emulate_media(media="print", color_scheme="light")
    assert opened.locator(".live svg:visible").count() == 0
    figures = opened.locator("figure").count()
    assert opened.locator(".still img:visible").count() == figures
    assert not opened.locator("nav").is_visible()
    opened.close()


@needs_chromium
def test_without_scripts_every_chart_is_a_picture(browser: Any, page: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page.as_uri())
    assert opened.locator(".still img:visible").count() == opened.locator("figure").count() > 20
    assert opened.locator("th button").first.is_visible()
    context.close()


@needs_chromium
def test_a_click_on_a_header_sorts(browser: Any, page: Path) -> None:
    opened = browser.new_page()
    opened.goto(page.as_uri())
    table = opened.get_by_role("region", name="Table of Sweep sweep: Trials")
    head = table.locator("th").nth(2)
    for order, turn in (("ascending", 1), ("descending", -1)):
        head.get_by_role("button").focus()
        opened.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        values = [float(text) for text in table.locator("td:nth-child(3)").all_inner_texts()]
        assert values == sorted(values, reverse=turn < 0)
    table.locator("th").first.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    opened.close()
