"""Accounts of input files: how many entries were read, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from distgnn.errors import WorkError
from distgnn.storage.records import Count, Name, Text


@dataclass(frozen=True)
class Account:
    """What became of the entries of an input file.

    Attributes:
        file: name of the file.
        format: format as it was recognised.
        read: number of entries (rows, links, or declared nodes).
        stored: entries by what they became, such as edges and duplicates of edges.
        skipped: entries left out for a reason that is no error, such as a low score.
        rejected: entries that could not be read, by reason.
    """

    file: Name
    format: Text
    read: Count
    stored: dict[Name, Count]
    skipped: dict[Name, Count] = field(default_factory=dict)
    rejected: dict[Name, Count] = field(default_factory=dict)

    def check(self) -> None:
        """Raise WorkError if the parts do not add up to the entries read."""
        parts = sum(sum(part.values()) for part in (self.stored, self.skipped, self.rejected))
        if parts != self.read:
            raise WorkError(
                f"{self.file}: {self.read:,} entries read, but {parts:,} accounted for; a defect of the reader"
            )

    def line(self) -> str:
        """Describe the account in one line."""
        names = sorted(self.stored, key=lambda name: (name != "edges", name))
        parts = [f"{self.stored[name]:,} {name}" for name in names]
        for what, reasons in (("skipped", self.skipped), ("rejected", self.rejected)):
            parts += [f"{count:,} {what} ({reason})" for reason, count in reasons.items()]
        return f"{self.file} ({self.format}): {self.read:,} entries read = {' + '.join(parts)}"
