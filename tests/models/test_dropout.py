"""Keyed dropout: its rate, that masks are independent, and that they belong to rows, not to batches or processes."""

from dataclasses import replace

import pytest
import torch

from distgnn.graph.batch import select_graphs
from distgnn.models.dropout import Dropout, node_ids
from tests.helpers.graphs import random_graphs

ROWS, WIDTH = 20_000, 32


def kept(dropout: Dropout, layer: int = 1, rows: torch.Tensor | None = None) -> torch.Tensor:
    rows = torch.arange(ROWS) if rows is None else rows
    return dropout.masks(rows).drop(torch.ones(len(rows), WIDTH, dtype=torch.float64), layer)


@pytest.mark.parametrize("probability", [0.01, 0.3, 0.5, 0.95])
def test_rate_and_scale(probability: float) -> None:
    found = kept(Dropout(probability))
    assert found.unique().tolist() == [0, pytest.approx(1 / (1 - probability))]
    spread = (probability * (1 - probability)) ** 0.5
    for part, count in ((found, ROWS * WIDTH), (found.mean(0), ROWS), (found[:200].mean(1), WIDTH)):
        rate = 1 - part * (1 - probability)
        assert (rate.mean() - probability).abs() < 5 * spread / part.numel() ** 0.5 / (count / part.numel()) ** 0.5
        assert (rate - probability).abs().max() < 6 * spread / count**0.5 or part is found


def test_masks_of_rows_columns_layers_passes_and_keys_are_uncorrelated() -> None:
    dropout, other = Dropout(0.5), Dropout(0.5)
    other.restart(1)
    first, second = kept(dropout), kept(dropout)
    unrelated = [(first, second), (first, kept(other)), (first, first.roll(1, 0)), (first, first.roll(1, 1))]
    dropout.restart(0)
    unrelated.append((first, kept(dropout, layer=2)))
    for one, two in unrelated:
        assert abs(float(((one - 1) * (two - 1)).mean())) < 5 / (ROWS * WIDTH) ** 0.5


def test_masks_of_neighbouring_rows_stay_uncorrelated_over_passes() -> None:
    graph, node = torch.arange(400) // 20, torch.arange(400) % 20
    dropout, rows = Dropout(0.5), (graph << 32) + node
    found = torch.cat([kept(dropout, rows=rows) for _ in range(400)], dim=1) - 1
    correlation = found @ found.t() / found.shape[1]
    assert correlation.fill_diagonal_(0).abs().max() < 5.5 / found.shape[1] ** 0.5


def test_a_probability_next_to_one_drops_nearly_all() -> None:
    assert (kept(Dropout(1 - 1e-12)) == 0).all()


def test_a_restart_repeats_the_masks() -> None:
    dropout = Dropout(0.5)
    dropout.restart(7)
    first = [kept(dropout), kept(dropout)]
    dropout.restart(7)
    assert torch.equal(kept(dropout), first[0])
    assert torch.equal(kept(dropout), first[1])


def test_the_mask_of_a_row_depends_on_its_id_only() -> None:
    chosen = torch.tensor([5, 3, 11])
    whole, part = kept(Dropout(0.5)), kept(Dropout(0.5), rows=chosen)
    assert torch.equal(part, whole[chosen])
    odd = torch.arange(10) % 2 == 1
    taken = Dropout(0.5).masks(torch.arange(10)).take(odd).drop(torch.ones(5, WIDTH), 1)
    assert torch.equal(taken.double(), whole[:10][odd])


def test_ids_of_nodes_belong_to_graphs_not_to_batches() -> None:
    graphs = random_graphs([4, 1, 6])
    ids = node_ids(graphs)
    assert len(ids.unique()) == graphs.num_nodes
    assert torch.equal(node_ids(select_graphs(graphs, torch.tensor([2, 0]))), torch.cat([ids[5:], ids[:4]]))


def test_graph_ids_have_64_bits() -> None:
    graphs = random_graphs([4, 4, 4, 4])
    wide = replace(graphs, graph_id=torch.tensor([3, 3 + (1 << 32), 3 + (2 << 32), -(1 << 40) + 3]))
    assert len(node_ids(wide).unique()) == graphs.num_nodes


def test_gradients_pass_where_activations_do() -> None:
    x = torch.rand(50, WIDTH, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.5).masks(torch.arange(50)).drop(x, 1)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient * x, out)
