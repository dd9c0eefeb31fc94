"""Encoder for any schema: weighs cells of evidence by their descriptions and by labels, and predicts in closed form.

A column is a token: its description (path, aggregate, kind, hashed names), statistics of its values and of the context labels.
Tokens attend to each other; each says how much its column counts in a kernel between rows, in which shape, and how it enters an
embedding of the row (attention over cells). The labels of the context are then a Gaussian process with this kernel. No weight
belongs to a table, a column or a relation, so one model reads every schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distgnn.config.database_model import DatabaseModelConfig
from distgnn.relational.head import left_out_loss, solve, solve_weights
from distgnn.relational.values import CHANNELS, FACTS, NAME_BUCKETS

_STATISTICS = 3 * CHANNELS + CHANNELS
_TASK = 5
_AMPLITUDES = 4  # linear, radial, embedding, noise


@dataclass(frozen=True)
class Episode:
    """Context rows with labels, and query rows.

    Attributes:
        context: [n, columns, 4], channels of the context rows; n may be 0.
        query: [m, columns, 4].
        facts: [columns, FACTS], descriptions.
        names: [columns, NAME_BUCKETS]; zeros = no names.
        labels: [n], 0 or 1, or numbers.
        targets: [m], labels of the queries; empty if unknown.
        binary: Whether labels are 0 or 1.
        horizon: Length of the label window in days.
    """

    context: Tensor
    query: Tensor
    facts: Tensor
    names: Tensor
    labels: Tensor
    targets: Tensor
    binary: bool
    horizon: float = 0.0


class Task(NamedTuple):
    """Standardised labels of the context, and their location and scale."""

    labels: Tensor
    location: Tensor
    scale: Tensor


class Prior(NamedTuple):
    """What the tokens say: the kernel and the mean before labels.

    Attributes:
        linear: [columns, 4], share of each channel in the linear kernel; adds up to 1.
        metric: [columns], share of each column in the squared distance; adds up to 1.
        mean: [columns, 4], weights of the prior mean.
        attention: [columns, heads + width], log weights of cells in the embedding of a row, then the tokens.
        amplitudes: [4], log amplitudes of the linear, radial and embedding kernels, and of the noise.
        width: Log of the radial kernel's inverse squared length.
        gain: Log scale of predictions.
    """

    linear: Tensor
    metric: Tensor
    mean: Tensor
    attention: Tensor
    amplitudes: Tensor
    width: Tensor
    gain: Tensor


class Modulation(NamedTuple):
    """What adapts to a task in inner steps (zero = not at all)."""

    linear: Tensor
    metric: Tensor
    amplitudes: Tensor
    width: Tensor
    film: Tensor


class Placed(NamedTuple):
    """Rows as the kernel reads them.

    Attributes:
        linear: [n, features], whose products are the linear and the embedding kernel.
        radial: [n, columns], whose distances give the radial kernel.
        amplitude: Scalar, of the radial kernel.
    """

    linear: Tensor
    radial: Tensor
    amplitude: Tensor


class Fitted(NamedTuple):
    """A solved context; ``placed`` is None if it has no rows."""

    task: Task
    prior: Prior
    modulation: Modulation
    placed: Placed | None
    weights: Tensor
    binary: bool


def product(rows: Placed, others: Placed) -> Tensor:
    """Kernel between rows, [n, m]."""
    a, b = rows.radial, others.radial
    distance = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return rows.linear @ others.linear.T + rows.amplitude * (-distance.clamp_min(0)).exp()


class ColumnLayer(nn.Module):
    """Attention of columns to columns, then a network on each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, [columns, width] -> [columns, width]."""
        q, k, v = (
            part.reshape(x.shape[0], self.heads, -1).transpose(0, 1) for part in self.qkv(self.norms[0](x)).chunk(3, -1)
        )
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(
            -1
        )  # twice differentiable, unlike fused kernels
        x = x + self.out((weights @ v).transpose(0, 1).reshape(x.shape))
        return x + self.network(self.norms[1](x))


class _ColumnNetwork(nn.Sequential):
    """A layer of a column prior: each column on its own."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.GELU(), nn.Linear(width, width))


