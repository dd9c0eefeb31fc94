"""Config of ``distgnn database build``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass

from distgnn.config.base import check, check_imports
from distgnn.config.fields import reads, runtime, setting, writes


@dataclass(frozen=True, kw_only=True)
class DatabaseBuildConfig:
    """Build a store from a relational database: a folder of CSV or Parquet files, SQLite, DuckDB, PostgreSQL, RelBench.

    Example: distgnn database build --input northwind.sqlite --out stores/northwind --schema northwind.toml
    """

    input: str = reads()
    """Folder, file, or postgresql://USER@HOST/DATABASE (password: PGPASSWORD or ~/.pgpass)."""
    out: str = writes()
    """URI of the store to write."""
    schema: str = reads("")
    """Schema file (TOML) that names keys, times and kinds. Where the source leaves some open, a draft is written for you to check:
    here if the file does not exist, else beside the store."""
    source: str = setting("", names="database_source", also=("",))
    """Kind of the input; empty = recognise it."""
    encoding: str = setting("")
    """Encoding of CSV files; empty = UTF-8."""
    accept_proposal: bool = setting(False)
    """Build with the proposed keys and times, without a schema file. The proposals are printed and kept in the store."""
    overwrite: bool = runtime(False)
    """Replace an existing store or an unfinished build at the target."""
    imports: tuple[str, ...] = runtime((), code=True)
    """Python modules to import first, such as one that registers a source."""

    def __post_init__(self) -> None:
        check_imports(self.imports)
        check(bool(self.input.strip("/")), "input must name a folder, a file or a server")
        check(not (self.schema and self.accept_proposal), "schema and accept_proposal exclude each other; give one")
