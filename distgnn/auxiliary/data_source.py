"""What joint trainings are run on: a labelled corpus or a network, with the encoders to compare. Can be sent to workers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import safetensors.torch
from torch import Tensor

from distgnn.auxiliary.graph_level import CorpusProblem
from distgnn.auxiliary.network_tasks.build import build_problem
from distgnn.auxiliary.problem import Problem
from distgnn.config import TransferConfig
from distgnn.config.base import from_json, to_json
from distgnn.corpus import manifest as corpora
from distgnn.distributed import ProcessGroup
from distgnn.errors import RequestError
from distgnn.finetuning.trainer import Method
from distgnn.labels.dataset import LabelledSet, read_labelled
from distgnn.models.encoder import check_kind
from distgnn.network import manifest as networks
from distgnn.network.network import Network
from distgnn.network.store import load_network
from distgnn.storage.folder import open_folder

Weights = dict[str, Tensor]


class Ground(Protocol):
    """encoders: names of the columns. unused: the group of options that this kind of data does not read."""

    unused: str

    @property
    def encoders(self) -> tuple[str, ...]: ...  # noqa: D102

    def problem(self, encoder: int, seed: int, group: ProcessGroup) -> Problem:
        """A problem with fresh weights, a function of the arguments."""
        ...

    def start(self, encoder: int) -> Weights | None:
        """The shared weights that a checkpoint brings, if any."""
        ...

    def identity(self, encoder: int, scheme: str) -> str:
        """A text that changes with the data, the encoder and (unless everything is trained from scratch) its weights."""
        ...


@dataclass(frozen=True)
class CorpusGround:
    """A labelled corpus, held in memory. digest: of its manifest. starts: encoders, with a checkpoint's weights or without."""

    config: TransferConfig
    data: LabelledSet
    digest: str
    starts: tuple[Method, ...]
    unused = "network"

    @classmethod
    def read(cls, config: TransferConfig, checkpoints: Sequence[Method]) -> CorpusGround:
        """Read config.data; raises RequestError where labels, split or a checkpoint's features do not fit."""
        if config.ranks > config.corpus.streams:
            raise RequestError(
                f"ranks={config.ranks} exceeds corpus.streams={config.corpus.streams}; raise corpus.streams"
            )
        data = read_labelled(config.data, config.corpus)
        for method in checkpoints:
            if method.schema is not None:
                method.schema.check_features(data.schema, f"{method.name} cannot read {config.data}")
        encoder = config.corpus.encoder
        kinds = config.encoders or (encoder.kind,)
        for kind in kinds:
            check_kind(kind)
        digest = corpora.read_manifest(open_folder(config.data)).digest()
        return cls(
            config, data, digest, tuple(checkpoints) or tuple(Method(k, replace(encoder, kind=k)) for k in kinds)
        )

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of checkpoints, or kinds."""
        return tuple(start.name for start in self.starts)

    def problem(self, encoder: int, seed: int, group: ProcessGroup) -> Problem:
        """See :class:`Ground`."""
        return CorpusProblem(self.data, self.starts[encoder].encoder, self.config.corpus, seed, group)

    def start(self, encoder: int) -> Weights | None:
        """See :class:`Ground`."""
        return self.starts[encoder].weights

    def identity(self, encoder: int, scheme: str) -> str:
        """See :class:`Ground`."""
        start = self.starts[encoder]
        taken = start.weights if scheme == "pretrained" else None
        weights = hashlib.sha256(safetensors.torch.save(taken)).hexdigest() if taken else ""
        other = self.config.corpus.aux_corpus
        beside = corpora.read_manifest(open_folder(other)).digest() if other else ""
        return f"{self.digest} {beside} {start.encoder} {weights}"


@dataclass(frozen=True)
class NetworkGround:
    """A network, read by every process for itself. digest: of its manifest."""

    config: TransferConfig
    digest: str
    unused = "corpus"

    @classmethod
    def read(cls, config: TransferConfig) -> NetworkGround:
        """Look at config.data; raises RequestError for an unknown encoder or a checkpoint."""
        if config.checkpoint:
            raise RequestError(
                f"checkpoint: {config.data} is a network, whose encoders are pre-trained on the auxiliary tasks alone"
                " (pretrain_epochs); leave checkpoint out"
            )
        for kind in config.encoders:
            from_json(type(config.network), to_json(config.network) | {"encoder": kind}, "network")
        return cls(config, hashlib.sha256(open_folder(config.data).read(networks.NAME)).hexdigest())

    @property
    def encoders(self) -> tuple[str, ...]:
        """Kinds."""
        return self.config.encoders or (self.config.network.encoder,)

    def problem(self, encoder: int, seed: int, group: ProcessGroup) -> Problem:
        """See :class:`Ground`."""
        data = to_json(self.config.network) | {"encoder": self.encoders[encoder]}
        return build_problem(
            _network(self.config.data, self.digest), from_json(type(self.config.network), data), seed, group
        )

    def start(self, encoder: int) -> Weights | None:  # noqa: ARG002
        """None: there are no checkpoints of networks."""
        return None

    def identity(self, encoder: int, scheme: str) -> str:  # noqa: ARG002
        """See :class:`Ground`."""
        return f"{self.digest} {self.encoders[encoder]}"


@lru_cache(maxsize=1)
def _network(uri: str, digest: str) -> Network:  # noqa: ARG001
    """The network, read once by a process; ``digest`` is in the key so that another network at the same place is read anew."""
    return load_network(uri)


def is_network(uri: str) -> bool:
    """Whether a network lies at ``uri``; raises RequestError where neither a network nor a corpus does."""
    folder = open_folder(uri)
    if folder.size(networks.NAME) is not None:
        return True
    if folder.size(corpora.NAME) is None:
        raise RequestError(
            f"{uri}: neither a corpus nor a network here (no {corpora.NAME}, no {networks.NAME}); build one first"
        )
    return False
