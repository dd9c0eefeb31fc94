"""Results of API functions: tables, figures and HTML for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


class Results:
    """Base class of results: a table, a figure, plain values, and a representation for notebooks.

    Subclasses set :attr:`table`, and implement :meth:`plot`, :meth:`to_json` and ``__str__`` (the table for a terminal).
    """

    uri: str
    """Folder with the files of the result."""
    table: pd.DataFrame
    """One row for each compared method."""

    def plot(self) -> Figure:
        """Draw the result as a matplotlib figure."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """HTML for notebooks; all text is escaped."""
        return f"<p>{escape(self.uri)}</p>{self.table.to_html(index=False, escape=True, float_format='{:.4f}'.format)}"
