"""Results of API functions: tables, figures and HTML for notebooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from html import escape
from typing import Any, Generic, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from distgnn.auxiliary.comparison import Comparison
from distgnn.report.scores import score_figure
from distgnn.storage.folder import Folder

C = TypeVar("C", bound=Comparison[Any])


class Results(ABC):
    """Base class of results.

    Attributes:
        folder: Folder with the files of the result.
    """

    folder: Folder

    def __fspath__(self) -> str:
        """Return :attr:`uri`, so that a result may be given wherever its folder may."""
        return self.uri

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


@dataclass(frozen=True)
class ComparisonResults(Results, Generic[C]):
    """Base class of the results of trainings over seeds, beside their controls.

    Attributes:
        folder: Folder with table.md, results.json and what the command adds.
        comparison: Scores and curves of each training.
    """

    folder: Folder
    comparison: C = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """Mean, sd, se, difference to the control, p and p_holm of each row, part and metric."""
        return pd.DataFrame(self.comparison.summary())

    @property
    def records(self) -> pd.DataFrame:
        """One row for each training (method, encoder, scheme, seed), part and metric."""
        return pd.DataFrame(self.comparison.records())

    def plot(self) -> Figure:
        """Draw the scores of every row over its seeds."""
        return score_figure(self.comparison)
