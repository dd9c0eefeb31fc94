"""One method with one seed: training, choice of the epoch by validation, one look at the test part."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from distgnn.config import EncoderConfig, FinetuneConfig
from distgnn.errors import DivergedError, RequestError
from distgnn.graph.batch import select_graphs
from distgnn.graph.keyed import key, permutation
from distgnn.graph.purposes import LabelDraw
from distgnn.graph.schema import Schema
from distgnn.labels.dataset import LabelledSet
from distgnn.labels.scores import HIGHER_IS_BETTER, METRIC_OF, Floats, Score, score
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.models.heads import build_head, graph_features
from distgnn.models.norm import apply_statistics, statistics
from distgnn.models.registry import import_modules

EVALUATED_AT_ONCE = 256


@dataclass(frozen=True)
class Method:
    """An encoder to start from. weights: state of an Encoder, or None for fresh ones (then the seed decides them).

    schema: of the corpus the weights were trained on, checked against the labelled corpus; None where weights is None.
    """

    name: str
    encoder: EncoderConfig
    weights: dict[str, Tensor] | None = field(default=None, repr=False)
    schema: Schema | None = None


@dataclass(frozen=True)
class Outcome:
    """What a method reached with a seed.

    best_epoch: counted from 1, the first with the best validation score; scores and predictions (float32 [rows of the
    part, T]) of val, test and ood are of its weights. history: validation score after each epoch. seconds: wall time.
    weights: the model, where the config saves models: encoder.*, head.*, and what its features (float [F]) are standardised by,
    features.mean and features.std.
    """

    method: str
    seed: int
    best_epoch: int
    seconds: float
    scores: dict[str, Score]
    history: tuple[float, ...]
    predictions: dict[str, Floats] = field(repr=False)
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class RunJob:
    """Runs job (seed, number of the method); can be sent to workers. device: torch device of the whole job."""

    config: FinetuneConfig
    data: LabelledSet
    methods: tuple[Method, ...]
    device: str = "cpu"

    def __call__(self, job: tuple[int, int]) -> Outcome:
        """The outcome, a function of the arguments; global random state is left as it was."""
        import_modules(self.config.imports)  # this may be another process
        seed, number = job
        method, start = self.methods[number], time.perf_counter()
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device]):
            torch.manual_seed(key(seed, LabelDraw.DROPOUT))
            model = (_Probe if self.config.frozen else _Whole)(self, method, seed)
            best_epoch, history = self._fit(model, method.name, seed)
            task = self.data.target.task
            predictions = {part: self._predict(model, part) for part in self.data.parts if part != "train"}
            kept = model.tensors() if self.config.save_models else {}
            weights = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}
        scores = {part: score(task, self.data.labels(part), found) for part, found in predictions.items()}
        seconds = time.perf_counter() - start
        return Outcome(method.name, seed, best_epoch, seconds, scores, tuple(history), predictions, weights)

    def _fit(self, model: _Model, name: str, seed: int) -> tuple[int, list[float]]:
        """Train, and leave ``model`` with the weights of the best epoch: (that epoch, validation scores)."""
        config, y = self.config, self.data.y.to(self.device)
        train, target = torch.from_numpy(self.data.parts["train"]), self.data.target.to(self.device)
        sign = 1 if HIGHER_IS_BETTER[METRIC_OF[target.task]] else -1
        optimizer = torch.optim.Adam(
            model.trained.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        history: list[float] = []
        best_epoch, best_weights = 0, model.trained.state_dict()
        for epoch in range(1, config.epochs + 1):
            order = train[torch.from_numpy(permutation(key(seed, LabelDraw.ORDER, epoch), len(train)))].to(self.device)
            for rows in order.split(config.batch):
                optimizer.zero_grad()
                target.loss(model.learn(rows), y[rows]).backward()
                optimizer.step()
            found = self._predict(model, "val")
            if not torch.isfinite(torch.from_numpy(found)).all():
                raise DivergedError(f"fine-tuning {name!r}, seed {seed}: diverged in epoch {epoch}; lower lr")
            history.append(score(target.task, self.data.labels("val"), found).value)
            if not best_epoch or sign * history[-1] > sign * history[best_epoch - 1]:
                best_epoch, best_weights = epoch, copy.deepcopy(model.trained.state_dict())
            elif config.patience and epoch - best_epoch >= config.patience:
                break
        model.trained.load_state_dict(best_weights)
        return best_epoch, history

    @torch.no_grad()
    def _predict(self, model: _Model, part: str) -> Floats:
        rows = torch.from_numpy(self.data.parts[part]).to(self.device)
        outputs = torch.cat([model.infer(some) for some in rows.split(EVALUATED_AT_ONCE)])
        return self.data.target.to(self.device).predictions(outputs).cpu().numpy()


class _Model(Protocol):
    """trained: the module whose parameters are optimised. learn, infer: head outputs [rows, outputs] of graphs ``rows``.
    tensors: the whole model, as :class:`Outcome` has it."""

    trained: nn.Module

    def learn(self, rows: Tensor) -> Tensor: ...

    def infer(self, rows: Tensor) -> Tensor: ...

    def tensors(self) -> dict[str, Tensor]: ...


def _start_encoder(job: RunJob, method: Method, seed: int) -> Encoder:
    encoder = build_encoder(job.data.schema, method.encoder, seed)
    if method.weights is not None:
        try:
            encoder.load_state_dict(method.weights)
        except RuntimeError as error:
            line = " ".join(str(error).split())[:300]
            raise RequestError(
                f"{method.name}: weights do not fit their encoder config ({line}); pull it again"
            ) from error
    return encoder.to(job.device)


class _Whole:
    """Encoder and head trained together."""

    trained: nn.Module

    def __init__(self, job: RunJob, method: Method, seed: int) -> None:
        self.encoder = _start_encoder(job, method, seed)
        self.encoder.set_dropout(job.config.dropout)
        self.use_center, self.graphs = job.data.use_center, job.data.graphs.to(job.device)
        width = self.encoder.width * (2 if self.use_center else 1)
        self.head = build_head(width, job.data.target.outputs, key(seed, LabelDraw.HEAD)).to(job.device)
        self.trained = nn.ModuleList([self.encoder, self.head])

    def learn(self, rows: Tensor) -> Tensor:
        self.encoder.train()
        outputs = self._outputs(rows)
        apply_statistics(self.encoder, statistics(self.encoder))
        return outputs

    def infer(self, rows: Tensor) -> Tensor:
        self.encoder.eval()
        return self._outputs(rows)

    def tensors(self) -> dict[str, Tensor]:
        width, like = self.head.in_features, self.head.weight
        return _named_tensors(self.encoder, self.head, like.new_zeros(width), like.new_ones(width))

    def _outputs(self, rows: Tensor) -> Tensor:
        return self.head(graph_features(self.encoder, select_graphs(self.graphs, rows), self.use_center))


class _Probe:
    """A head on the features of an encoder that stays as it is: made once, standardised over the training part."""

    trained: nn.Module

    def __init__(self, job: RunJob, method: Method, seed: int) -> None:
        self.encoder = encoder = _start_encoder(job, method, seed).eval()
        data, device = job.data, job.device
        graphs = data.graphs.to(device)
        width = encoder.width * (2 if data.use_center else 1)
        self.features = torch.zeros(graphs.num_graphs, width, device=device)
        with torch.no_grad():
            for part in data.parts.values():
                for rows in torch.from_numpy(part).to(device).split(EVALUATED_AT_ONCE):
                    self.features[rows] = graph_features(encoder, select_graphs(graphs, rows), data.use_center)
        train = self.features[torch.from_numpy(data.parts["train"]).to(device)]
        spread = train.std(dim=0, correction=0)
        self.mean, self.std = train.mean(dim=0), torch.where(spread > 0, spread, 1.0)
        self.features = (self.features - self.mean) / self.std
        self.trained = build_head(width, data.target.outputs, key(seed, LabelDraw.HEAD)).to(device)

    def learn(self, rows: Tensor) -> Tensor:
        return self.trained(self.features[rows])

    infer = learn

    def tensors(self) -> dict[str, Tensor]:
        return _named_tensors(self.encoder, self.trained, self.mean, self.std)


def _named_tensors(encoder: nn.Module, head: nn.Module, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    modules = (("encoder", encoder), ("head", head))
    found = {f"{part}.{name}": tensor for part, module in modules for name, tensor in module.state_dict().items()}
    return {**found, "features.mean": mean, "features.std": std}
