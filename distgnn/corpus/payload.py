"""Serialisation of GraphBatch for transport between processes: safetensors with narrowed integer types."""

from __future__ import annotations

import json
from dataclasses import fields

import safetensors.torch
import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch, Ragged

_NARROW = (torch.uint8, torch.int16, torch.int32)
_EXTRA = "extras."


def encode(batch: GraphBatch) -> tuple[bytes, str]:
    """Serialise a batch and its extras to (tensor bytes, JSON description); lossless."""
    found = {item.name: getattr(batch, item.name) for item in fields(batch)}
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    for name, ragged in batch.extras.items():
        tensors |= {f"{_EXTRA}{name}/values": ragged.values, f"{_EXTRA}{name}/ptr": ragged.ptr}
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    narrow = {name: _narrow(tensor).contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(narrow), json.dumps({"dtypes": dtypes, "directed": batch.directed})


def decode(data: bytes, description: str) -> GraphBatch:
    """Deserialise the output of :func:`encode`."""
    header = json.loads(description)
    loaded = safetensors.torch.load(data)
    tensors = {name: tensor.to(getattr(torch, header["dtypes"][name])) for name, tensor in loaded.items()}
    extras = {
        name.removeprefix(_EXTRA).removesuffix("/ptr"): Ragged(
            tensors[name.removesuffix("ptr") + "values"], tensors[name]
        )
        for name in tensors
        if name.startswith(_EXTRA) and name.endswith("/ptr")
    }
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(_EXTRA)}
    return GraphBatch(**own, directed=header["directed"], extras=extras, copies={})


def _narrow(tensor: Tensor) -> Tensor:
    if tensor.dtype not in (torch.int32, torch.int64) or not tensor.numel():
        return tensor
    low, high = (int(bound) for bound in tensor.aminmax())
    for dtype in _NARROW:
        if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
            return tensor.to(dtype)
    return tensor
