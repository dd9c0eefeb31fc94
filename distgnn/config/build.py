"""Config of the corpus builders, one class per kind of input. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check, check_imports, take_groups
from distgnn.config.fields import reads, runtime, setting, writes
from distgnn.config.metrics import MetricsConfig

MOST_UNIT_ROWS = 512
"""Graphs per unit of a large corpus, if not given."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Options common to all corpus builders."""

    out: str = writes()
    """URI of the corpus to write."""
    unit_rows: int = setting(0)
    """Graphs per unit (Parquet row group), the amount that is read at a time and of which validation holds out whole ones;
    0 = 512, fewer in corpora of fewer than 10,240 graphs, so that there are 20 units."""
    shard_rows: int = setting(65_536)
    """Graphs per shard (file); a multiple of unit_rows. An interrupted build continues after the last complete shard."""
    overwrite: bool = runtime(False)
    """Replace an existing corpus or an unfinished build at the target."""
    workers: int = runtime(1, most=65_536)
    """Processes that read the input; more than 1 uses Ray. The files written do not depend on it."""
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers the builder."""
    metrics: MetricsConfig = runtime(factory=MetricsConfig)

    def __post_init__(self) -> None:
        take_groups(self)
        check_imports(self.imports)
        check(self.workers >= 1, f"workers must be at least 1, found {self.workers}")
        check(self.unit_rows >= 0, f"unit_rows must be at least 1, or 0 to choose it, found {self.unit_rows}")
        most = self.unit_rows or MOST_UNIT_ROWS
        good = self.shard_rows >= 1 and self.shard_rows % most == 0
        check(good, f"shard_rows={self.shard_rows} must be a positive multiple of unit_rows={most}")


@dataclass(frozen=True, kw_only=True)
class InputBuildConfig(BuildConfig):
    """Options of a builder that reads files."""

    input: tuple[str, ...] = reads()
    """Paths or URIs of the input files, in order; .gz, .bz2, .xz and .zst files are decompressed while reading."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.input), "input must name at least one file")
