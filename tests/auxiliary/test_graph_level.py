"""Multi-task problems on a labelled corpus: losses equal those of fine-tuning and pre-training, and folds are independent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distgnn.auxiliary.auxiliary_corpus import AuxiliaryCorpus
from distgnn.auxiliary.graph_level import GraphLevelProblem
from distgnn.auxiliary.hypergradient import derivatives, shifted_parameters
from distgnn.auxiliary.problem import Samples
from distgnn.auxiliary.task_gradients import Layout
from distgnn.auxiliary.trainer import Trainer, update_running_stats
from distgnn.config import CorpusTaskConfig, EncoderConfig, FinetuneConfig, SplitConfig, TransferConfig
from distgnn.config.transfer import ObjectivesConfig
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError, WorkError
from distgnn.graph.batch import select_graphs
from distgnn.labels.dataset import LabelledSet, load_labelled
from distgnn.labels.scores import score
from distgnn.models.heads import graph_features
from distgnn.models.norm import statistics
from distgnn.objectives.attrmasking import MaskingConfig
from distgnn.objectives.build import build_objective
from tests.helpers.labelled import FEATURES, signal, write_labelled
from tests.helpers.training import CPU

GRAPHS = 90
ALONE = ProcessGroup.single_process(CPU)
SMALL = EncoderConfig(layers=2, width=8)
FOLDS = [np.array([0, 5, 9]), np.array([1, 2]), np.array([3, 7, 8, 11])]
TASKS = ("edgepred", "attrmasking")


def write(uri: str, kind: str) -> str:
    s = signal(GRAPHS)
    columns: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {
        "binary": (np.stack([s > 0, s > 0.5], 1).astype(float), ("easy", "rare")),
        "classes": (np.digitize(s, [-0.5, 0.5])[:, None].astype(float), ("class",)),
        "values": (np.stack([1000 + 50 * s, 0.001 * s], 1), ("big", "small")),
    }
    y, names = columns[kind]
    if kind != "classes":
        y[::7, -1] = np.nan
    write_labelled(uri, y, names)
    return uri


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(str(tmp_path_factory.mktemp("corpora") / "binary"), "binary")


def labelled(uri: str) -> LabelledSet:
    return load_labelled(FinetuneConfig(uri, split=SplitConfig("random")))


def problem(
    uri: str, group: ProcessGroup = ALONE, seed: int = 0, encoder: EncoderConfig = SMALL, **options: Any
) -> GraphLevelProblem:
    settings: dict[str, Any] = {"auxiliary": TASKS, "streams": 2, "dropout": 0.0} | options
    made = GraphLevelProblem(labelled(uri), encoder, CorpusTaskConfig(**settings), seed, group)
    return double(made)


def double(made: GraphLevelProblem) -> GraphLevelProblem:
    made.encoder.double()
    made.heads.double()
    return made


def sums(samples: list[Samples]) -> Tensor:
    return torch.stack([torch.stack([s.losses.sum(), s.labels.sum(), s.count.double()]) for s in samples]).detach()


@pytest.mark.parametrize("kind", ["binary", "classes", "values"])
def test_target_is_the_loss_of_fine_tuning(tmp_path: Path, kind: str) -> None:
    made = problem(write(str(tmp_path / "c"), kind), streams=1)
    batch = made.fetch(FOLDS, 0)
    target, _ = made.losses(batch)
    for rows, samples in zip(FOLDS, target, strict=True):
        chosen = made.train[torch.from_numpy(rows)]
        graphs = select_graphs(made.data.graphs, chosen)
        outputs = made.heads[0](graph_features(made.encoder, graphs, made.data.use_center))
        expected = made.target.loss(outputs, made.data.y[chosen])
        assert (samples.losses.sum() / samples.count).item() == pytest.approx(expected.item(), rel=1e-6)
        assert samples.losses.shape == samples.labels.shape == (int(samples.count),)
        assert not samples.labels.requires_grad


def test_labels_are_known_ones_in_order(binary: str) -> None:
    made = problem(binary)
    target, _ = made.losses(made.fetch(FOLDS, 0))
    y = made.data.y[made.train[torch.from_numpy(FOLDS[0])]]
    assert target[0].labels.tolist() == y[~torch.isnan(y)].tolist()


def test_fold_losses_equal_those_of_the_joint_pass(binary: str) -> None:
    """Ghost normalisation stays within streams, and streams within folds."""
    made = problem(binary)
    batch = made.fetch(FOLDS, 3)
    together, _ = made.losses(batch)
    for fold in range(len(FOLDS)):
        torch.testing.assert_close(made.fold_losses(batch, fold).losses, together[fold].losses, rtol=1e-12, atol=0)
    others = [FOLDS[0], np.array([20, 21, 22]), FOLDS[2]]
    changed, _ = made.losses(made.fetch(others, 3))
    torch.testing.assert_close(changed[0].losses, together[0].losses, rtol=1e-12, atol=0)
    one_stream, _ = problem(binary, streams=1).losses(batch_of(binary, 1))
    assert not torch.allclose(one_stream[0].losses, together[0].losses)


def batch_of(uri: str, streams: int) -> Any:
    return problem(uri, streams=streams).fetch(FOLDS, 3)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_two_ranks_sum_to_one(binary: str, dropout: float) -> None:
    """Losses of every fold and task, and running statistics."""
    options = {"auxiliary": (*TASKS, "infomax@corpus"), "aux_corpus": binary, "aux_batch": 10, "dropout": dropout}
    found = []
    for group in (ALONE, ProcessGroup(0, 2, CPU), ProcessGroup(1, 2, CPU)):
        made = problem(binary, group, **options)
        target, auxiliary = made.losses(made.fetch(FOLDS, 5))
        found.append((sums(target), sums(auxiliary), statistics(made.encoder).double()))
    for one, first, second in zip(*found, strict=True):
        torch.testing.assert_close(first + second, one, rtol=1e-6, atol=1e-6)
    assert all(float(part[:, 2].min()) > 0 for part in found[1][:2])


def test_a_rank_without_rows_returns_differentiable_zeros(binary: str) -> None:
    made = problem(binary, ProcessGroup(1, 2, CPU), streams=2)
    target, auxiliary = made.losses(made.fetch([np.array([4]), np.array([6])], 0))
    assert [len(samples.losses) for samples in target] == [0, 0]
    total = sum(samples.losses.sum() for samples in (*target, *auxiliary))
    assert isinstance(total, Tensor)
    total.backward()
    assert total.item() == 0
    assert made.fold_losses(made.fetch([np.array([4])], 0), 0).losses.requires_grad


def test_auxiliary_losses_are_the_objectives_own(binary: str) -> None:
    made = problem(binary, streams=1)
    _, auxiliary = made.losses(made.fetch(FOLDS, 9))
    chosen = made.train[torch.from_numpy(np.concatenate(FOLDS))]
    ptr = torch.tensor([0, 3, 5, 9])
    for name, samples, own in zip(TASKS, auxiliary, made.objectives, strict=True):
        objective = build_objective(made.config.objective(name, SMALL, "x", 0), FEATURES)
        assert objective is not None
        objective.double()
        graphs = select_graphs(made.data.graphs, chosen)
        graphs = replace(graphs, extras=objective.prepare(graphs, 0, 9), stream_ptr=ptr)
        expected = objective.losses(made.encoder, graphs, 0, 9)
        assert samples.losses.item() == pytest.approx(expected.total.item(), rel=1e-9), name
        assert float(samples.count) == float(expected.count)
        assert samples.summed
        assert [*own.state_dict()] == [*objective.state_dict()]


def test_task_samples_are_a_function_of_the_step(binary: str) -> None:
    made = problem(binary)
    first, again, other = (sums(made.losses(made.fetch(FOLDS, step))[1]) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


class TestAuxiliaryCorpus:
    def test_every_graph_is_read_once_per_epoch(self, corpus: str) -> None:
        """Steps can be read in any order."""
        made = AuxiliaryCorpus(corpus, 30, 3, seed=4)
        steps = list(range(made.plan.steps_per_epoch))
        found = {step: made.step(step, ALONE) for step in reversed(steps)}
        ids = torch.cat([graphs.graph_id for graphs in found.values() if graphs is not None])
        assert len(ids) == len(set(ids.tolist())) == 300
        whole = made.step(0, ALONE)
        halves = [made.step(0, ProcessGroup(rank, 2, CPU)) for rank in range(2)]
        assert whole is not None
        assert whole.stream_ptr is not None
        assert whole.stream_ptr.tolist() == [0, 10, 20, 30]
        assert sorted(whole.graph_id.tolist()) == sorted(i for half in halves if half for i in half.graph_id.tolist())

    def test_other_features_are_refused(self, binary: str, corpus: str) -> None:
        with pytest.raises(RequestError, match=r"aux_corpus .* features differ"):
            problem(binary, auxiliary=("edgepred@corpus",), aux_corpus=corpus)

    def test_supervised_task_on_aux_corpus_reads_labels(self, binary: str) -> None:
        made = problem(binary, auxiliary=("supervised@corpus",), aux_corpus=binary)
        assert made.losses(made.fetch(FOLDS, 0))[1][0].losses.item() > 0


def test_scores_are_those_of_predictions(binary: str) -> None:
    made = problem(binary)
    made.encoder.eval()
    graphs = select_graphs(made.data.graphs, torch.from_numpy(made.data.parts["test"]))
    found = made.heads[0](graph_features(made.encoder, graphs, made.data.use_center)).sigmoid().detach().numpy()
    expected = score("classification", made.data.labels("test"), found).value
    assert made.evaluate("test").scores == {"roc_auc": pytest.approx(expected)}
    with torch.no_grad():
        made.heads[0].bias.fill_(np.nan)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    with pytest.raises(WorkError, match="not finite: training diverged"):
        made.evaluate("val")


def test_lower_is_better_for_errors(tmp_path: Path) -> None:
    made = problem(write(str(tmp_path / "c"), "values"))
    assert (made.metrics, made.lower_is_better) == (("rmse",), {"rmse"})


def test_running_statistics_are_those_of_the_target(binary: str) -> None:
    made = problem(binary)
    batch = made.fetch(FOLDS, 0)
    made.losses(batch)
    expected = statistics(made.encoder)
    made.losses(batch)
    made.fold_losses(batch, 1)
    before = {name: value.clone() for name, value in made.encoder.state_dict().items() if "running" in name}
    update_running_stats(made.encoder, ALONE)
    after = {name: value for name, value in made.encoder.state_dict().items() if "running" in name}
    assert all(not torch.equal(before[name], after[name]) for name in before)
    made.losses(batch)
    assert torch.equal(statistics(made.encoder), expected)


def test_dropout_is_keyed_and_options_of_objectives_count(binary: str) -> None:
    base = sums(problem(binary).losses(batch_of(binary, 2))[0])
    dropped = problem(binary, dropout=0.5)
    state = torch.random.get_rng_state()
    first, again = (dropped.losses(dropped.fetch(FOLDS, 3))[0] for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(sums(first), sums(again))
    assert not torch.allclose(sums(first), base)
    rates = [ObjectivesConfig({"attrmasking": MaskingConfig(rate=rate)}) for rate in (0.15, 0.9)]
    few, many = (problem(binary, objectives=rate) for rate in rates)
    masked = [made.losses(made.fetch(FOLDS, 0))[1][1].losses.item() for made in (few, many)]
    assert masked[0] != masked[1]


@pytest.mark.parametrize(
    "method", ["none", "fixed", "cosine", "selar", "auxts_one", "auxts_all", "frozen", "uncertainty"]
)
def test_every_method_trains(binary: str, method: str) -> None:
    made = GraphLevelProblem(labelled(binary), SMALL, CorpusTaskConfig(auxiliary=TASKS), 0, ALONE)
    found = Trainer(made, TransferConfig(binary, epochs=2, batch=24, lr=0.01), method, 0, ALONE).run()
    assert all(np.isfinite(value) for epoch in found.validation for value in epoch.values())
    assert found.curves["losses"].shape == (6, 3)


@pytest.mark.parametrize("kind", ["gin", "gcn", "sage", "gat"])
def test_forward_mode_equals_finite_differences(binary: str, kind: str) -> None:
    """As used for weights per sample: through ghost normalisation, messages and the loss of labels."""
    tasks = ("edgepred", "attrmasking", "infomax", "structure")
    made = problem(binary, encoder=replace(SMALL, kind=kind), auxiliary=tasks)
    layout, batch = Layout(made), made.fetch(FOLDS, 2)
    with torch.no_grad():
        flat = torch.sin(torch.arange(layout.target_size, dtype=torch.float64))
        found = derivatives(made, batch, layout, flat)
        ends = []
        for sign in (1, -1):
            with shifted_parameters(layout, sign * 1e-6 * flat):
                target, auxiliary = made.losses(batch)
                ends.append([samples.losses for samples in (*target, *auxiliary)])
    for slope, after, before in zip(found, *ends, strict=True):
        torch.testing.assert_close(slope, (before - after) / 2e-6, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"auxiliary": ("none",)}, "corpus.auxiliary: none trains nothing; leave it out"),
        ({"auxiliary": ("edgepred", "edgepred")}, "twice"),
        ({"auxiliary": ("edgepred@corpus",)}, "aux_corpus and tasks NAME@corpus must be given together"),
        ({"aux_corpus": "x"}, "must be given together"),
        ({"streams": 0}, "corpus.streams"),
        ({"aux_batch": 0}, "corpus.aux_batch"),
        ({"dropout": 1.0}, "corpus.dropout"),
        ({"max_labels": -1}, "corpus.max_labels"),
    ],
)
def test_wrong_options(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        CorpusTaskConfig(**wrong)


def test_a_task_that_reads_labels_is_refused_on_the_labelled_graphs(binary: str) -> None:
    with pytest.raises(RequestError, match="supervised reads the labels, which are the target; use supervised@corpus"):
        problem(binary, auxiliary=("supervised",))


def test_a_task_without_its_features_is_refused(tmp_path: Path) -> None:
    """contextpred needs no features, attrmasking does: bonds are absent here."""
    uri = write(str(tmp_path / "c"), "binary")
    masks = ObjectivesConfig({"attrmasking": MaskingConfig(target="edge")})
    with pytest.raises(RequestError, match="edge"):
        problem(uri, objectives=masks)


@pytest.mark.parametrize(("kind", "apart"), [("classes", True), ("binary", False), ("values", False)])
def test_strata_are_the_classes_of_one_label(tmp_path: Path, kind: str, apart: bool) -> None:
    uri = write(str(tmp_path / kind), kind)
    first = labelled(uri).labels("train")[:, 0]
    assert problem(uri).strata.tolist() == (first if apart else np.zeros(len(first))).tolist()


def test_graphs_without_their_label_are_a_stratum(tmp_path: Path) -> None:
    y = np.where(np.arange(GRAPHS) % 5, signal(GRAPHS) > 0, np.nan)[:, None].astype(float)
    write_labelled(str(tmp_path / "holes"), y, ("one",))
    first = labelled(str(tmp_path / "holes")).labels("train")[:, 0]
    assert problem(str(tmp_path / "holes")).strata.tolist() == np.where(np.isnan(first), -1, first).tolist()


def test_half_of_the_validation_graphs_judge_and_the_others_select(binary: str) -> None:
    whole, split = problem(binary), problem(binary)
    split.split_validation(3)
    rows = {part: set(found.tolist()) for part, found in split.data.parts.items()}
    assert rows["judge"] | rows["val"] == set(whole.data.parts["val"].tolist())
    assert not rows["judge"] & rows["val"]
    assert split.judges == len(rows["judge"]) == len(whole.data.parts["val"]) // 2
    (batch,) = split.fetch_unseen(np.arange(split.judges), 0).folds
    wanted = split.data.parts["judge"]
    assert torch.equal(batch.y.nan_to_num(-1), split.data.y[torch.from_numpy(wanted)].nan_to_num(-1))  # pyright: ignore[reportOptionalMemberAccess]
    assert split.evaluate("val").predictions.shape[0] == len(rows["val"])  # pyright: ignore[reportOptionalMemberAccess]
    assert split.evaluate("test").scores == whole.evaluate("test").scores
    assert torch.equal(*(sums(one.losses(one.fetch(FOLDS, 1))[0]) for one in (whole, split)))
