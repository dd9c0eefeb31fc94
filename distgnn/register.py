"""Registries: objectives, encoders, poolings, weightings, sources, tasks, searchers and loggers by name.

Built-ins and user modules (``--imports my_package.my_module``) register in the same way: by a decorator on a class or
function, with the dataclass of its options in the same file::

    @dataclass(frozen=True)
    class TriadConfig:
        '''Count triangles.'''

        rate: float = 0.1
        '''Fraction of the triangles.'''

    @distgnn.register.objective("triad", TriadConfig)
    class Triad(Objective):
        '''Predict triangles.'''

        def __init__(self, config: TriadConfig, context: ObjectiveContext) -> None: ...

The options appear on the command line (``--objective triad --triad.rate 0.2``), in ``--help``, in saved configs and in
the search spaces of sweeps. Standard library only: modules of built-ins are imported by the first look-up.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

from distgnn.errors import RequestError

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """A registered class or function.

    Attributes:
        name: Name in configs.
        make: The class or function; its arguments depend on the registry.
        config: Dataclass of its options; None if it has none.
    """

    name: str
    make: Callable[..., Any]
    config: type[Any] | None

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.make.__doc__ or "").strip().partition("\n")[0]

    @property
    def builtin(self) -> bool:
        """Whether it is part of distgnn."""
        return self.make.__module__.startswith("distgnn.")


class Row(NamedTuple):
    """One row of :meth:`Registry.table`; ``source`` is the module that defines the entry."""

    name: str
    summary: str
    source: str


class Registry:
    """Registered names of one kind. An instance is a decorator that registers a class or function."""

    def __init__(self, kind: str, package: str, nested: bool = False, standalone: bool = False) -> None:
        """Create a registry.

        Args:
            kind: Kind of the entries.
            package: Package of the built-ins, which are registered when its modules are imported.
            nested: Include sub-packages.
            standalone: The options are the config of a command, not a group of another config, so fields may be required.
        """
        self.kind, self._package, self._nested, self._standalone = kind, package, nested, standalone
        self._entries: dict[str, Entry] = {}
        self._loaded = False
        self.changes = 0
        """How often entries were added or removed."""

    def __call__(self, name: str, config: type[Any] | None = None) -> Callable[[T], T]:
        """Register the decorated class or function.

        Args:
            name: Name in configs and on the command line; a Python identifier.
            config: Dataclass of its options. Every field needs a default; a field's docstring is its help text.

        Raises:
            RequestError: The name is taken or not an identifier, or ``config`` is not a dataclass with defaults.
        """

        def decorate(make: T) -> T:
            self._add(Entry(name, make, config))
            return make

        return decorate

    def _add(self, entry: Entry) -> None:
        where = f"register.{self.kind}"
        if not entry.name.isidentifier():
            raise RequestError(f"{where}: {entry.name!r} is not an identifier; choose another name")
        if not entry.builtin:
            self._load()
        if entry.name in self._entries:
            module = self._entries[entry.name].make.__module__
            raise RequestError(f"{where}: {entry.name!r} is registered already (by {module}); choose another name")
        if entry.config is not None:
            _check_options(entry.config, f"{where}: options of {entry.name!r}", self._standalone)
        self._entries[entry.name] = entry
        self.changes += 1

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        self._load()
        return tuple(sorted(self._entries))

    def entries(self) -> tuple[Entry, ...]:
        """Return all entries, sorted by name."""
        return tuple(self._entries[name] for name in self.names())

    def find(self, name: str) -> Entry | None:
        """Return the entry called ``name``; None if there is none."""
        self._load()
        return self._entries.get(str(name))

    def get(self, name: str, field: str = "", also: tuple[str, ...] = ()) -> Entry:
        """Return the entry called ``name``.

        Args:
            name: The name to look up.
            field: The config field that contains the name, for the error message.
            also: Other values that the field takes, for the error message.

        Raises:
            RequestError: The name is unknown; the message lists the known names and the closest match.
        """
        found = self.find(name)
        if found is None:
            raise RequestError(unknown(field or self.kind, name, (*also, *self.names())))
        return found

    def table(self) -> list[Row]:
        """Return a row for each entry, for documentation."""
        return [Row(entry.name, entry.summary, entry.make.__module__) for entry in self.entries()]

    def forget(self, name: str) -> None:
        """Remove an entry, for instance before a notebook cell registers it again."""
        self._entries.pop(name, None)
        self.changes += 1

    def forget_users(self) -> None:
        """Remove all entries that are not built in."""
        for name in [name for name, entry in self._entries.items() if not entry.builtin]:
            self.forget(name)

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True  # set first: the imports register entries
            try:
                _import_all(self._package, self._nested)
            except ImportError:
                self._loaded = False
                raise


def unknown(field: str, name: str, known: tuple[str, ...]) -> str:
    """Return the error message for a name that is not registered."""
    close = get_close_matches(str(name), known, 1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return (
        f"{field}={name!r} is unknown (there are {', '.join(known)});{hint} name the module that registers it in imports"
        " (--imports), or import it first"
    )


def _check_options(config: type[Any], where: str, standalone: bool) -> None:
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise RequestError(f"{where}: {config!r} is not a dataclass")
    needed = [
        item.name
        for item in dataclasses.fields(config)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]
    if needed and not standalone:
        raise RequestError(f"{where}: {config.__name__}.{needed[0]} has no default; give it one")


def _import_all(package: str, nested: bool) -> None:
    path = importlib.import_module(package).__path__
    for found in pkgutil.iter_modules(path, f"{package}."):
        if not found.ispkg:
            importlib.import_module(found.name)
        elif nested:
            _import_all(found.name, nested)


objective = Registry("objective", "distgnn.objectives", nested=True)
"""Pre-training objectives: an Objective, built as ``Class(config, context: distgnn.objectives.base.ObjectiveContext)``."""
encoder = Registry("encoder", "distgnn.models")
"""Encoders: a :class:`~distgnn.models.layer.Layer`, or a function or class that returns a module in PyG's style.

