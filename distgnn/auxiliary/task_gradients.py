"""Gradients of all tasks w.r.t. the shared parameters: one flat all-reduce, their cosines, and weighted sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distgnn.auxiliary.problem import MultiTaskProblem, Samples
from distgnn.auxiliary.weighting.signals import Signals
from distgnn.distributed import ProcessGroup


class Layout:
    """Order of the trained parameters in flat vectors: the shared ones, the target's head, the other heads.

    Attributes:
        layers: Sizes of consecutive shared parameters that belong to the same module.
        target_parameters: Parameters of the target's loss: the shared ones and the target's head.
        target_size: Their size: the first numbers of a flat vector.
        size: Size of a flat vector.
    """

    def __init__(self, problem: MultiTaskProblem) -> None:
        self.shared = _trained(problem.shared)
        self.heads = [_trained(head) for head in problem.heads]
        self.target_parameters = [*self.shared, *self.heads[0]]
        self.parameters = [*self.shared, *(parameter for head in self.heads for parameter in head)]
        self.layers = _layers(problem.shared)
        self.head_sizes = [_count(head) for head in self.heads]
        self.shared_size, self.target_size = _count(self.shared), _count(self.target_parameters)
        self.size = _count(self.parameters)

    def cut(self, flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Split a flat vector into parts of the sizes of ``parameters``."""
        return list(flat.split([parameter.numel() for parameter in parameters]))

    def pieces(self, flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Split a flat vector into tensors of the shapes of ``parameters``."""
        parts = self.cut(flat, parameters)
        return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _count(parameters: Sequence[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _layers(module: nn.Module) -> list[int]:
    """Return numbers of trained parameters by owning module, in the order of ``module.parameters()``."""
    sizes: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            owner = name.rpartition(".")[0]
            sizes[owner] = sizes.get(owner, 0) + parameter.numel()
    return list(sizes.values())


def flat_gradient(loss: Tensor, parameters: Sequence[Tensor], keep: bool = True) -> Tensor:
    """Return d loss / d parameters as one vector, with zeros for unused parameters; keep: retain the graph."""
    flat = parameters[0].new_empty(_count(parameters))
    write_gradient(loss, parameters, list(flat.split([parameter.numel() for parameter in parameters])), keep)
    return flat


def write_gradient(loss: Tensor, parameters: Sequence[Tensor], places: Sequence[Tensor], keep: bool = True) -> None:
    """Like :func:`flat_gradient`, but written to ``places``: one flat tensor per parameter."""
    found = [None] * len(parameters)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True)
    for place, part in zip(places, found, strict=True):
        place.zero_() if part is None else place.copy_(part.reshape(-1))


@dataclass(frozen=True)
class Totals:
    """Sums over ranks for C folds of the target's samples, then K auxiliary tasks; float [C + K] each."""

    loss: Tensor
    count: Tensor
    label: Tensor
    parts: int

    def shares(self, parts: Sequence[int]) -> Tensor:
        """Return [K + 1, C + K]: the matrix from those sums to means of the tasks, with only some folds of the target.

        Rows of tasks without samples are zero.
        """
        tasks = len(self.loss) - self.parts + 1
        chosen = self.loss.new_zeros(tasks, len(self.loss))
        chosen[0, list(parts)] = 1
        chosen[range(1, tasks), range(self.parts, len(self.loss))] = 1
        count = chosen @ self.count
        return chosen * torch.where(count > 0, 1 / count, 0).unsqueeze(1)

    def means(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mean loss, mean label) of the tasks, [K + 1] each; a non-finite sum affects its own task only."""
        present = shares > 0
        loss, label = (torch.where(present, shares * sums, 0).sum(1) for sums in (self.loss, self.label))
        return loss, label


def local_totals(target: list[Samples], auxiliary: list[Samples]) -> Tensor:
    """Return [3, C + K]: sums of losses, counts and labels of this rank."""
    rows = [(samples.losses.detach().sum(), samples.count, samples.labels.sum()) for samples in (*target, *auxiliary)]
    like = target[0].losses
    return torch.stack([torch.stack([value.to(like) for value in row]) for row in rows], dim=1)


class TaskGradients:
    """Gradients of the summed losses of every fold of the target and every auxiliary task, over all ranks.

    Attributes:
        shared: [C + K, P], gradients of the shared parameters.
        target_heads: [C, P0], gradients of the target's head.
        heads: [Pi] for each auxiliary task.
        gram: [L, C + K, C + K], Gram matrix of the rows of ``shared``, in total (L = 1) or layer by layer.
    """

    def __init__(
        self, target: list[Samples], auxiliary: list[Samples], layout: Layout, group: ProcessGroup, by_layer: bool
    ) -> None:
        every, parts, size = [*target, *auxiliary], len(target), layout.shared_size
        numbers = [0] * parts + list(range(1, len(auxiliary) + 1))
        own = [layout.head_sizes[number] for number in numbers]
        totals = local_totals(target, auxiliary)
        flat = layout.parameters[0].new_empty(len(every) * size + sum(own) + totals.numel())
        shared, *heads, sums = flat.split([len(every) * size, *own, totals.numel()])
        self.shared = shared.view(len(every), size)
        for row, head, number, samples in zip(self.shared, heads, numbers, every, strict=True):
            places = [*layout.cut(row, layout.shared), *layout.cut(head, layout.heads[number])]
            write_gradient(samples.losses.sum(), [*layout.shared, *layout.heads[number]], places)
        sums.copy_(totals.flatten())
        group.all_reduce(flat)
        self.totals = Totals(*sums.view(3, -1), parts=parts)
        self.target_heads, self.heads = torch.stack(heads[:parts]), heads[parts:]
        layers = self.shared.split(layout.layers if by_layer else layout.shared_size, dim=1)
        self.gram = torch.stack([part @ part.t() for part in layers])

    def cosines(self, shares: Tensor) -> Tensor:
        """Return [K + 1], see :func:`cosines`."""
        return cosines(shares @ self.gram @ shares.t())


def cosines(gram: Tensor) -> Tensor:
    """Return [T] in [-1, 1]: cosine similarity of every gradient with the first, averaged over layers.

    The first entry is 1. A zero gradient (in a layer) has cosine 0 (in that layer).

    Args:
        gram: [L, T, T], Gram matrices of the gradients.
    """
    squares = gram.diagonal(dim1=1, dim2=2)
    lengths = (squares * squares[:, :1]).sqrt()
    found = torch.where(lengths > 0, gram[:, 0] / lengths, 0).clamp(-1, 1).mean(0)
    return torch.cat([torch.ones_like(found[:1]), found[1:]])


class WeightedTaskGradients:
    """K + 1 rows, one per task, with known gradients. Weighted gradients and derivatives are matrix products.

    Only the folds ``parts`` of the target's samples are used. All values are identical on all ranks.
    """

    def __init__(self, gradients: TaskGradients, parts: Sequence[int], matrix: bool) -> None:
        self._gradients, self._shares = gradients, gradients.totals.shares(parts)
        totals, shares = gradients.totals, self._shares
        tasks = torch.arange(len(shares), device=shares.device)
        shared = shares @ gradients.shared if matrix else None
        self.signals = Signals(tasks, *totals.means(shares), gradients.cosines(shares), shared)
        self.scale = torch.ones_like(self.signals.loss)
        self._parts = totals.parts

    @property
    def auxiliary(self) -> Tensor:
        """Gradients [K, P] of the auxiliary tasks' mean losses w.r.t. the shared parameters."""
        return self._shares[1:] @ self._gradients.shared

    def gradient(self, weights: Tensor, head_weights: Tensor) -> Tensor:
        """Return the weighted gradient as a flat vector of all parameters; weights, head_weights: [K + 1]."""
        shared = (weights @ self._shares) @ self._gradients.shared
        mixed = head_weights @ self._shares
        first = mixed[: self._parts] @ self._gradients.target_heads
        others = [mix * head for mix, head in zip(mixed[self._parts :], self._gradients.heads, strict=True)]
        return torch.cat([shared, first, *others])

    def directional_derivatives(self, direction: Tensor) -> Tensor:
        """Return [K + 1]: directional derivatives of the tasks' mean losses.

        ``direction`` is a flat vector of the target's parameters.
        """
        shifted_parameters = self._gradients.shared @ direction[: self._gradients.shared.shape[1]]
        head = self._gradients.target_heads @ direction[self._gradients.shared.shape[1] :]
        return self._shares @ torch.cat([shifted_parameters[: self._parts] + head, shifted_parameters[self._parts :]])

    def reduce(self, tensor: Tensor) -> Tensor:
        """Return ``tensor``: values are already summed over ranks."""
        return tensor
