"""Recognition of edge tables: which format a file has, from its first lines, its extension and the options."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from distgnn.corpus.sources.edges.fields import ascii_words, split_line
from distgnn.corpus.sources.edges.headers import Header, column_of, is_number, known_header, missing_columns
from distgnn.corpus.sources.edges.lines import read_head
from distgnn.corpus.sources.files import plain_name
from distgnn.errors import RequestError

Format = Literal[
    "auto", "edges", "csv", "tsv", "string", "biogrid", "mitab", "sif", "adjlist", "mtx", "ntriples", "pajek", "graphml",
    "gexf", "parquet",
]  # fmt: skip
Encoding = Literal["utf-8", "utf-16", "latin-1", "cp1252"]
_EXTENSIONS: dict[str, Format] = {
    ".sif": "sif", ".mtx": "mtx", ".adjlist": "adjlist", ".nt": "ntriples", ".graphml": "graphml", ".gexf": "gexf",
    ".parquet": "parquet",
}  # fmt: skip
_OTHERS = {
    ".gml": "GML", ".dot": "DOT", ".gv": "DOT", ".metis": "METIS", ".graph": "METIS", ".lgl": "LGL", ".ttl": "Turtle",
    ".rdf": "RDF/XML", ".nq": "N-Quads", ".json": "JSON", ".cx": "CX",
}  # fmt: skip
_CONTENT: tuple[tuple[str, Format], ...] = (
    (r"%%MatrixMarket\b", "mtx"),
    (r"\*(vertices|network|arcs|edges)\b", "pajek"),
    (r"(<[^<>\"{}|^`\\\s]*>|_:\S+)\s+<[^<>\s]*>\s+(<[^<>\s]*>|_:\S+|\".*)\s*\.", "ntriples"),
)
_DELIMITED: dict[str, tuple[str, ...]] = {"csv": (",", ";", "\t"), "tsv": ("\t",)}
_UNQUOTED = ("string", "biogrid", "mitab")
_MITAB_WIDTH, _MOST_COLUMNS, _SHOWN = 15, 1000, 120
_MITAB_ID = re.compile(r"[^:\t]+:.+")
_NOUN = "gene|protein|node|interactor|partner|symbol|entrez|uniprot|ensembl|id|ids|name|official|item|entity|vertex"
_COLUMN_NAME = re.compile(rf"#?(?:{_NOUN})(?:[ _.-]*(?:{_NOUN}))*[ _.-]*[ab12xy]?")
_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "": "white space"}


@dataclass(frozen=True)
class EdgeOptions:
    """How to read an edge table.

    Attributes:
        format: the format; "auto" recognises it.
        columns: columns of source, target and, if given, weight: names of the header, or numbers from 0 without a header.
        min_score: drop edges with a lower score or weight; 0 keeps all.
        encoding: encoding of a text without a byte order mark.
        quotes: whether fields of csv and tsv may be quoted.
    """

    format: Format = "auto"
    columns: tuple[str, ...] = ()
    min_score: float = 0.0
    encoding: Encoding = "utf-8"
    quotes: bool = True


DEFAULT = EdgeOptions()


class Layout(NamedTuple):
    """Recognised layout of a file.

    Attributes:
        format: the format.
        delimiter: separator of the fields, "" for white space.
        quotes: whether fields may be quoted.
        skip: number of lines before the first row, the header included.
        width: number of fields of a row; 0 for formats without columns.
        source: column number, as are target, score and kind (of the interaction); -1 = no such column.
        spaced: whether a space follows each delimiter.
        head: names of the source and target columns; "" if the file has no header.
        seen: description of the columns, for messages.
    """

    format: str
    delimiter: str = ""
    quotes: bool = False
    skip: int = 0
    width: int = 0
    source: int = 0
    target: int = 1
    score: int = -1
    kind: int = -1
    spaced: bool = False
    head: tuple[str, str] = ("", "")
    seen: str = ""


def recognise(uri: str, options: EdgeOptions) -> Layout:
    """Recognise the layout of an edge table.

    Raises:
        RequestError: the format is unknown or ambiguous; the message says what was seen and which option to give.
    """
    start, lines = read_head(uri, options.encoding)
    found = _whole_format(uri, start, lines, options.format)
    if found in ("mtx", "pajek", "graphml", "gexf", "parquet", "ntriples"):
        if options.columns and found != "parquet":
            raise RequestError(
                f"{uri}: is {found}, which has no columns; remove the option columns, or give another format"
            )
        return Layout(found)
    rows = [(number, line) for number, line in enumerate(lines) if ascii_words(line) and not line.startswith("sep=")]
    first = next(((number, line) for number, line in rows if not line.startswith("#")), None)
    noted = [(number, line) for number, line in rows if line.startswith("#") and (first is None or number < first[0])]
    if first is None and not noted:
        raise RequestError(f"{uri}: the file is empty; give a file with edges")
    headed = _headed(uri, noted[-1:] + ([first] if first else []), options, found)
    if headed is None and first is None:
        raise RequestError(f"{uri}: has no rows, only comments (line 1 is {_shown(lines[0])}); give a file with edges")
    lines = [line for _, line in rows if not line.startswith("#")]
    layout = headed or _headless(uri, cast(tuple[int, str], first), lines, options, found)
    if layout.width > _MOST_COLUMNS:
        raise RequestError(
            f"{uri}: {layout.width:,} columns, more than {_MOST_COLUMNS:,}; this is not a table of edges"
        )
    return layout


def _whole_format(uri: str, start: bytes, lines: Sequence[str], asked: Format) -> Format:
    """Return the asked format, or the one that extension or content tell without looking at columns; else "auto"."""
    content = _content(start, lines)
    extension = _EXTENSIONS.get(os.path.splitext(plain_name(uri))[1], "auto")
    if asked != "auto":
        if "parquet" in (content, asked) and content != asked:
            raise RequestError(f"{uri}: the content is {content or 'not parquet'}, but format={asked}")
        return asked
    if content == "xml":
        raise RequestError(f"{uri}: an XML file, but neither GraphML nor GEXF (line 1 is {_shown(lines[0])})")
    if content:
        return cast(Format, content)
    if lines and lines[0].lstrip().startswith(("{", "[")):
        raise RequestError(f"{uri}: looks like JSON (line 1 is {_shown(lines[0])}); convert it, or give format")
    other = os.path.splitext(plain_name(uri))[1]
    if other in _OTHERS:
        raise RequestError(
            f"{uri}: {_OTHERS[other]} is not read (line 1 is {_shown(lines[0])}); convert it, or give format"
        )
    if extension in ("graphml", "gexf", "parquet", "mtx", "pajek", "ntriples"):
        seen = _shown(lines[0]) if lines else "empty"
        raise RequestError(f"{uri}: the content is not {extension} (line 1 is {seen}); rename it, or give format")
    return extension


def _content(start: bytes, lines: Sequence[str]) -> str:
    if start.startswith(b"PAR1"):
        return "parquet"
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    found = next((name for pattern, name in _CONTENT if re.match(pattern, first, re.IGNORECASE | re.ASCII)), "")
    if found or not re.match(r"<[?!A-Za-z]", first):
        return found
    whole = " ".join(lines)
    return next((name for name in ("graphml", "gexf") if re.search(rf"<(\w+:)?{name}\b", whole)), "xml")


def _headed(uri: str, candidates: Sequence[tuple[int, str]], options: EdgeOptions, found: Format) -> Layout | None:
    """Return the layout if one of the lines is a header that is known, or that has the asked columns."""
    named = [name for name in options.columns if not is_number(name)]
    if found in ("edges", "sif", "adjlist") or (options.columns and not named):
        return None
    for number, line in candidates:
        delimiter = _delimiter(line, found)
        names = [name.strip() for name in split_line(line.removeprefix("#"), delimiter, quotes=True)]
        header = column_of(uri, names, options.columns) if named else known_header(uri, names, found)
        if header is not None and found in (*_UNQUOTED, "auto") and header.format != found != "auto":
            raise RequestError(
                f"{uri}: has the header of {header.format or 'a table'} (line {number + 1}), not of {found}"
            )
        if header is not None:
            return _with_header(header, names, number, line, delimiter, options)
    if named:
        number, line = candidates[-1]
        raise missing_columns(uri, options.columns, split_line(line, _delimiter(line, found), quotes=True))
    if found in ("string", "biogrid"):
        raise RequestError(
            f"{uri}: has no header of {found} (line {candidates[-1][0] + 1} is {_shown(candidates[-1][1])})"
        )
    return None


def _with_header(
    header: Header, names: Sequence[str], number: int, line: str, delimiter: str, options: EdgeOptions
) -> Layout:
    kind = header.format or "table"
    quotes = options.quotes and bool(delimiter) and kind not in _UNQUOTED
    width = len(names)
    while width > max(header[1:]) + 1 and not names[width - 1]:
        width -= 1  # a trailing delimiter
    spaced = delimiter in (",", ";") and line.count(delimiter) == line.count(delimiter + " ")
    used = ", ".join(names[column] for column in header[1:] if column >= 0)
    head = names[header.source], names[header.target]
    ignored = [name for column, name in enumerate(names[:width]) if column not in header[1:]]
    seen = f"columns {used}" + (f"; not read: {', '.join(ignored)[:_SHOWN]}" if ignored else "")
    return Layout(kind, delimiter, quotes, number + 1, width, *header[1:], spaced, head, seen)


def _headless(uri: str, first: tuple[int, str], rows: list[str], options: EdgeOptions, found: Format) -> Layout:
    number, line = first
    if found in ("sif", "adjlist"):
        return Layout(found, "\t" if found == "sif" and any("\t" in row for row in rows) else "", skip=number)
    tabs = line.rstrip("\t").count("\t") + 1
    if found == "mitab" or (found == "auto" and tabs >= _MITAB_WIDTH and _mitab(line)):
        if tabs < _MITAB_WIDTH:
            raise RequestError(f"{uri}: {tabs} tab-separated columns where MITAB has at least {_MITAB_WIDTH}")
        return Layout("mitab", "\t", skip=number, width=tabs, seen="the first two columns")
    delimiter = _delimiter(line, found)
    if options.columns:
        return _numbered(uri, line, number, delimiter, options)
    if delimiter in (",", ";") or found in ("csv", "tsv"):
        raise _unknown(uri, number, line, delimiter, [len(split_line(line, delimiter, quotes=True))])
    return _plain(uri, number, rows, found)


def _plain(uri: str, number: int, rows: list[str], found: Format) -> Layout:
    """Return the layout of a plain list of two identifiers a line, separated by white space or by one tab."""
    widths = [len(ascii_words(row)) for row in rows]
    tabs = [row.strip("\t ").count("\t") + 1 for row in rows]
    if set(widths) == {2}:
        _check_first(uri, number, rows, found)
        return Layout("edges", "", skip=number, width=2, seen="two columns")
    if set(tabs) == {2}:
        return Layout("edges", "\t", skip=number, width=2, seen="two columns")
    if found == "edges" or widths[0] == 2:
        row = next(place for place, width in enumerate(widths) if width != 2)
        raise RequestError(
            f"{uri}, edge {row + 1}: {_shown(rows[row])} does not hold two ids; fix or remove it, or give format or columns"
        )
    tabbed = set(tabs) == {tabs[0]} and tabs[0] > 1
    raise _unknown(uri, number, rows[0], "\t" if tabbed else "", tabs if tabbed else widths)


def _check_first(uri: str, number: int, rows: list[str], found: Format) -> None:
    """Refuse a first line that differs from all others as a header does."""
    first, others = ascii_words(rows[0]), [word for row in rows[1:] for word in ascii_words(row)]
    bare = [word.strip('"').lower() for word in first]
    named = all(map(_COLUMN_NAME.fullmatch, bare)) or known_header(uri, bare, "auto") is not None
    named &= not set(first) & set(others)
    numbered = not any(map(str.isdigit, first)) and all(map(str.isdigit, others))
    if found == "auto" and others and (named or numbered):
        raise RequestError(
            f"{uri}, line {number + 1}: {_shown(rows[0])} looks like a header; give columns {' '.join(first)},"
            " or format=edges if it is an edge"
        )


def _numbered(uri: str, line: str, number: int, delimiter: str, options: EdgeOptions) -> Layout:
    fields = split_line(line, delimiter, quotes=options.quotes)
    columns = [int(name) for name in options.columns if is_number(name)]
    if len(columns) < len(options.columns) or max(columns) >= len(fields):
        raise RequestError(
            f"{uri}: columns={' '.join(options.columns)}, but line {number + 1} ({_shown(line)}) has the columns"
            f" 0 to {len(fields) - 1}, separated by {_NAMES[delimiter]}"
        )
    source, target, score = (*columns, -1)[:3]
    quotes = options.quotes and bool(delimiter)
    seen = f"columns {' '.join(options.columns)}"
    return Layout("table", delimiter, quotes, number, len(fields), source, target, score, seen=seen)


def _delimiter(line: str, found: Format) -> str:
    """Return the delimiter of a line: a tab if there is one, else commas or semicolons, else white space."""
    if found == "edges":
        return ""
    for delimiter in _DELIMITED.get(found, ("\t", ",", ";")):
        if delimiter in line:
            return delimiter
    return "\t" if found == "tsv" else "," if found == "csv" else ""


def _mitab(line: str) -> bool:
    return all(_MITAB_ID.fullmatch(field) or field == "-" for field in line.split("\t")[:2])


def _unknown(uri: str, number: int, line: str, delimiter: str, widths: Collection[int]) -> RequestError:
    """Return the error for a file of unknown shape: what was seen, and which option to give."""
    counted = ", ".join(map(str, sorted(set(widths))[:4]))
    option = "columns SOURCE TARGET with names of its header, or columns 0 1 if it has none"
    if len(set(widths)) > 1:
        option = "format=adjlist or format=sif if it is such a file"
    elif not delimiter and 3 in widths:
        option += ", or format=sif"
    elif delimiter in (",", ";") and len(ascii_words(line)) == 2:
        option += ", or format=edges if the identifiers hold them"
    return RequestError(
        f"{uri}: not a known table of edges: {counted} columns separated by {_NAMES[delimiter]},"
        f" line {number + 1} is {_shown(line)}; give {option}"
    )


def _shown(line: str) -> str:
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "...")
