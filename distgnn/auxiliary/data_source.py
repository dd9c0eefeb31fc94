"""Data sources of multi-task problems: a labelled corpus or a network, with the encoders to compare."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import safetensors.torch
from torch import Tensor, nn

from distgnn import register
from distgnn.auxiliary.graph_level import GraphLevelProblem, head_seed
from distgnn.auxiliary.linear_probe import LinearProbe
from distgnn.auxiliary.network_tasks.build import build_problem, target_of, unread_options
from distgnn.auxiliary.network_tasks.links import LinkTarget, read_links
from distgnn.auxiliary.network_tasks.problem import NetworkProblem
from distgnn.auxiliary.network_tasks.references import link_references
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.trainer import TrainingResult
from distgnn.auxiliary.unread_options import refuse_unused_group
from distgnn.checkpoint.format import SavedEncoder, load_checkpoint, load_saved_encoder
from distgnn.checkpoint.load import encoder_of
from distgnn.config import EncoderConfig, TransferConfig
from distgnn.config.base import check_names, from_json, given_options, to_json
from distgnn.config.finetune import BATCH
from distgnn.config.transfer import ELSEWHERE
from distgnn.corpus import manifest as corpora
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.labels.dataset import LabelledSet, read_labelled
from distgnn.labels.scores import METRIC_OF
from distgnn.models.encoder import build_encoder
from distgnn.models.heads import Readout, plain_readout
from distgnn.network import manifest as networks
from distgnn.network.network import Network
from distgnn.network.store import load_network
from distgnn.objectives.l2p.objective import L2PConfig
from distgnn.objectives.l2p.readout import AdaptedReadout
from distgnn.storage.folder import open_folder

Weights = dict[str, Tensor]
NETWORK_BATCH = 128
"""Default batch size on a network, where a row is one node or one pair, not a whole graph."""


@dataclass(frozen=True)
class InitialEncoder:
    """An encoder with its initial weights.

    Args:
        name: Name in tables, such as the run of a checkpoint.
        encoder: Config of the encoder.
        weights: State of the encoder; None = fresh weights, a function of the seed.
        schema: Schema of the corpus that the weights were trained on, checked against the labelled corpus; None for
            fresh weights.
        cost: Graphs and CPU seconds of the pre-training, where they are known.
        run: Config of the pre-training as JSON; empty for fresh weights.
        adapted: L2P's options if each graph is embedded by its own adapted weights; None = by those of the encoder.
    """

    name: str
    encoder: EncoderConfig
    weights: Weights | None = field(default=None, repr=False)
    schema: Schema | None = None
    cost: dict[str, float] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict, repr=False)
    adapted: L2PConfig | None = None

    def readout(self, seed: int) -> Readout:
        """Return what embeds graphs; ``seed`` is the key of the child tasks that they adapt on."""
        return plain_readout if self.adapted is None else AdaptedReadout(self.adapted, seed)

    @classmethod
    def load(cls, uri: str, name: str) -> InitialEncoder:
        """Load the encoder of the checkpoint at ``uri``. Only its config and weights are read."""
        return cls._of(load_saved_encoder(uri), name)

    @classmethod
    def _of(cls, saved: SavedEncoder, name: str) -> InitialEncoder:
        return cls(name, saved.encoder, encoder_of(saved).state_dict(), saved.schema, run=saved.run)

    @classmethod
    def load_all(cls, uris: Sequence[str]) -> list[InitialEncoder]:
        """Load the encoders of checkpoints. They are named after their runs, as NAME@STEP if a run comes more than once."""
        found = [load_saved_encoder(uri) for uri in uris]
        runs = Counter(_run_name(one) for one in found)
        return [cls._of(one, _run_name(one) + ("" if runs[_run_name(one)] == 1 else _step(one))) for one in found]


def _run_name(saved: SavedEncoder) -> str:
    return str(saved.run["name"])


def _step(saved: SavedEncoder) -> str:
    return f"@{load_checkpoint(saved.uri).step}"


class DataSource(Protocol):
    """Protocol of the factory of a comparison's problems. Instances are picklable.

    Attributes:
        unused: The group of options that does not apply to this kind of data.
    """

    unused: str

    @property
    def config(self) -> TransferConfig:
        """Options of every training, with the default batch size of this kind of data filled in."""
        ...

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the encoders: the columns of a table."""
        ...

    def problem(self, encoder: int, seed: int, group: ProcessGroup, weights: Weights | None = None) -> MultiTaskProblem:
        """Build a problem, a function of the arguments.

        Args:
            encoder: Index of the encoder.
            seed: Training seed.
            group: The training processes.
            weights: Weights of the shared network; None = fresh ones.
        """
        ...

    def start(self, encoder: int) -> Weights | None:
        """Return the shared weights from a checkpoint; None without one."""
        ...

    def identity(self, encoder: int, scheme: str) -> str:
        """Return a text for cache keys that identifies the data and the encoder.

        It includes the weights unless ``scheme`` is training from scratch.
        """
        ...

    def references(self) -> dict[str, dict[str, float]]:
        """Return the test scores of models without an encoder, by name and metric; empty if there are none."""
        ...

    def references_identity(self) -> str:
        """Return a text for cache keys that identifies what :meth:`references` depends on; "" if there are none."""
        ...

    def unread(self) -> dict[str, str]:
        """Return the given options of the tasks that have no effect on these data, and what would read each of them."""
        ...

    def fits(self, found: TrainingResult) -> bool:
        """Return whether a result from a file has the metrics, parts and predictions of this data."""
        ...


