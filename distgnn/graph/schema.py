"""What the features of a corpus mean: the part of a manifest that encoders and readers must agree on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from distgnn.config.base import from_json
from distgnn.errors import RequestError


@dataclass(frozen=True)
class Feature:
    """One feature of every node or edge.

    categorical: one integer in ``[0, size)`` per row. dense: ``size`` float32 numbers per row.
    ``meaning`` says in words what the values stand for.
    """

    name: str
    kind: Literal["categorical", "dense"]
    size: int
    meaning: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise RequestError(f"feature name {self.name!r} must be a plain identifier such as 'atom'")
        if self.kind not in ("categorical", "dense"):
            raise RequestError(f"feature {self.name}: kind must be 'categorical' or 'dense', found {self.kind!r}")
        if self.size < 1:
            raise RequestError(f"feature {self.name}: size must be at least 1, found {self.size}")


@dataclass(frozen=True)
class Schema:
    """Features, labels and conventions of every graph in a corpus.

    ``labels`` names the columns of y (unknown = NaN). ``max_nodes`` bounds the nodes of a graph and so the width of the
    stored ids. ``directed`` False means each undirected edge is stored once, without self-loops.
    """

    node: tuple[Feature, ...] = ()
    edge: tuple[Feature, ...] = ()
    labels: tuple[str, ...] = ()
    center: bool = False
    group: str = ""
    split: bool = False
    directed: bool = False
    max_nodes: int = 65_536
    meta: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.node], [feature.name for feature in self.edge], self.labels
        if self.max_nodes < 1:
            raise RequestError(f"schema: max_nodes must be at least 1, found {self.max_nodes}")
        for kind, used in zip(("node feature", "edge feature", "label"), names, strict=True):
            twice = {name for name in used if list(used).count(name) > 1}
            if twice:
                raise RequestError(f"schema: {kind} {min(twice)!r} is named twice")

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary for ``corpus.json`` and checkpoints."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """The inverse of :meth:`to_json`; raises RequestError for anything that is not such a dictionary."""
        schema = from_json(cls, data, "schema")
        missing = [name for name in ("node", "edge", "labels") if name not in data]
        if missing:
            raise RequestError(f"schema: not a distgnn schema ({missing[0]!r} is missing)")
        return schema

    def check_features(self, other: Schema, where: str) -> None:
        """Raise RequestError unless ``other`` has the same node and edge features (an encoder trained on one reads the other)."""
        for kind in ("node", "edge"):
            mine, theirs = (tuple((f.name, f.kind, f.size) for f in getattr(s, kind)) for s in (self, other))
            if mine != theirs:
                raise RequestError(f"{where}: {kind} features differ: expected {mine}, found {theirs}")


def sizes(features: tuple[Feature, ...], kind: str) -> list[int]:
    """Sizes of the features of one kind, in schema order."""
    return [feature.size for feature in features if feature.kind == kind]
