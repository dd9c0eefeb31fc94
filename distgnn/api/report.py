"""Reports: ``distgnn.write_report``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import distgnn
from distgnn.errors import RequestError
from distgnn.report.folders import section_of
from distgnn.report.page import Page, render
from distgnn.report.side_by_side import compared
from distgnn.report.sweep.page import write_sweep_report
from distgnn.search.records import SWEEP
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import base_name, join, parent, text_of

_MARK = b"<!doctype html>"


def write_report(
    folders: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] = ""
) -> str:
    """Write one self-contained HTML page about what commands wrote: figures, tables, and the results in words.

    Args:
        folders: Folders of corpora, pre-training runs, fine-tunings, few-label evaluations, analyses, transfers, studies
            and sweeps. Several runs, comparisons or studies are also compared side by side. The pages of sweeps are written
            again in their folders.
        out: URI of the page; empty = report.html in the folder, if there is one only. An existing page is replaced; any
            other file is not.

    Returns:
        The URI of the page.

    Raises:
        RequestError: A folder holds nothing to report, a file of it is malformed, or ``out`` is no HTML page.

    Example:
        >>> distgnn.write_report(["runs/l2p", "runs/bace-few"], out="report.html")
    """
    uris = [
        text_of(uri) for uri in ([folders] if folders is None or isinstance(folders, str | os.PathLike) else folders)
    ]
    out = text_of(out)
    if not uris:
        raise RequestError("report: no folder is given; give output folders of distgnn commands")
    if len(uris) > 1 and not out:
        raise RequestError("report: several folders make one page; say where it goes (out, such as report.html)")
    place, name = parent(out or join(uris[0], "report.html"))
    target = open_folder(place)
    if not name.endswith((".html", ".htm")):
        raise RequestError(f"{out}: a page ends in .html; choose such a name")
    if target.size(name) is not None and not target.read(name).lstrip().lower().startswith(_MARK):
        raise RequestError(f"{out}: is no HTML page, so it is not replaced; choose another name")
    sweeps = {uri: write_sweep_report(open_folder(uri)) for uri in uris if open_folder(uri).size(SWEEP) is not None}
    sections = [section_of(uri, sweeps.get(uri)) for uri in uris]
    title = f"Report on {', '.join(map(base_name, uris))}"
    about = f"Written by distgnn {distgnn.__version__} on {time.strftime('%Y-%m-%d %H:%M')}."
    target.write(name, render(Page(title, about, [*compared(uris), *sections])).encode())
    return target.at(name)
