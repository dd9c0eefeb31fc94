"""Schema: features, labels and conventions of a corpus, on which encoders and readers must agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from distgnn.config.base import from_json
from distgnn.errors import RequestError

MAX_CATEGORIES, MAX_NUMBERS, MAX_NODES = 1 << 28, 1 << 20, 1 << 32
"""Largest size of a categorical feature, of a dense one, and of a graph."""
_CODES_OF = "codes of "


@dataclass(frozen=True)
class Feature:
    """One feature of every node or edge.

    Attributes:
        name: a Python identifier, unique among node (or edge) features.
        kind: "categorical" (one integer in [0, size) per row) or "dense" (``size`` float32 numbers per row).
        size: number of categories or of numbers.
        meaning: free-text description of the values.
        vocabulary: what each code (categorical) or each number (dense) stands for, in order, where that depends on the
            data; empty = fixed by ``meaning``.
    """

    name: str
    kind: Literal["categorical", "dense"]
    size: int
    meaning: str = ""
    vocabulary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise RequestError(f"feature name {self.name!r} is not a valid identifier; use a name such as 'atom'")
        if self.kind not in ("categorical", "dense"):
            raise RequestError(f"feature {self.name}: kind must be 'categorical' or 'dense', found {self.kind!r}")
        most = MAX_CATEGORIES if self.kind == "categorical" else MAX_NUMBERS
        if not 1 <= self.size <= most:
            raise RequestError(f"feature {self.name}: size must lie in 1..{most}, found {self.size}")
        if self.vocabulary and len(self.vocabulary) != self.size:
            raise RequestError(f"feature {self.name}: {len(self.vocabulary)} words in a vocabulary of size {self.size}")

    def words(self) -> tuple[str, ...]:
        """Return the vocabulary. Corpora of earlier versions have it in ``meaning`` ("codes of 0, 1, 2")."""
        if self.vocabulary or not self.meaning.startswith(_CODES_OF):
            return self.vocabulary
        words = tuple(self.meaning.removeprefix(_CODES_OF).split(", "))
        return words if len(words) == self.size else ()


@dataclass(frozen=True)
class Schema:
    """Features, labels and conventions of every graph in a corpus.

    Attributes:
        node: node features.
        edge: edge features.
        labels: names of the columns of ``y`` (unknown values are NaN).
        center: whether graphs have a centre node.
        group: what the ``group`` column holds (such as "scaffold"); "" if there is none.
        split: whether there is a ``split`` column (0 train, 1 val, 2 test).
        directed: False means each undirected edge is stored once, without self-loops.
        max_nodes: largest number of nodes per graph; determines the width of stored ids.
        meta: free-form notes; not compared.
        classes: what the class numbers 0, 1, ... of a label stand for, by label, where that depends on the data.
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
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("node", "edge", "labels"):
            value = getattr(self, name)
            if isinstance(value, str | Feature):
                raise RequestError(f"schema: {name} must be a tuple, found {value!r}; write ({value!r},)")
            object.__setattr__(self, name, tuple(value))
        names = [feature.name for feature in self.node], [feature.name for feature in self.edge], self.labels
        if not 1 <= self.max_nodes <= MAX_NODES:
            raise RequestError(f"schema: max_nodes must lie in 1..{MAX_NODES}, found {self.max_nodes}")
        for kind, used in zip(("node feature", "edge feature", "label"), names, strict=True):
            twice = [name for name, count in Counter(used).items() if count > 1]
            if twice:
                raise RequestError(f"schema: {kind} {min(twice)!r} appears twice; rename one")
        unknown = self.classes.keys() - set(self.labels)
        if unknown:
            raise RequestError(f"schema: classes of {min(unknown)!r}, which is not a label")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dictionary for ``corpus.json`` and checkpoints.

        Empty vocabularies and classes are left out, so that corpora without them keep the digests of earlier versions.
        """
        data = asdict(self)
        for feature in (*data["node"], *data["edge"]):
            if not feature["vocabulary"]:
                del feature["vocabulary"]
        if not data["classes"]:
            del data["classes"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """Parse the output of :meth:`to_json`.

        Raises:
            RequestError: ``data`` is not a schema.
        """
        schema = from_json(cls, data, "schema")
        missing = [name for name in ("node", "edge", "labels") if name not in data]
        if missing:
            raise RequestError(f"schema: not a distgnn schema ({missing[0]!r} is missing)")
        return schema

    def check_features(self, other: Schema, where: str) -> None:
        """Check that ``other`` has the same node and edge features, so that an encoder of one can read the other.

        Where both know the vocabulary of a feature, its codes must stand for the same values.

        Raises:
            RequestError: the features differ; ``where`` starts the message.
        """
        for kind in ("node", "edge"):
            expected, found = (tuple((f.name, f.kind, f.size) for f in getattr(s, kind)) for s in (self, other))
            if expected != found:
                raise RequestError(f"{where}: {kind} features differ: expected {expected}, found {found}")
            for expected_feature, feature in zip(getattr(self, kind), getattr(other, kind), strict=True):
                _check_vocabulary(
                    expected_feature.words(), feature.words(), f"{where}: {kind} feature {feature.name!r}"
                )

    def check_classes(self, other: Schema, labels: tuple[str, ...], where: str) -> None:
        """Check that the class numbers of ``labels`` stand for the same classes in ``other``, where both know them.

        Raises:
            RequestError: they differ; ``where`` starts the message.
        """
        for name in labels:
            _check_vocabulary(self.classes.get(name, ()), other.classes.get(name, ()), f"{where}: label {name!r}")


def _check_vocabulary(expected: tuple[str, ...], found: tuple[str, ...], where: str) -> None:
    if not expected or not found or expected == found:
        return
    code = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), None)
    difference = (
        f"code {code} stands for {found[code]!r}, not {expected[code]!r}" if code is not None else "another size"
    )
    raise RequestError(
        f"{where}: the codes stand for other values ({difference}: {_some(found)} instead of {_some(expected)});"
        " build the corpus with the same codes (corpus build tudataset --codes-of CORPUS)"
    )


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")


def sizes(features: tuple[Feature, ...], kind: str) -> list[int]:
    """Return the sizes of the features of one kind, in schema order."""
    return [feature.size for feature in features if feature.kind == kind]
