"""Advice on judges by the numbers of training and validation rows."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from distgnn.auxiliary.advice import advise
from distgnn.auxiliary.weighting import build_weighting
from distgnn.config import TransferConfig, WeightingConfig
from tests.helpers.planted import Planted


def said(rows: int, validation: int, methods: tuple[str, ...] = ("none", "auxts_all"), **options: Any) -> list[str]:
    problem, given = Planted(rows=rows, validated=validation), {"batch": 24, "methods": methods}
    given |= {"schemes": options.pop("schemes")} if "schemes" in options else {}
    config = TransferConfig("x", weighting=WeightingConfig(lr=9.0, **options), **given)
    if config.weighting.judge == "validation":
        problem.split_validation(0)
    built = {method: build_weighting(config.weighted(method), problem.names, 0) for method in methods}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        advise(config, problem, built)
    return [str(one.message) for one in found]


def test_few_rows_beside_many_for_validation_should_be_judged_by_these() -> None:
    held = "weighting.judge=heldout takes 10 of 60 training rows, and there are 200 for validation; try "
    assert said(60, 200) == [f"{held}--weighting.judge validation --weighting.horizon 10 --weighting.start 1"]
    (found,) = said(60, 200, schemes=("scratch",))
    assert found.endswith("--weighting.start 1, with the scheme auto, which takes none where the tasks harm")
    assert said(60, 50) == said(199, 199) == said(200, 200) == []
    assert said(60, 200, judge="folds") == said(60, 200, judge="validation") == said(60, 200, methods=("fixed",)) == []


def test_a_large_share_of_few_rows() -> None:
    few = "weighting.judge=heldout takes 10 of 49 training rows, which are few; use more rows, or judge=folds"
    assert said(49, 40)[0].startswith(few)
    assert said(50, 40) == said(60, 40, heldout=0.5) == []


def test_validation_rows_that_are_too_few_to_be_halved() -> None:
    (found,) = said(60, 49, judge="validation")
    assert found.startswith("weighting.judge=validation takes half of 49 validation rows")
    assert said(60, 50, judge="validation") == []


@pytest.mark.parametrize("method", ["selar", "auxts_one"])
def test_every_method_with_a_judge(method: str) -> None:
    assert len(said(60, 200, methods=("none", method))) == 1
