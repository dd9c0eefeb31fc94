"""Networks in a folder: network.json and one .npy file an array, memory-mapped where the folder is local. Never pickles."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.sources.files import ARRAY_ERRORS
from distgnn.errors import RequestError
from distgnn.graph.ragged import pointers
from distgnn.network.manifest import NAME, NetworkManifest, Stored, arrays_of, read_manifest
from distgnn.network.network import Network
from distgnn.storage.folder import Folder, open_folder, storage_errors

Array = npt.NDArray[Any]


def save_network(network: Network, uri: str, overwrite: bool = False) -> NetworkManifest:
    """Write a network to the folder at ``uri``; raises RequestError where one lies already, unless ``overwrite``."""
    folder, arrays = open_folder(uri), arrays_of(network)
    if folder.size(NAME) is not None:
        if not overwrite:
            raise RequestError(f"{uri}: a network lies here already; use another place or --overwrite")
        folder.delete(NAME)  # from now on this is no network, until all of the new one is there
    stored = {name: _write(folder, f"{name}.npy", array) for name, array in arrays.items()}
    counts = np.diff(network.type_ptr).tolist()
    types = tuple(zip(network.types, counts, strict=True))
    manifest = NetworkManifest(types, network.relations, stored, network.meta)
    folder.write(NAME, manifest.to_bytes())
    return manifest


def load_network(uri: str) -> Network:
    """The network at ``uri``. Checks sizes, headers, pointers and that all senders exist; :func:`verify` reads the rest.

    Raises RequestError for anything that is not as network.json says.
    """
    folder = open_folder(uri)
    manifest = read_manifest(folder)
    arrays = {name: _read(folder, name, item) for name, item in manifest.arrays.items()}
    _check_messages(manifest, arrays, folder.uri)
    return Network(
        types=tuple(name for name, _ in manifest.types),
        type_ptr=pointers([count for _, count in manifest.types]),
        relations=manifest.relations,
        indptr=arrays["indptr"],
        source=arrays["source"],
        relation=arrays["relation"],
        features=_below(arrays, "features"),
        tables=_below(arrays, "tables"),
        meta=manifest.meta,
    )


def verify_network(uri: str) -> list[str]:
    """Check every byte against its sha256: what is wrong, one line each. Raises RequestError as :func:`load_network`."""
    folder = open_folder(uri)
    load_network(uri)
    found = []
    for item in read_manifest(folder).arrays.values():
        if folder.read_sealed(item.file, item.sha256) is None:
            found.append(f"{folder.at(item.file)}: the bytes differ from the checksum in {NAME}")
    return found


def _write(folder: Folder, name: str, array: Array) -> Stored:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    data = buffer.getbuffer()
    folder.write(name, pa.py_buffer(data))
    return Stored(name, array.dtype.name, array.shape, len(data), hashlib.sha256(data).hexdigest())


def _read(folder: Folder, name: str, item: Stored) -> Array:
    where = folder.at(item.file)
    size = folder.size(item.file)
    if size != item.bytes:
        found = "is missing" if size is None else f"has {size} bytes, not {item.bytes}"
        raise RequestError(f"{where}: the file {found}; restore it or rebuild the network")
    try:
        array = _array(folder, item)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several")
    except ARRAY_ERRORS as error:
        raise RequestError(f"{where}: not a plain .npy array ({error}); restore it or rebuild the network") from error
    if (array.dtype.name, array.shape) != (item.dtype, item.shape):
        raise RequestError(
            f"{where}: holds {array.dtype.name} {array.shape} where {name!r} is {item.dtype} {item.shape}; restore the file"
        )
    return array


def _array(folder: Folder, item: Stored) -> Array:
    mapped = folder.local and 0 not in item.shape  # nothing cannot be mapped
    if mapped:
        with storage_errors("read", folder.at(item.file)):
            return np.load(folder.locate(item.file), mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(folder.read(item.file)), allow_pickle=False)


def _below(arrays: dict[str, Array], part: str) -> dict[str, Array]:
    return {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{part}/")}


def _check_messages(manifest: NetworkManifest, arrays: dict[str, Array], uri: str) -> None:
    indptr, source, relation = arrays["indptr"], arrays["source"], arrays["relation"]
    if int(indptr[0]) != 0 or int(indptr[-1]) != len(source) or bool((np.diff(indptr) < 0).any()):
        raise RequestError(f"{uri}: indptr does not point into its {len(source)} messages; rebuild the network")
    for name, ids, size in (("node", source, manifest.nodes), ("relation", relation, len(manifest.relations))):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            row = int(np.argmax((ids < 0) | (ids >= size)))
            raise RequestError(f"{uri}: message {row} comes from {name} {int(ids[row])} of {size}; rebuild the network")