The arguments are ``(schema, config: EncoderConfig)`` and, if it has options of its own, these.
"""
network_encoder = Registry("network_encoder", "distgnn.models")
"""Encoders that read node types and relations, for networks: a :class:`~distgnn.models.network_encoder.NetworkPsi` or a
:class:`~distgnn.models.layer.Psi`, built as ``Class(network, config: NetworkTaskConfig)`` and, if it has options of its own,
with these. Layers of :data:`encoder` serve networks, too.
"""
pooling = Registry("pooling", "distgnn.models")
"""Poolings: a :class:`~distgnn.models.pooling.Pooling`, built as ``Class(encoder_config, config)``."""
weighting = Registry("weighting", "distgnn.auxiliary.weighting")
"""Weighting methods of auxiliary losses: a Weighting, built as ``Class(config, context: WeightingContext)``."""
corpus_source = Registry("corpus_source", "distgnn.corpus.sources", standalone=True)
"""Corpus builders: a Source, built as ``Class(config)``; the config is a BuildConfig."""
network_source = Registry("network_source", "distgnn.network.sources", standalone=True)
"""Network builders: a function ``(config) -> Network``; the config is a NetworkBuildConfig."""
database_source = Registry("database_source", "distgnn.relational.sources")
"""Readers of databases: a Source (:mod:`distgnn.relational.sources.base`), built as ``Class(input: Input)``."""
network_task = Registry("network_task", "distgnn.auxiliary.network_tasks")
"""Auxiliary tasks on a network: an AuxiliaryTask, built as ``Class(config, context: TaskContext)``."""
searcher = Registry("searcher", "distgnn.search.searchers")
"""Search algorithms: a Searcher, built as ``Class(config, context: SearchContext)``."""
logger = Registry("logger", "distgnn.monitor.loggers")
"""Experiment loggers, built as ``Class(config, run: LoggedRun)``; see :mod:`distgnn.monitor.loggers.base`."""

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        objective,
        encoder,
        network_encoder,
        pooling,
        weighting,
        corpus_source,
        network_source,
        database_source,
        network_task,
        searcher,
        logger,
    )
}
"""All registries by kind."""


def register_encoder(name: str, factory: Callable[..., Any]) -> None:
    """Register a module written for PyG as ``--encoder.kind NAME`` (EncoderConfig.kind).

    The same as ``distgnn.register.encoder(name)(factory)``.

    The parameters of the module's ``forward`` select its inputs by name:

    - x: float [N, width], embedded node features;
    - edge_index: int64 [2, M], every undirected edge in both directions;
    - edge_attr: float [M, A], one-hot categories and dense values of the edge features; None if there are none;
    - batch: int64 [N], graph of each node;
    - data: a PyG Data of all graphs with their features as stored.

    It must return node embeddings, float [N, config.width].

    Args:
        name: a Python identifier that is not in use.
        factory: called as ``factory(schema, config)``; returns the module.

    Raises:
        RequestError: the name is invalid or in use.
    """
    encoder(name)(factory)


def changes_of_registries() -> int:
    """Return how often entries of any registry were added or removed: a key for caches of what depends on them."""
    return sum(registry.changes for registry in REGISTRIES.values())


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules that register something. The current folder is searched, too, after all other places.

    Raises:
        RequestError: A module cannot be imported.
    """
    for name in names:
        here = os.getcwd()
        if not {"", here} & set(sys.path):
            sys.path.append(here)  # last, so that no file here takes the place of an installed module
        try:
            importlib.import_module(name)
        except ImportError as error:
            remedy = "is it in the current folder, installed, or on PYTHONPATH?"
            if name.endswith(".py"):
                remedy = f"name the module without .py: {name.removesuffix('.py')}"
            raise RequestError(f"imports: {name!r} cannot be imported ({error}); {remedy}") from error
