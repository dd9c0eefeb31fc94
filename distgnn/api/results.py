"""Results of API functions: tables, figures and HTML for notebooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from distgnn.storage.folder import Folder


class Results(ABC):
    """Base class of results.

    Attributes:
        folder: Folder with the files of the result.
    """

    folder: Folder

    @property
    def uri(self) -> str:
        """URI of the folder with the files of the result."""
        return self.folder.uri

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """The result as a pandas table."""

    @abstractmethod
    def plot(self) -> Figure:
        """Draw the result as a matplotlib figure."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""

    def _repr_html_(self) -> str:
        """HTML for notebooks; all text is escaped."""
        return f"<p>{escape(self.uri)}</p>{self.table.to_html(index=False, escape=True)}"