class Member(nn.Module):
    """A member of the model. See the module docstring.

    A column prior has neither attention between columns, nor statistics of the context labels, nor embeddings of rows.
    """

    def __init__(self, config: DatabaseModelConfig) -> None:
        super().__init__()
        self.config = config
        self.attention = config.kind == "attention"
        width, heads = config.width, config.heads
        self.names = nn.Linear(NAME_BUCKETS, config.name_width, bias=False)
        self.entry = nn.Linear(FACTS + config.name_width + self.attention * _STATISTICS + _TASK, width)
        layer = partial(ColumnLayer, width, heads) if self.attention else partial(_ColumnNetwork, width)
        self.layers = nn.ModuleList([layer() for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)
        self.per_column = nn.Linear(width, 2 * CHANNELS + 1 + heads)
        self.per_task = nn.Linear(2 * width, _AMPLITUDES + 2)
        if self.attention:
            self.cell = nn.Linear(width, heads * config.cell_width)
            self.channel = nn.Linear(CHANNELS, heads * config.cell_width)
            self.row = nn.Sequential(
                nn.Linear(heads * config.cell_width, width), nn.GELU(), nn.Linear(width, config.row_width)
            )
        rates = torch.tensor([100.0, 100.0, 3.0, 3.0, 1.0])  # logits over columns have small gradients
        self.inner_rate = nn.Parameter((config.inner_lr * rates).log())
        self._start()

    def _start(self) -> None:
        """Start near a uniform prior over columns: an untrained model is a plain Gaussian process."""
        for layer in (self.per_column, self.per_task):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.per_task.bias.copy_(torch.tensor([0.0, -0.5, -2.0, -0.2, 0.0, 0.0]))

    def forward(self, episode: Episode, steps: int = 0, *, second_order: bool = False) -> Tensor:
        """Return [m]: logits of the queries (binary), or standardised predictions.

        Args:
            episode: Context and query rows.
            steps: Inner steps of adaptation on the context.
            second_order: Keep the graph of the inner steps for an outer gradient.
        """
        return self.predict(self.fit(episode, steps, second_order=second_order), episode.query)

    def fit(self, episode: Episode, steps: int = 0, *, second_order: bool = False) -> Fitted:
        """Solve the context of an episode; its queries are not read."""
        task = standardise(episode)
        prior = self.prior(episode, task)
        modulation = self.modulation(episode)
        if steps and episode.context.shape[0] > 1:
            modulation = self.adapt(episode.context, task, prior, modulation, steps, second_order=second_order)
        if not episode.context.shape[0]:
            return Fitted(task, prior, modulation, None, task.labels, episode.binary)
        placed, *system = self._system(episode.context, task, prior, modulation)
        return Fitted(task, prior, modulation, placed, solve_weights(*system), episode.binary)

    def predict(self, fitted: Fitted, rows: Tensor) -> Tensor:
        """Predict rows, [m, columns, 4] -> [m]; each row on its own. See :meth:`forward`."""
        mean = self.row_mean(rows, fitted.prior)
        if fitted.placed is not None:
            placed = self.place(rows, fitted.prior, fitted.modulation)
            mean = mean + product(placed, fitted.placed) @ fitted.weights
        if not fitted.binary:
            return mean
        rate = fitted.task.location.clamp(0.02, 0.98)
        return mean * (1.0 + fitted.prior.gain).exp() + (rate / (1 - rate)).log()

    def prior(self, episode: Episode, task: Task) -> Prior:
        """What the columns say, given their descriptions and the context labels."""
        size, columns = episode.context.shape[0], episode.facts.shape[0]
        told = episode.facts.new_tensor(
            [
                size**0.5 / 16 if size else 0.0,
                float(episode.binary),
                episode.horizon > 0,
                min(max(float(task.location), 0.0), 1.0) if episode.binary else 0.5,
                columns**0.5 / 16,
            ]
        )
        parts = [episode.facts, self.names(episode.names)]
        parts += [statistics(episode.context, task.labels)] if self.attention else []
        x = self.entry(torch.cat([*parts, told.expand(columns, -1)], 1))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        linear, metric, mean, attention = self.per_column(x).split([CHANNELS, 1, CHANNELS, self.config.heads], 1)
        tuned = self.per_task(torch.cat([x.mean(0), x.amax(0)]))
        self_weight = x.new_tensor([0.0, -1.0, -1.0, -0.5])  # the rank counts most at the start
        return Prior(
            5 * linear + self_weight,
            5 * metric[:, 0],
            mean * columns**-0.5,
            torch.cat([5 * attention, x], 1),
            tuned[:_AMPLITUDES],
            tuned[_AMPLITUDES],
            tuned[_AMPLITUDES + 1],
        )

    def modulation(self, episode: Episode) -> Modulation:
        """A modulation of zeros."""
        facts = episode.facts
        columns = facts.shape[0]
        shapes = ((columns, CHANNELS), (columns,), (_AMPLITUDES,), (), (2, self.config.row_width))
        return Modulation(*(facts.new_zeros(shape) for shape in shapes))

    def adapt(
        self, context: Tensor, task: Task, prior: Prior, modulation: Modulation, steps: int, *, second_order: bool
    ) -> Modulation:
        """Adapt a modulation in ``steps`` gradient steps on the leave-one-out loss of the context (L2P-GNN's inner loop)."""
        with torch.enable_grad():
            modulation = Modulation(*(value.requires_grad_() for value in modulation))
            for _ in range(steps):
                loss = self.inner_loss(context, task, prior, modulation)
                gradients = torch.autograd.grad(
                    loss, list(modulation), create_graph=second_order, retain_graph=True, materialize_grads=True
                )
                rates = self.inner_rate.exp()
                moved = zip(modulation, rates, gradients, strict=True)
                modulation = Modulation(*(value - rate * _clipped(gradient) for value, rate, gradient in moved))
        return modulation

    def inner_loss(self, context: Tensor, task: Task, prior: Prior, modulation: Modulation) -> Tensor:
        """Leave-one-out loss of the context."""
        return left_out_loss(solve(*self._system(context, task, prior, modulation)[1:]))

    def row_mean(self, rows: Tensor, prior: Prior) -> Tensor:
        """Prior mean of rows, [n]."""
        return torch.einsum("nfc,fc->n", rows, prior.mean)

    def _system(
        self, context: Tensor, task: Task, prior: Prior, modulation: Modulation
    ) -> tuple[Placed, Tensor, Tensor, Tensor]:
        """The placed context, its kernel, the noise, and what the prior mean leaves of the labels."""
        placed = self.place(context, prior, modulation)
        noise = (prior.amplitudes[-1] + modulation.amplitudes[-1]).exp()
        return placed, product(placed, placed), noise, task.labels - self.row_mean(context, prior)

    def place(self, rows: Tensor, prior: Prior, modulation: Modulation) -> Placed:
        """Place rows where the kernel of two rows is a function of their places."""
        amplitudes = (prior.amplitudes + modulation.amplitudes).exp()
        linear = (3 * amplitudes[0] * (prior.linear + modulation.linear).flatten().softmax(0)).sqrt()
        narrow = (prior.width + modulation.width + 1.0).exp()
        metric = (narrow * (prior.metric + modulation.metric).softmax(0)).sqrt()
        placed = [rows.flatten(1) * linear]
        placed += [self.embed(rows, prior, modulation.film) * amplitudes[2].sqrt()] if self.attention else []
        return Placed(torch.cat(placed, 1), rows[:, :, 0] * metric, amplitudes[1])

    def embed(self, rows: Tensor, prior: Prior, film: Tensor) -> Tensor:
        """Embed rows by attention over their cells, [rows, row_width], scaled to length 1 on average."""
        heads, width = self.config.heads, self.config.cell_width
        logits, tokens = prior.attention.split([heads, self.config.width], 1)
        weights = logits.softmax(0)
        gates = self.cell(tokens).reshape(-1, heads, width) * weights[:, :, None]
        channel = self.channel.weight.reshape(heads, width, CHANNELS)
        mixed = torch.einsum("fhw,hwc->fchw", gates, channel).reshape(-1, heads * width)
        x = self.row(rows.flatten(1) @ mixed + self.channel.bias)
        x = F.layer_norm(x, x.shape[-1:])
        return (x * (1 + film[0]) + film[1]) * x.shape[-1] ** -0.5


def standardise(episode: Episode) -> Task:
    """Standardise the labels of the context; without context, location 0.5 (binary) or 0 and scale 1."""
    labels = episode.labels
    size = labels.numel()
    if episode.binary:
        location = (labels.sum() + 0.5) / (size + 1)
        scale = (location * (1 - location)).sqrt()
    else:
        location = labels.mean() if size else labels.new_zeros(())
        scale = labels.std(unbiased=False).clamp_min(1e-6) if size else labels.new_ones(())
    return Task((labels - location) / scale, location, scale)


def statistics(context: Tensor, labels: Tensor) -> Tensor:
    """Statistics of the context labels by column, [columns, 16]: correlations, their significance and ridge weights."""
    size, columns = context.shape[:2]
    if size < 2:
        return context.new_zeros(columns, _STATISTICS)
    centred = context - context.mean(0)
    spread = centred.square().mean(0).sqrt().clamp_min(1e-3)
    y = labels - labels.mean()
    y = y / y.square().mean().sqrt().clamp_min(1e-3)
    correlation = torch.einsum("nfc,n->fc", centred, y) / size / spread
    signed = correlation * size**0.5
    flat = (centred / spread).flatten(1)
    ridge = _ridge(flat, y)
    ridge = ridge.reshape(columns, CHANNELS) / ridge.square().mean().sqrt().clamp_min(1e-6)
    known = (spread > 2e-3).to(spread.dtype)
    parts = [correlation, (signed / 4).tanh(), (signed.abs() - 2) / 4 * known, (ridge / 2).tanh()]
    return torch.cat(parts, 1).clamp(-3, 3)


def _ridge(x: Tensor, y: Tensor) -> Tensor:
    """Weights of a ridge regression, by the smaller of its two systems of equations."""
    rows, columns = x.shape
    wide = rows <= columns
    gram = (x @ x.T if wide else x.T @ x) / columns
    system = gram + torch.eye(gram.shape[0], dtype=x.dtype, device=x.device)
    return x.T @ torch.linalg.solve(system, y) if wide else torch.linalg.solve(system, x.T @ y)


def _clipped(gradient: Tensor) -> Tensor:
    """Limit the length of a gradient to 1, smoothly."""
    return gradient / (1 + gradient.square().sum()).sqrt()


def query_loss(prediction: Tensor, episode: Episode, task: Task) -> Tensor:
    """Loss of the queries: cross-entropy and half the pairwise ranking loss (binary), or Huber loss of standardised labels."""
    if not episode.binary:
        return F.huber_loss(prediction, ((episode.targets - task.location) / task.scale).clamp(-4, 4))
    loss = F.binary_cross_entropy_with_logits(prediction, episode.targets)
    positive, negative = prediction[episode.targets > 0.5], prediction[episode.targets < 0.5]
    if not (positive.numel() and negative.numel()):
        return loss
    return loss + 0.5 * F.softplus(negative[None, :] - positive[:, None]).mean()
