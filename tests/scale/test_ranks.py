"""Losses do not depend on the number of ranks or on interruptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distgnn.checkpoint.format import load_checkpoint
from distgnn.pretraining.run import Run
from tests.helpers.corpora import motifs
from tests.helpers.training import continue_small, losses, small, train_small, validations


@pytest.fixture(scope="module")
def whole(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The uninterrupted run of one rank."""
    return train_small(small(corpus, tmp_path_factory.mktemp("whole")))


def same_curve(run: Run, other: Run) -> None:
    assert losses(run) == pytest.approx(losses(other), rel=1e-5)
    found, expected = validations(run), validations(other)
    assert found.keys() == expected.keys()
    for step in expected:
        assert found[step] == pytest.approx(expected[step], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_equal_one_process(whole: Run, corpus: str, tmp_path: Path, ranks: int) -> None:
    run = train_small(small(corpus, tmp_path), ranks)
    same_curve(run, whole)
    assert list(losses(run)) == list(range(1, 13))
    assert list(validations(run)) == [5, 10, 12]
    actual, reference = (load_checkpoint(item.folder.uri).model for item in (run, whole))
    for name in actual:  # biases before a normalisation have no gradient but rounding errors, which Adam makes large
        if actual[name].dim() > 1 or name.endswith("running_var"):
            assert actual[name] == pytest.approx(reference[name], abs=2e-3), name


@pytest.mark.parametrize(
    ("objective", "kind"),
    [("infomax", "gcn"), ("contextpred", "sage"), ("graphcl", "gat"), ("multitask", "gin"), ("supervised", "gcn")],
)
def test_two_ranks_equal_one_for_other_objectives_and_encoders(
    corpus: str, tmp_path: Path, objective: str, kind: Any
) -> None:
    configs = [small(corpus, tmp_path, name, objective=objective, max_steps=6) for name in ("one", "two")]
    configs = [replace(config, encoder=replace(config.encoder, kind=kind)) for config in configs]
    same_curve(*(train_small(config, ranks) for config, ranks in zip(configs, (1, 2), strict=True)))


@pytest.mark.parametrize(("stop", "before", "after"), [(1, 1, 2), (5, 2, 1), (7, 3, 2), (11, 1, 1)])
def test_stop_and_resume_on_another_world(
    whole: Run, corpus: str, tmp_path: Path, stop: int, before: int, after: int
) -> None:
    run = train_small(small(corpus, tmp_path), before, stop_after=stop)
    assert list(losses(run)) == list(range(1, stop + 1))
    assert load_checkpoint(run.folder.uri).step == stop
    assert continue_small(run, after) == "finished"
    assert losses(run) == pytest.approx(losses(whole), rel=1e-5)


def test_a_rank_without_graphs(tmp_path: Path) -> None:
    motifs(tmp_path / "corpus", graphs=40)  # units of 16, 16 and 8: the third stream runs dry first
    options = {"validation_fraction": 0.0, "max_steps": 0, "epochs": 2}
    runs = [train_small(small(str(tmp_path / "corpus"), tmp_path, f"r{n}", **options), n) for n in (1, 3)]
    assert list(losses(runs[0])) == [1, 2, 3, 4]
    assert validations(runs[0]) == {}
    same_curve(*runs)
