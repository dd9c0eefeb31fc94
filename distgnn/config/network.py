"""Knobs of the network builders, one class each. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check
from distgnn.config.fields import reads, runtime, setting, writes


@dataclass(frozen=True, kw_only=True)
class NetworkBuildConfig:
    """What every builder of networks shares."""

    out: str = writes()
    """URI of the network to write."""
    overwrite: bool = runtime(False)
    """Replace a network that lies at the target."""
    imports: tuple[str, ...] = runtime(())
    """Python modules to import first, such as one that registers the builder."""


@dataclass(frozen=True, kw_only=True)
class InputNetworkConfig(NetworkBuildConfig):
    """A builder that reads files."""

    input: str = reads()
    """Path or URI of the input: a folder of files, or the one file."""
    name: str = setting("")
    """What the network is called; empty = the name of the input."""

    def __post_init__(self) -> None:
        check(bool(self.input.strip("/")), "input must name a folder or file")