@dataclass(frozen=True)
class CorpusDataSource:
    """A labelled corpus in memory.

    Args:
        config: Options of every training.
        data: The labelled corpus.
        starts: Encoders to compare.
        frozen: Train a linear probe on the frozen encoders.
    """

    config: TransferConfig
    data: LabelledSet
    starts: tuple[InitialEncoder, ...]
    frozen: bool = False
    unused = "network"

    @classmethod
    def read(cls, config: TransferConfig, checkpoints: Sequence[InitialEncoder]) -> CorpusDataSource:
        """Read the corpus ``config.data``.

        Raises:
            RequestError: The labels, the split or a checkpoint's features do not fit the corpus, or options of networks are
                given.
        """
        refuse_unused_group(config, cls.unused, "a corpus")
        if config.ranks > config.corpus.streams:
            raise RequestError(
                f"ranks={config.ranks} exceeds corpus.streams={config.corpus.streams}; raise corpus.streams"
            )
        encoder = config.corpus.encoder
        kinds = config.encoders or (encoder.kind,)
        for kind in kinds:
            register.encoder.get(kind, "encoder.kind")
        starts = tuple(checkpoints) or tuple(InitialEncoder(kind, replace(encoder, kind=kind)) for kind in kinds)
        return cls.of(config, read_labelled(config.data, config.corpus), starts)

    @classmethod
    def of(
        cls, config: TransferConfig, data: LabelledSet, starts: Sequence[InitialEncoder], frozen: bool = False
    ) -> CorpusDataSource:
        """Build the source for ``data`` that has been read.

        Raises:
            RequestError: A checkpoint's features do not fit the corpus.
        """
        for start in starts:
            if start.schema is not None:
                start.schema.check_features(data.schema, f"{start.name} cannot read {config.data}")
        return cls(replace(config, batch=config.batch or BATCH), data, tuple(starts), frozen)

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the checkpoints, or of the kinds of encoders."""
        return tuple(start.name for start in self.starts)

    def problem(self, encoder: int, seed: int, group: ProcessGroup, weights: Weights | None = None) -> MultiTaskProblem:
        """See :class:`DataSource`. Raises RequestError if ``weights`` do not fit the encoder's config."""
        start, data = self.starts[encoder], self.data
        if self.frozen:
            model = build_encoder(data.schema, start.encoder, seed)
            _load(model, weights, start.name)
            return LinearProbe(data, model, head_seed(seed), group, start.readout(seed))
        problem = GraphLevelProblem(data, start.encoder, self.config.corpus, seed, group)
        _load(problem.encoder, weights, start.name)
        return _adjusted(problem, self.config, seed)

    def start(self, encoder: int) -> Weights | None:
        """See :class:`DataSource`."""
        return self.starts[encoder].weights

    def identity(self, encoder: int, scheme: str) -> str:
        """See :class:`DataSource`."""
        start = self.starts[encoder]
        taken = start.weights if scheme == "pretrained" else None
        weights = hashlib.sha256(safetensors.torch.save(taken)).hexdigest() if taken else ""
        other = self.config.corpus.aux_corpus
        beside = corpora.read_manifest(open_folder(other)).digest() if other else ""
        mode = (" frozen" if self.frozen else "") + (f" adapted {start.adapted}" if start.adapted else "")
        return f"{self.data.digest} {beside} {start.encoder} {weights}{mode}"

    def references(self) -> dict[str, dict[str, float]]:
        """None."""
        return {}

    def references_identity(self) -> str:
        """Empty: there are none."""
        return ""

    def unread(self) -> dict[str, str]:
        """See :class:`DataSource`."""
        tasks, found = self.config.corpus, dict[str, str]()
        for name in given_options(tasks):
            group = name.removeprefix("objectives.").partition(".")[0]
            if name == "aux_batch" and not tasks.aux_corpus:
                found[f"corpus.{name}"] = f"corpus.aux_corpus and a task NAME{ELSEWHERE}"
            elif name.startswith("encoder.") and self.config.checkpoint:
                found[f"corpus.{name}"] = "no checkpoint, whose encoder is used"
            elif name.startswith("objectives.") and group not in {
                one.removesuffix(ELSEWHERE) for one in tasks.auxiliary
            }:
                found[f"corpus.{name}"] = f"{group} among corpus.auxiliary"
        return found

    def fits(self, found: TrainingResult) -> bool:
        """See :class:`DataSource`."""
        data, predictions = self.data, {part: array.shape for part, array in found.predictions.items()}
        shapes = {part: (len(rows), data.y.shape[1]) for part, rows in data.parts.items() if part != "train"}
        if self.config.weighting.judge == "validation":
            shapes["val"] = (-(-len(data.parts["val"]) // 2), data.y.shape[1])
        return (
            found.metrics == (METRIC_OF[data.target.task],)
            and set(found.scores) == set(shapes)
            and predictions == shapes
        )


_Problem = TypeVar("_Problem", bound=MultiTaskProblem)


def _adjusted(problem: _Problem, config: TransferConfig, seed: int) -> _Problem:
    """Return ``problem`` with the scales of losses and the judge's rows of ``config``."""
    tasks = problem.names[1:]
    if config.loss_scales and len(config.loss_scales) != len(tasks):
        raise RequestError(
            f"loss_scales holds {len(config.loss_scales)} factors for {len(tasks)} auxiliary tasks; give one each for"
            f" {', '.join(tasks)}"
        )
    problem.loss_scales = config.loss_scales
    if config.weighting.judge == "validation":
        problem.split_validation(seed)
    return problem


def _load(model: nn.Module, weights: Weights | None, name: str) -> None:
    if weights is None:
        return
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise RequestError(f"{name}: weights do not fit their encoder config ({line}); pull it again") from error


@dataclass(frozen=True)
class NetworkDataSource:
    """A network, loaded by every process itself.

    Args:
        digest: sha256 of its manifest.
    """

    config: TransferConfig
    digest: str
    unused = "corpus"

    @classmethod
    def read(cls, config: TransferConfig) -> NetworkDataSource:
        """Read the manifest of the network ``config.data``.

        Raises:
            RequestError: An encoder is unknown, or a checkpoint or options of corpora are given.
        """
        refuse_unused_group(config, cls.unused, "a network")
        if config.checkpoint:
            raise RequestError(
                f"checkpoint: {config.data} is a network, whose encoders are pre-trained on the auxiliary tasks alone"
                " (pretrain_epochs); leave checkpoint out"
            )
        for kind in config.encoders:
            check_names(
                from_json(type(config.network), to_json(config.network) | {"encoder": kind}, "network"), "network."
            )
        config = replace(config, batch=config.batch or NETWORK_BATCH)
        return cls(config, hashlib.sha256(open_folder(config.data).read(networks.NAME)).hexdigest())

    @property
    def encoders(self) -> tuple[str, ...]:
        """Kinds of the encoders."""
        return self.config.encoders or (self.config.network.encoder,)

    def problem(self, encoder: int, seed: int, group: ProcessGroup, weights: Weights | None = None) -> NetworkProblem:
        """See :class:`DataSource`."""
        data = to_json(self.config.network) | {"encoder": self.encoders[encoder]}
        network = _network(self.config.data, self.digest)
        problem = build_problem(network, from_json(type(self.config.network), data), seed, group)
        _load(problem.encoder, weights, self.encoders[encoder])
        return _adjusted(problem, self.config, seed)

    def start(self, encoder: int) -> Weights | None:  # noqa: ARG002
        """None: checkpoints of networks do not exist."""
        return None

    def identity(self, encoder: int, scheme: str) -> str:  # noqa: ARG002
        """See :class:`DataSource`."""
        return f"{self.digest} {self.encoders[encoder]}"

    def references(self) -> dict[str, dict[str, float]]:
        """Popularity, matrix factorisation and LightGCN, for links."""
        if not self.references_identity():
            return {}
        return link_references(read_links(_network(self.config.data, self.digest), self.config.network))

    def references_identity(self) -> str:
        """Digest and split of a network with links."""
        tasks = self.config.network
        is_link = target_of(_network(self.config.data, self.digest), tasks) is LinkTarget
        return f"{self.digest} {tasks.fractions} {tasks.split_seed}" if is_link else ""

    def unread(self) -> dict[str, str]:
        """See :class:`DataSource`."""
        found = unread_options(_network(self.config.data, self.digest), self.config.network, self.encoders)
        return {f"network.{name}": what for name, what in found.items()}

    def fits(self, found: TrainingResult) -> bool:
        """See :class:`DataSource`."""
        target = target_of(_network(self.config.data, self.digest), self.config.network)
        return found.metrics == target.metrics and set(found.scores) == set(NetworkProblem.parts)


@lru_cache(maxsize=1)
def _network(uri: str, digest: str) -> Network:  # noqa: ARG001
    """Return the network, cached per process; ``digest`` invalidates the cache if the network at ``uri`` changes."""
    return load_network(uri)


def is_network(uri: str) -> bool:
    """Return whether there is a network at ``uri`` (True) or a corpus (False).

    Raises:
        RequestError: There is neither.
    """
    folder = open_folder(uri)
    if folder.size(networks.NAME) is not None:
        return True
    if folder.size(corpora.NAME) is None:
        raise RequestError(
            f"{uri}: neither a corpus nor a network here (no {corpora.NAME}, no {networks.NAME}); build one first"
        )
    return False
