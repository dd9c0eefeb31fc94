"""Linear probes on embeddings by adapted weights: which checkpoints, names and pairing, cached jobs, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distgnn.auxiliary.data_source import InitialEncoder
from distgnn.auxiliary.linear_probe import LinearProbe
from distgnn.config import FewLabelConfig, FinetuneConfig, PretrainConfig, SplitConfig, TuneConfig, to_json
from distgnn.config.base import from_json
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.finetuning.comparison import finetune_source
from distgnn.finetuning.few_label_jobs import FewLabelJob, Method
from distgnn.finetuning.few_labels import evaluate_few_labels
from distgnn.finetuning.readouts import read_out
from distgnn.labels.dataset import load_labelled
from distgnn.models.encoder import build_encoder
from distgnn.storage.folder import open_folder
from tests.finetuning.test_few_labels import SMALL, run_of
from tests.helpers.finetunings import finetuned
from tests.helpers.labelled import FEATURES, signal, write_labelled

GRAPHS = 60
BOTH = ("plain", "adapted")


def checkpoint(seed: int = 1, objective: str = "l2p", **options: Any) -> InitialEncoder:
    weights = build_encoder(FEATURES, SMALL, seed).state_dict()
    run = PretrainConfig(corpus="", objective=objective)
    values = to_json(run)
    values["l2p"] |= {"node_lr": 0.5, "graph_lr": 0.5} | options
    return InitialEncoder(f"run-{seed}", SMALL, weights, FEATURES, run=values)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpora")
    write_labelled(str(folder), (signal(GRAPHS) > 0)[:, None].astype(float), ("easy",))
    return str(folder)


def config(corpus: str, **changes: Any) -> FewLabelConfig:
    settings = {"train_labels": (12,), "updates": (5,), "draws": 2, "test_graphs": 30, "norm_graphs": 20, "lr": 0.01}
    given: dict[str, Any] = {"frozen": True, "encoder": SMALL, **settings, **changes}
    return FewLabelConfig(corpus, **given)


def test_a_checkpoint_is_compared_with_itself_read_out_plainly(corpus: str, tmp_path: Path) -> None:
    methods = [Method("l2p", (checkpoint(1), checkpoint(2)))]
    found = evaluate_few_labels(config(corpus, readout=BOTH), methods, open_folder(str(tmp_path)))
    assert found.methods == ("l2p", "l2p adapted", "none")
    assert found.controls == {"l2p": "none", "l2p adapted": "none"}
    plain, adapted = found.scores["l2p", 12, 5], found.scores["l2p adapted", 12, 5]
    assert plain.shape == adapted.shape == (2, 2)
    assert not np.array_equal(plain, adapted)
    alone = evaluate_few_labels(config(corpus), methods, open_folder(str(tmp_path)))
    assert np.array_equal(alone.scores["l2p", 12, 5], plain)
    again = evaluate_few_labels(config(corpus, readout=("adapted",)), methods, open_folder(str(tmp_path / "new")))
    assert np.array_equal(again.scores["l2p adapted", 12, 5], adapted)


def features(corpus: str, adapted: bool, seed: int = 0, **options: Any) -> torch.Tensor:
    readout: Any = ("adapted",) if adapted else ("plain",)
    given = FinetuneConfig(corpus, frozen=True, readout=readout, split=SplitConfig("random"))
    starts = read_out(given, [checkpoint(**options)])
    problem = finetune_source(given, load_labelled(given), starts).problem(
        0, seed, ProcessGroup.single_process(torch.device("cpu")), starts[0].weights
    )
    assert isinstance(problem, LinearProbe)
    return problem.features


def test_features_are_those_of_the_pre_trainings_rates(corpus: str) -> None:
    plain, adapted = features(corpus, False), features(corpus, True)
    assert plain.shape == adapted.shape
    assert (plain - adapted).abs().max() > 1e-3
    assert torch.equal(adapted, features(corpus, True))
    assert not torch.equal(adapted, features(corpus, True, seed=1))  # the seed is the key of the child tasks
    still = features(corpus, True, node_lr=0.0, graph_lr=0.0)
    torch.testing.assert_close(still, plain, rtol=0, atol=1e-4)


def test_readout_steps_replace_those_of_the_pre_training(corpus: str) -> None:
    own, joint = checkpoint(), checkpoint(node_steps=0, graph_steps=0)
    given = config(corpus, readout=("adapted",))
    (found,) = read_out(given, [own])
    assert found.adapted is not None
    assert (found.name, found.adapted.node_steps, found.adapted.node_lr) == ("run-1 adapted", 1, 0.5)
    (more,) = read_out(replace(given, readout_steps=3), [joint])
    assert more.adapted == replace(found.adapted, node_steps=3, graph_steps=3)


def test_names_of_jobs_tell_readouts_apart(corpus: str) -> None:
    job = FewLabelJob(0, 12, 0)
    givens = [
        config(corpus),
        config(corpus, readout=("adapted",)),
        config(corpus, readout=("adapted",), readout_steps=2),
    ]
    assert len({run_of(given, *read_out(given, [checkpoint()])).name(job) for given in givens}) == 3


def test_comparisons_on_one_split(corpus: str) -> None:
    given = FinetuneConfig(corpus, frozen=True, readout=BOTH, seeds=1, epochs=2, split=SplitConfig("random"))
    result = finetuned(given, [checkpoint()])
    assert [row.method for row in result.rows] == ["run-1", "run-1 adapted", "none"]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (checkpoint(objective="edgepred"), "run-1 is of edgepred, not of l2p"),
        (InitialEncoder("fresh", SMALL), "fresh is of no pre-training"),
        (checkpoint(node_steps=0, graph_steps=0), "run-1 is without inner steps"),
        (checkpoint(levels="node", node_steps=0), "run-1 is without inner steps"),
        (checkpoint(adaptation="batch"), "l2p.adaptation=batch, not graph"),
        (checkpoint(messages="no_tasks"), "l2p.messages=no_tasks, not all"),
        (checkpoint(negatives="other"), "l2p.negatives=other, not shift"),
    ],
)
def test_checkpoints_without_weights_of_each_graph_are_refused(start: InitialEncoder, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        read_out(FinetuneConfig("x", frozen=True, readout=("adapted",)), [start])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"readout": BOTH, "frozen": False}, "give frozen"),
        ({"readout": ()}, "readout must name each once"),
        ({"readout": ("plain", "plain")}, "readout must name each once"),
        ({"readout": BOTH, "save_models": True}, "leave out save_models"),
        ({"readout": BOTH, "readout_steps": 4}, "readout_steps must be 0, 1, 2 or 3"),
        ({"readout_steps": 1}, "option of readout=adapted"),
    ],
)
def test_options_that_contradict_each_other(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        replace(FinetuneConfig("x", frozen=True), **changes)


def test_sweeps_read_out_plainly() -> None:
    with pytest.raises(RequestError, match=r"finetune.readout: trials read out plainly"):
        TuneConfig(finetune=FinetuneConfig("x", checkpoint=("y",), frozen=True, readout=BOTH), space=("finetune",))


def test_it_is_in_the_saved_config() -> None:
    given = FinetuneConfig("x", frozen=True, readout=BOTH, readout_steps=2)
    assert from_json(FinetuneConfig, to_json(given), "config") == given
