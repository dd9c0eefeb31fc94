"""Network manifest (``network.json``): node types, relations and stored arrays.

It is written last, so its presence means that the network is complete.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distgnn.errors import RequestError
from distgnn.network.network import Network, Relation
from distgnn.storage.folder import Folder
from distgnn.storage.records import MAX_BYTES, Count, Digest, Name, Small, check_version, convert, parse_object

NAME = "network.json"
VERSION = 1
_WHAT, _REMEDY = "a network manifest", "rebuild the network"
Dtype = Literal["int64", "int32", "uint8", "uint16", "float32"]
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DTYPES = {
    "indptr": ("int64",),
    "source": ("int32", "int64"),
    "relation": ("uint8", "uint16"),
    "features": ("float32",),
    "tables": ("int64", "float32"),
}


@dataclass(frozen=True)
class Stored:
    """One array in a .npy file.

    Attributes:
        file: file name relative to the network.
        dtype: NumPy dtype name.
        shape: shape of the array.
        bytes: file size.
        sha256: hexadecimal digest of the whole file.
    """

    file: Name
    dtype: Dtype
    shape: tuple[Count, ...]
    bytes: Count
    sha256: Digest


@dataclass(frozen=True)
class NetworkManifest:
    """Format version 1.

    Attributes:
        types: name and number of nodes of each type.
        relations: the relations, in the order of their numbers.
        arrays: stored arrays by name: indptr, source, relation, features/TYPE, tables/COLUMN.
        meta: provenance and notes.
    """

    types: tuple[tuple[Name, Count], ...]
    relations: tuple[Relation, ...]
    arrays: dict[str, Stored]
    meta: dict[str, Any] = field(default_factory=dict)
    version: Small = VERSION

    @property
    def nodes(self) -> int:
        """Number of nodes, N."""
        return sum(count for _, count in self.types)

    def to_bytes(self) -> bytes:
        """Serialise to canonical JSON."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def arrays_of(network: Network) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of a network by the names under which they are stored.

    Raises:
        RequestError: a name or dtype cannot be stored.
    """
    named = {"indptr": network.indptr, "source": network.source, "relation": network.relation}
    named |= {f"features/{name}": array for name, array in network.features.items()}
    named |= {f"tables/{name}": array for name, array in network.tables.items()}
    for name, array in named.items():
        _check_name(name.partition("/")[2] or name, name)
        _check_dtype(name, str(array.dtype), "this network")
    return named


def read_manifest(folder: Folder) -> NetworkManifest:
    """Read the manifest of a complete network.

    Raises:
        RequestError: there is none, or it is inconsistent.
    """
    where = folder.at(NAME)
    if folder.size(NAME) is None:
        raise RequestError(f"{folder.uri}: no network here ({NAME} is missing); build one with 'distgnn network build'")
    data = parse_object(folder.read(NAME, MAX_BYTES), where, _WHAT, _REMEDY)
    check_version(data, VERSION, where, _WHAT, _REMEDY)
    manifest = convert(data, NetworkManifest, where, _WHAT, _REMEDY)
    _check(manifest, where)
    return manifest


def _check(manifest: NetworkManifest, where: str) -> None:
    """Check that types, relations, dtypes and shapes are consistent."""
    arrays = manifest.arrays
    missing = {"indptr", "source", "relation"} - set(arrays)
    if missing:
        raise RequestError(f"{where}: the array {min(missing)!r} is missing; rebuild the network")
    types = dict(manifest.types)
    ends = {end for relation in manifest.relations for end in (relation.source, relation.target)}
    unknown = (ends | {name.partition("/")[2] for name in arrays if name.startswith("features/")}) - set(types)
    if unknown or len(types) != len(manifest.types) or min(types.values(), default=0) < 0:
        raise RequestError(f"{where}: node types {sorted(types)} do not match its relations and features; rebuild it")
    messages = arrays["source"].shape
    expected_shapes = {"indptr": (manifest.nodes + 1,), "relation": messages if len(manifest.relations) > 1 else (0,)}
    for name, item in arrays.items():
        _check_dtype(name, item.dtype, where)
        shape, rows = expected_shapes.get(name, item.shape), types.get(name.removeprefix("features/"))
        of_nodes = name.startswith("features/")
        fits = len(item.shape) == (2 if of_nodes else 1) and min(item.shape) >= 0
        if item.shape != shape or not fits or (of_nodes and item.shape[0] != rows):
            raise RequestError(
                f"{where}: the array {name!r} has shape {item.shape}, which does not match the other arrays; rebuild it"
            )


def _check_name(name: str, where: str) -> None:
    if not _PLAIN.fullmatch(name):
        raise RequestError(f"{where}: {name!r} is not a valid file name; use letters, digits, '_', '-' and '.'")


def _check_dtype(name: str, dtype: str, where: str) -> None:
    known = _DTYPES.get(name.partition("/")[0])
    if known is None or np.dtype(dtype).name not in known:
        allowed = f"must be {' or '.join(known)}" if known else "is unknown"
        raise RequestError(f"{where}: the array {name!r} ({dtype}) {allowed}; rebuild the network")


def statistics(manifest: NetworkManifest, uri: str) -> dict[str, Any]:
    """Return sizes and names as printed by ``network stat``, from the manifest alone."""
    tables: Mapping[str, Any] = {
        n.partition("/")[2]: s.shape[0] for n, s in manifest.arrays.items() if n.startswith("tables/")
    }
    features = {n.partition("/")[2]: s.shape[1] for n, s in manifest.arrays.items() if n.startswith("features/")}
    return {
        "network": uri,
        "nodes": manifest.nodes,
        "messages": manifest.arrays["source"].shape[0],
        "relations": len(manifest.relations),
        "bytes": sum(item.bytes for item in manifest.arrays.values()),
        "types": dict(manifest.types),
        "features": features,
        "tables": tables,
        "meta": manifest.meta,
    }
