"""Hashes of short pre-trainings: the same for the same code, different for another loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from distgnn import register
from distgnn.objectives.edgepred import EdgePred
from jobs.benches import loss_hashes


def test_hashes_repeat_and_change_with_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register.objective, "names", lambda: ("edgepred", "infomax"))
    first = loss_hashes.lines([], tmp_path / "a")
    assert [line.split()[0] for line in first] == ["edgepred", "infomax"]
    assert loss_hashes.lines(["edgepred"], tmp_path / "b") == first[:1]
    own = EdgePred.losses

    def scaled(*given: object) -> object:
        found = own(*given)  # pyright: ignore[reportArgumentType]
        return type(found)(found.total * 1.001, found.count, found.sums)

    monkeypatch.setattr(EdgePred, "losses", scaled)
    name, losses, weights = loss_hashes.lines(["edgepred"], tmp_path / "c")[0].split()
    assert name == "edgepred"
    assert not {losses, weights} & set(first[0].split())
