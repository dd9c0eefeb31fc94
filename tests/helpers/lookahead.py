"""Reference implementation of AUX-TS's look-ahead by second derivatives of torch, one task and sample at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.hypergradient import Bound
from distgnn.auxiliary.problem import MultiTaskProblem, Samples
from distgnn.auxiliary.weighting import Signals, Weighting


def mean_loss(parts: list[Samples]) -> Tensor:
    return torch.cat([part.losses for part in parts]).sum() / sum(float(part.count) for part in parts)


def cosine(first: list[Tensor], second: list[Tensor]) -> Tensor:
    a, b = (torch.cat([part.flatten() for part in parts]) for parts in (first, second))
    return a @ b / (a.norm() * b.norm())


def similarities(problem: MultiTaskProblem, tasks: list[Tensor], by_layer: bool) -> Tensor:
    """[K + 1] from the tasks' mean losses."""
    owners: dict[str, list[Tensor]] = {}
    for name, parameter in problem.shared.named_parameters():
        owners.setdefault(name.rpartition(".")[0] if by_layer else "all", []).append(parameter)
    found = [torch.ones((), dtype=tasks[0].dtype)]
    for task in tasks[1:]:
        values = []
        for parameters in owners.values():
            grads = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (tasks[0], task)]
            values.append(cosine(*map(list, grads)))
        found.append(torch.stack(values).mean())
    return torch.stack(found)


def signals_of(tasks: list[list[Samples]], known: Tensor, per_sample: bool) -> tuple[Signals, list[Tensor]]:
    """(signals row by row, what each row's weight multiplies in the joint loss)."""
    rows: list[tuple[int, Tensor, Tensor, Tensor]] = []
    for number, parts in enumerate(tasks):
        losses, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("losses", "labels"))
        count = sum(float(part.count) for part in parts)
        if per_sample and not parts[0].summed:
            rows += [(number, loss.detach(), label, loss / count) for loss, label in zip(losses, labels, strict=True)]
        else:
            mean = losses.sum() / count
            rows.append((number, mean.detach(), labels.sum() / count, mean))
    task, loss, label, terms = zip(*rows, strict=True)
    return Signals(torch.tensor(task), torch.stack(loss), torch.stack(label), known), list(terms)


def joint_loss(
    problem: MultiTaskProblem, tasks: list[list[Samples]], weighting: Weighting, by_layer: bool = False
) -> tuple[Tensor, Tensor]:
    """(sum_i mean_j w_ij l_ij with weights that depend on the weighting's parameters, weights)."""
    known = similarities(problem, [mean_loss(parts) for parts in tasks], by_layer)
    signals, terms = signals_of(tasks, known, weighting.per_sample)
    weights = weighting(signals)
    if weighting.normalised:
        weights = weights / weights[signals.task == 0].mean()
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum(), weights


def lookahead_loss(
    problem: MultiTaskProblem, batch: Any, weighting: Weighting, folds: Batches, alpha: float, by_layer: bool = False
) -> Tensor:
    """Return L_meta(theta_hat(w)), averaged over the validation parts; differentiable w.r.t. the weighting's parameters."""
    found, (target, auxiliary) = [], problem.losses(batch)
    bound = Bound(problem)
    parameters = dict(bound.named_parameters())
    for judge in folds.judges:
        others = [samples for part, samples in enumerate(target) if part != judge]
        joint, _ = joint_loss(problem, [others, *([samples] for samples in auxiliary)], weighting, by_layer)
        grads = torch.autograd.grad(joint, list(parameters.values()), create_graph=True, materialize_grads=True)
        ahead = {name: value - alpha * grad for (name, value), grad in zip(parameters.items(), grads, strict=True)}
        found.append(mean_loss([functional_call(bound, ahead, (problem.fold_losses, batch, judge))]))
    return torch.stack(found).mean()
