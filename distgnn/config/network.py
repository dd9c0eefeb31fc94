"""Config of the network builders, one class per kind of input. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, setting, writes


@dataclass(frozen=True, kw_only=True)
class NetworkBuildConfig:
    """Options common to all network builders."""

    out: str = writes()
    """URI of the network to write."""
    overwrite: bool = runtime(False)
    """Replace an existing network at the target."""
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers the builder."""


@dataclass(frozen=True, kw_only=True)
class InputNetworkConfig(NetworkBuildConfig):
    """Options of a builder that reads files."""

    input: str = reads()
    """Path or URI of the input: a folder of files, or a single file."""
    name: str = setting("")
    """Name of the network; empty = the name of the input."""

    def __post_init__(self) -> None:
        check(bool(self.input.strip("/")), "input must name a folder or file")
