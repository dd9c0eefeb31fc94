"""What the names of columns say: keys, references, times, and times that are not when a row became known."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TIMELY = re.compile(
    r"(^|_)(date|time|datetime|timestamp|ts|epoch|unix|julian|day|at|on|when|since|until|from|start|begin|end|stop|open|close|sent|seen"
    r"|m?sec|ms|[a-z]{2,}ed)($|_)|date|stamp|datum",
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OTHER_TIMES = re.compile(
    r"due|deadline|required|expir|end|until|finish|clos|return|ship|deliver|next",
    re.I,
)
_BIRTHS = re.compile(r"birth|born|dob|geburt|naissance|nacimiento", re.I)
_ENDS = re.compile(r"delet|remov|death|died|deceas|gestorben|sterbe|geloescht|gelöscht", re.I)
_OVERWRITTEN = re.compile(
    r"updat|modif|(?<![a-z])last|latest|recent|(?<!ex)chang|edited|aktualis|geaendert|geändert|letzt|derni|ultim|actualiz"
)
_OWN_TABLE = re.compile(
    r"parent|super|boss|manager|mgr|report|refer|invit|head|chief|prev|predecessor|mother|father|vorgesetz|eltern|ober|geworben"
    r"|_by$|_von$"
)
_SOME_TABLE = re.compile(r"(^|[^a-z])(u?u?id|guid|fk)$")
_PLAIN_KEYS, _REFERENCES = ("id", "key", "code"), ("id", "key", "code", "no", "nr")
_PLANS = re.compile(r"due|deadline|required|expir|until|valid|plan|sched|expected|estimat|target|next", re.I)


def _snake(name: str) -> str:
    return _CAMEL.sub("_", name).lower()


def names_time(column: str) -> bool:
    """Whether a column is called as a time: created_at, orderDate, epoch."""
    return bool(_TIMELY.search(_snake(column)))


def names_other_time(column: str) -> bool:
    """Whether the name of a time says that it is not when its row became known: birth, due date, last update."""
    return bool(_OTHER_TIMES.search(column)) or names_no_row(column) or names_plan(column)


def names_no_row(column: str) -> bool:
    """Whether the name of a time says that rows are there before it: a birth, a last update, a deletion."""
    return names_birth(column) or names_overwritten(column) or bool(_ENDS.search(column))


def names_birth(column: str) -> bool:
    """Whether the name of a time says that it is a birth."""
    return bool(_BIRTHS.search(column))


def names_overwritten(column: str) -> bool:
    """Whether the name of a time says that later values replace it: updated_at, lastLogin. It tells of the future at any time."""
    return bool(_OVERWRITTEN.search(_snake(column)))


def names_plan(column: str) -> bool:
    """Whether the name of a time says that it may be known before it comes: a due date, an end of validity, or a birth."""
    return bool(_PLANS.search(column)) or names_birth(column)


def singulars(table: str) -> Iterator[str]:
    """Iterate over forms of a table's name that columns use: customers, customer; categories, category; Kunden, Kunde."""
    name = plain(table)
    yield name
    for ending, other in (("ies", "y"), ("es", ""), ("s", ""), ("n", "")):
        if name.endswith(ending) and len(name) > len(ending) + 1:
            yield name[: -len(ending)] + other


def plain(name: str) -> str:
    """Return a name in lower case without separators."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(".")[2].lower())


def names_own_table(column: str) -> bool:
    """Whether a column is called as a reference to its own table: parent_id, manager, referred_by, geworben_von."""
    return bool(_OWN_TABLE.search(_snake(column)))


def names_some_table(column: str) -> bool:
    """Whether a column is called as a reference to some table: uid, user_id, userId."""
    return bool(_SOME_TABLE.search(_snake(column)))


def names_key(column: str, table: str) -> bool:
    """Whether a column is called as the key of its own table: id, customer_id, customerid."""
    name = plain(column)
    endings = ("id", "key", "no", "nr", "code", "number")
    return name in ("id", "key", "code") or any(
        name in (one, *(one + end for end in endings)) for one in singulars(table)
    )


def names_parent(column: str, table: str, key: str, child: str) -> bool:
    """Whether a column of ``child`` is called as a reference to the ``key`` of ``table``.

    By the key or the table: customer_id, home_customer_id, customer; or by the last words of a table whose first are those of the
    child: items.category_id for item_categories.
    """
    name, own = plain(column), plain(key)
    if own not in _PLAIN_KEYS and (name == own or (len(own) > 3 and name.endswith(own))):
        return True
    if names_table(column, table):
        return True
    words = re.split(r"[^a-z0-9]+", _snake(table.rpartition(".")[2]))
    return child != table and any(
        plain(child).startswith("".join(words[:cut])) and _calls(name, "".join(words[cut:]), whole=True)
        for cut in range(1, len(words))
    )


def names_table(column: str, table: str) -> bool:
    """Whether a column is called as a reference to a table: customer_id, home_customer_id, customer."""
    return _calls(plain(column), table, whole=False)


def names_number_of(column: str, table: str) -> bool:
    """Whether a column is called as a table of several, as a number of its rows is: films."""
    return plain(column) == plain(table) and len([*singulars(table)]) > 1


def _calls(name: str, table: str, *, whole: bool) -> bool:
    endings = _REFERENCES if whole else ("", *_REFERENCES)
    ends = tuple(one + end for one in singulars(table) for end in endings if len(one) > 2)
    return name in ends if whole else name.endswith(ends)


def refers_to_own_table(column: str) -> bool:
    """Whether a column is called as nothing but a reference to its own table: parent_id, reports_to, referred_by."""
    return names_own_table(column) and (names_some_table(column) or plain(column).endswith(("to", "by", "von")))
