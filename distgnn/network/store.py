"""Networks on disk: network.json and one .npy file per array, without pickle.

Arrays of a local folder are memory-mapped.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distgnn.corpus.sources.npz import ARRAY_ERRORS, read_npy
from distgnn.errors import RequestError
from distgnn.graph.ragged import pointers
from distgnn.network.manifest import NAME, Dtype, NetworkManifest, Stored, arrays_of, read_manifest
from distgnn.network.network import Network
from distgnn.storage.claim import claim, settle
from distgnn.storage.folder import Folder, open_folder, storage_errors
from distgnn.storage.records import MAX_BYTES, parse_object

Array = npt.NDArray[Any]


def save_network(network: Network, uri: str, overwrite: bool = False) -> NetworkManifest:
    """Write a network to a folder.

    Args:
        network: the network.
        uri: the folder.
        overwrite: replace an existing network.

    Raises:
        RequestError: a network exists and ``overwrite`` is False, or a name or dtype cannot be stored.
    """
    folder, arrays = open_folder(uri), arrays_of(network)
    if not overwrite:
        refuse_existing(folder)
    replaced = folder.size(NAME) is not None
    names = (NAME, *(f"{name}.npy" for name in arrays))
    claim(folder, names, "network", ours=_files_of(folder) if replaced else ())
    if replaced:
        folder.delete(NAME)  # the folder holds no valid network until the new manifest is written
    stored = {name: _write(folder, f"{name}.npy", array) for name, array in arrays.items()}
    counts = np.diff(network.type_ptr).tolist()
    types = tuple(zip(network.types, counts, strict=True))
    manifest = NetworkManifest(types, network.relations, stored, network.meta)
    folder.write(NAME, manifest.to_bytes())
    settle(folder)
    return manifest


def refuse_existing(folder: Folder) -> None:
    """Raise RequestError if there is a network in ``folder``; first end the claim of a build that was killed after it."""
    if folder.size(NAME) is not None:
        settle(folder)
        raise RequestError(f"{folder.uri}: a network already exists; use another out or overwrite")


def _files_of(folder: Folder) -> set[str]:
    """Return the names of the files of the network in ``folder``; RequestError if its network.json is not a network manifest."""
    try:
        data = parse_object(folder.read(NAME, MAX_BYTES), folder.at(NAME), "a network manifest")
        return {NAME, *(str(item["file"]) for item in data["arrays"].values())}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{folder.at(NAME)}: not the manifest of a network, so it is not overwritten; use another out"
        ) from error


def load_network(uri: str) -> Network:
    """Load a network.

    Checks sizes, headers, pointers and source ids; :func:`verify_network` also checks the digests.

    Raises:
        RequestError: the files do not match network.json.
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
        features=_with_prefix(arrays, "features"),
        tables=_with_prefix(arrays, "tables"),
        meta=manifest.meta,
    )


def verify_network(uri: str) -> list[str]:
    """Check every byte against the SHA-256 digests; returns one line per problem.

    Raises:
        RequestError: as :func:`load_network`.
    """
    folder = open_folder(uri)
    load_network(uri)
    found = []
    for item in read_manifest(folder).arrays.values():
        if folder.read_checked(item.file, item.sha256) is None:
            found.append(f"{folder.at(item.file)}: the bytes differ from the checksum in {NAME}")
    return found


def _write(folder: Folder, name: str, array: Array) -> Stored:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    data = buffer.getbuffer()
    folder.write(name, pa.py_buffer(data))
    return Stored(name, cast(Dtype, array.dtype.name), array.shape, len(data), hashlib.sha256(data).hexdigest())


def _read(folder: Folder, name: str, item: Stored) -> Array:
    where = folder.at(item.file)
    size = folder.size(item.file)
    if size != item.bytes:
        found = "is missing" if size is None else f"has {size} bytes, not {item.bytes}"
        raise RequestError(f"{where}: the file {found}; restore it or rebuild the network")
    try:
        array = _array(folder, item)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
    except ARRAY_ERRORS as error:
        raise RequestError(f"{where}: not a plain .npy array ({error}); restore it or rebuild the network") from error
    if (array.dtype.name, array.shape) != (item.dtype, item.shape):
        raise RequestError(
            f"{where}: array {name!r} must be {item.dtype} {item.shape}, found {array.dtype.name} {array.shape}; restore the file"
        )
    return array


def _array(folder: Folder, item: Stored) -> Array:
    mapped = folder.local and 0 not in item.shape  # an empty file cannot be mapped
    if mapped:
        with storage_errors("read", folder.at(item.file)):
            return np.load(folder.locate(item.file), mmap_mode="r", allow_pickle=False)
    data = folder.read(item.file)
    return read_npy(io.BytesIO(data), len(data))


def _with_prefix(arrays: dict[str, Array], part: str) -> dict[str, Array]:
    return {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{part}/")}


def _check_messages(manifest: NetworkManifest, arrays: dict[str, Array], uri: str) -> None:
    indptr, source, relation = arrays["indptr"], arrays["source"], arrays["relation"]
    if int(indptr[0]) != 0 or int(indptr[-1]) != len(source) or bool((np.diff(indptr) < 0).any()):
        raise RequestError(f"{uri}: indptr does not point into its {len(source)} messages; rebuild the network")
    for name, ids, size in (("node", source, manifest.nodes), ("relation", relation, len(manifest.relations))):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
            row = int(np.argmax((ids < 0) | (ids >= size)))
            raise RequestError(
                f"{uri}: message {row} has {name} {int(ids[row])}, which must be in [0, {size}); rebuild the network"
            )
