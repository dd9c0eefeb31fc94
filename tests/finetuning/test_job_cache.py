"""Cache of finished trainings: continuation, and invalidation by other options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distgnn import register
from distgnn.config import EncoderConfig, FinetuneConfig, SplitConfig
from distgnn.corpus.sources.motifs import MotifsConfig
from distgnn.corpus.writer import build_corpus
from distgnn.finetuning.comparison import FinetuneComparison, finetune
from distgnn.storage.arrays import read_arrays, write_arrays
from distgnn.storage.folder import open_folder


@pytest.fixture
def config(tmp_path: Path) -> FinetuneConfig:
    motifs = MotifsConfig(out=str(tmp_path / "motifs"), graphs=60)
    build_corpus(register.corpus_source.get("motifs").make(motifs), motifs.out)
    small = EncoderConfig(layers=1, width=4)
    split = SplitConfig(method="random", fractions=(0.4, 0.3, 0.3))
    return FinetuneConfig(corpus=motifs.out, out=str(tmp_path / "out"), encoder=small, split=split, seeds=2, epochs=1)


def run(config: FinetuneConfig, mapper: Any = map) -> tuple[FinetuneComparison, list[int]]:
    """Return the result, and how many of the jobs ran."""
    ran: list[int] = []
    jobs = open_folder(config.out).sub("jobs")
    result = finetune(config, [], jobs, mapper, progress=lambda done, *_: ran.append(done))
    return result, ran


def stopping(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
    yield from map(function, islice(jobs, 1))
    raise KeyboardInterrupt


def scores(result: FinetuneComparison) -> list[Any]:
    return [
        (key, found.scores, found.coverage, found.validation, {k: v.tolist() for k, v in found.predictions.items()})
        for key, found in result.results.items()
    ]


def test_a_continued_comparison_equals_an_uninterrupted_one(config: FinetuneConfig, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(config, stopping)
    continued, ran = run(config)
    assert ran == [2]
    undisturbed, all_ran = run(replace(config, out=str(tmp_path / "other")))
    assert all_ran == [1, 2]
    assert scores(continued) == scores(undisturbed)


def test_more_seeds_extend_a_comparison_and_other_options_restart_it(config: FinetuneConfig) -> None:
    run(config)
    assert run(replace(config, seeds=3))[1] == [3]
    assert run(replace(config, lr=0.1))[1] == [1, 2]
    assert run(replace(config, encoder=EncoderConfig(layers=1, width=6)))[1] == [1, 2]


def test_a_damaged_file_is_run_again(config: FinetuneConfig) -> None:
    run(config)
    for path in (Path(config.out) / "jobs").iterdir():
        path.write_bytes(path.read_bytes()[:20])
    assert run(config)[1] == [1, 2]


def _other_metric(told: Any, _: Any) -> None:
    told["metrics"] = ["x"]
    for scores in (*told["validation"], *told["scores"].values()):
        scores["x"] = scores.pop("roc_auc")


def _no_test(told: Any, _: Any) -> None:
    told["scores"].pop("test")
    told["coverage"].pop("test")


STRANGE: dict[str, Callable[[Any, Any], object]] = {
    "another metric": _other_metric,
    "a metric without scores": lambda told, _: told["metrics"].append("x"),
    "no scores of a part": _no_test,
    "fewer rows": lambda _, arrays: arrays.update({"predictions/test": arrays["predictions/test"][:-1]}),
    "other labels": lambda _, arrays: arrays.update({"predictions/test": arrays["predictions/test"][:, :1]}),
    "no predictions": lambda _, arrays: arrays.pop("predictions/test"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_results_of_other_data_are_run_again(config: FinetuneConfig, case: str) -> None:
    first, _ = run(config)
    jobs = open_folder(config.out).sub("jobs")
    found = read_arrays(jobs, jobs.names()[0], dict[str, Any])
    assert found is not None
    STRANGE[case](*found)
    write_arrays(jobs, jobs.names()[0], *found)
    again, ran = run(config)
    assert ran == [2]
    assert scores(again) == scores(first)


def test_jobs_of_an_older_trainer_are_ignored(config: FinetuneConfig) -> None:
    """Files of the format before this one, under any name, are neither read nor an error."""
    first, _ = run(config)
    jobs = open_folder(config.out).sub("jobs")
    for number, name in enumerate(jobs.names()):
        jobs.write(f"{number:016x}-seed{number}.safetensors", jobs.read(name))
        old = {"scores": {"test": [0.5, 1.0]}, "history": [0.5], "best_epoch": 1, "seconds": 0.1}
        write_arrays(jobs, name, old, {"test": np.zeros((3, 1), np.float32)})
    again, ran = run(config)
    assert ran == [1, 2]
    assert scores(again) == scores(first)
