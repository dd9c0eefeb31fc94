"""Rules of tasks: a small language for labels, such as ``count(orders where freight > 10) within 60 days``."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple, NoReturn, cast

from distgnn.errors import RequestError
from distgnn.relational.schema import Column, ForeignKey, Kind, Schema
from distgnn.relational.sources.sql import quoted

GRAMMAR = (
    "FUNCTION(TABLE[.COLUMN] [where COLUMN OP VALUE [and ...]]) [OP NUMBER] [within N days] [via COLUMN]; functions: count, exists,"
    " sum, mean, min, max, last, next, value; also: COLUMN in (VALUE, ...), COLUMN is [not] null"
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<name>[^\W\d]\w*)|(?P<mark><=|>=|!=|<>|[=<>().,]))""",
    re.VERBOSE,
)
_WORD_END, _WORD = re.compile(r"[^\W\d]\w*$"), re.compile(r"[^\s\w()<>=,.'\"]+[\w-]+")
_OPERATORS = ("=", "!=", "<>", "<", "<=", ">", ">=")
_UNITS = {"hour": 3_600_000_000, "day": 86_400_000_000, "week": 7 * 86_400_000_000}
_CALLED = {
    "avg": "mean",
    "average": "mean",
    "total": "sum",
    "first": "next",
    "any": "exists",
    "minimum": "min",
    "maximum": "max",
}
_LENGTH, _MICROSECONDS = 10_000, 1 << 60
Function = Literal["count", "exists", "sum", "mean", "min", "max", "last", "next", "value"]
_COLUMNLESS, _NEEDS_COLUMN = ("count", "exists"), ("sum", "mean", "min", "max", "last", "next", "value")
_AGGREGATES: dict[str, str] = {
    "count": "count(e.row)",
    "exists": "(count(e.row) > 0)",
    "sum": "coalesce(sum(e.value), 0)",
    "mean": "avg(e.value)",
    "min": "min(e.value)",
    "max": "max(e.value)",
    "last": "last(e.value ORDER BY e.time, e.row) FILTER (e.value IS NOT NULL)",
    "next": "first(e.value ORDER BY e.time, e.row) FILTER (e.value IS NOT NULL)",
}


class Condition(NamedTuple):
    """A condition of a filter: ``column operator literals``; the operator may be "IS", "IS NOT" (of null) or "IN"."""

    column: str
    operator: str
    literals: tuple[str, ...]

    @property
    def sql(self) -> str:
        """The condition in SQL."""
        listed = f"({', '.join(self.literals)})" if self.operator == "IN" else self.literals[0]
        return f"{quoted(self.column)} {self.operator} {listed}"


@dataclass(frozen=True)
class Rule:
    """A parsed rule.

    Attributes:
        function: How the rows of the window become a label.
        table: Table of the rows.
        column: Column of their values; "" for count and exists.
        conditions: All of them must hold.
        compare: Operator and number that turn the value into 0 or 1; None = the value itself.
        horizon: Length of the window in microseconds; 0 = no end.
        via: Foreign key column by which the table hangs on the entity; "" = the only way.
    """

    function: Function
    table: str
    column: str
    conditions: tuple[Condition, ...]
    compare: tuple[str, float] | None
    horizon: int
    via: str

    @property
    def aggregate(self) -> str:
        """SQL of the label from the rows ``e`` (row, time, value) of a window."""
        value = _AGGREGATES[self.function]
        return value if self.compare is None else f"({value}) {self.compare[0]} {self.compare[1]!r}"

    @property
    def where(self) -> str:
        """SQL of the filter."""
        return " AND ".join(one.sql for one in self.conditions) or "true"


def parse_rule(text: str, schema: Schema) -> Rule:
    """Parse a rule and check its names.

    Raises:
        RequestError: It is not understood, or names tables or columns that the schema has not.
    """
    rule = _Parser(text).rule({table.name for table in schema.tables})
    table = schema.table(rule.table)
    checked = tuple(_checked(one, table.column(one.column), rule.table, text) for one in rule.conditions)
    rule = replace(rule, conditions=checked)
    if rule.column:
        _check_value(rule, table.column(rule.column), text)
    if table.time is None and rule.function != "value":
        raise RequestError(f"rule {text!r}: table {rule.table!r} has no time column; choose another table")
    if rule.function not in ("next", "value") and not rule.horizon:
        raise RequestError(f"rule {text!r}: {rule.function} needs a window, such as: within 30 days")
    return rule


def _checked(condition: Condition, column: Column, table: str, text: str) -> Condition:
    """Return a condition whose literals are of the column's kind; numbers beside names count as texts."""
    if condition.operator in ("IS", "IS NOT"):
        return condition
    place = f"rule {text[:200]!r}: {table}.{column.name} is of kind {column.kind.value}"
    for one in condition.literals:
        written = one.startswith("'")
        if column.kind is Kind.NUMBER and written:
            raise RequestError(f"{place}; compare it with a number, not with {one}")
        if column.kind is Kind.TIME and not (written and _is_moment(one[1:-1])):
            raise RequestError(f"{place}; compare it with a date such as '2024-01-31', not with {one}")
        if column.kind is Kind.CATEGORY and condition.operator not in ("=", "<>", "IN"):
            raise RequestError(f"{place}; it is the same as a value or not: use =, != or in")
    texts = column.kind in (Kind.CATEGORY, Kind.TEXT, Kind.KEY)
    literals = (one if one.startswith("'") or not texts else f"'{one}'" for one in condition.literals)
    return condition._replace(literals=tuple(literals))


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_value(rule: Rule, column: Column, text: str) -> None:
    numeric = rule.function in ("sum", "mean", "min", "max") or rule.compare is not None
    good = (Kind.NUMBER,) if numeric else (Kind.NUMBER, Kind.CATEGORY)
    if column.kind not in good:
        kinds = " or ".join(kind.value for kind in good)
        raise RequestError(
            f"rule {text!r}: {rule.table}.{column.name} is of kind {column.kind.value}; the rule needs a {kinds}"
        )


def path_to(entity: str, rule: Rule, schema: Schema) -> tuple[ForeignKey, ...]:
    """Return the foreign keys from the rule's table up to the entity's table, along the shortest way.

    Raises:
        RequestError: There is none, or several of the same length.
    """
    ways: list[tuple[ForeignKey, ...]] = []
    queue: deque[tuple[str, tuple[ForeignKey, ...]]] = deque([(rule.table, ())])
    while queue:
        table, way = queue.popleft()
        if (ways and len(way) >= len(ways[0])) or len(way) > 4:
            continue
        for key in schema.parents(table):
            if way or not rule.via or key.column == rule.via:
                longer = (*way, key)
                (ways.append(longer) if key.parent == entity else queue.append((key.parent, longer)))
    if not ways:
        via = f" via {rule.via!r}" if rule.via else ""
        raise RequestError(f"no foreign keys lead from {rule.table!r} to {entity!r}{via}; choose another table")
    if len(ways) > 1:
        names = ", ".join(way[0].column for way in ways)
        raise RequestError(f"{rule.table!r} hangs on {entity!r} in several ways ({names}); add: via COLUMN")
    return ways[0]


def _quoting(text: str, position: int) -> str:
    """Hint for a name that has other letters than a word, such as ``order-no``; "" if there is none before ``position``."""
    before, after = _WORD_END.search(text[:position]), _WORD.match(text, position)
    if before is None or after is None:
        return ""
    return f'; a name with other letters is quoted: "{before[0]}{after[0]}" (in TOML, put the rule in single quotes)'


class _Parser:
    """Recursive descent over the tokens of a rule."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._at = text[:_LENGTH], [], 0
        position, clean = 0, self._text.strip()
        while position < len(clean):
            found = _TOKEN.match(clean, position)
            if found is None:
                self._refuse(f"{clean[position : position + 20]!r} is not understood{_quoting(clean, position)}")
            self._tokens.append((found.lastgroup or "", found[found.lastgroup or 0]))
            position = found.end()

    def rule(self, tables: Collection[str]) -> Rule:
        """Parse; a name of a table may hold dots, as ``SCHEMA.TABLE`` of PostgreSQL does."""
        function = self._word((*_AGGREGATES, "value"), "a function")
        self._mark("(")
        names = [self._name("a table")]
        while self._take("."):
            names.append(self._name("a column"))
        whole = len(names) == 1 or (function in _COLUMNLESS and ".".join(names) in tables)
        table, column = (".".join(names), "") if whole else (".".join(names[:-1]), names[-1])
        if (function in _NEEDS_COLUMN) != bool(column):
            self._refuse(f"{function} takes a table{'' if function in _COLUMNLESS else ' and a column: TABLE.COLUMN'}")
        conditions = self._conditions()
        self._mark(")")
        compare = (self._operator(), self._number()) if self._peek() in _OPERATORS else None
        horizon = self._window()
        via = self._name("a column") if self._take("via") else ""
        if self._at < len(self._tokens):
            self._refuse(f"{self._tokens[self._at][1]!r} is left over")
        return Rule(cast(Function, function), table, column, conditions, compare, horizon, via)

    def _conditions(self) -> tuple[Condition, ...]:
        found: list[Condition] = []
        while self._take("and" if found else "where"):
            column = self._name("a column")
            if self._take("is"):
                operator = "IS NOT" if self._take("not") else "IS"
                self._word(("null",), "null")
                found.append(Condition(column, operator, ("NULL",)))
            elif self._take("in"):
                found.append(Condition(column, "IN", self._literals()))
            else:
                found.append(Condition(column, self._operator(), (self._literal(),)))
        return tuple(found)

    def _window(self) -> int:
        if not self._take("within"):
            return 0
        count = self._number()
        unit = self._word(tuple(f"{one}{end}" for one in _UNITS for end in ("", "s")), "hours, days or weeks")
        length = round(count * _UNITS[unit.rstrip("s")])
        if not 0 < length <= _MICROSECONDS:
            self._refuse("the window must be longer than 0")
        return length

    def _operator(self) -> str:
        found = self._peek()
        if found not in _OPERATORS:
            self._refuse(f"expected one of {' '.join(_OPERATORS)}, found {found!r}")
        self._at += 1
        return "<>" if found == "!=" else found

    def _number(self) -> float:
        kind, found = self._next("a number")
        if kind != "number":
            self._refuse(f"expected a number, found {found!r}")
        return float(found)

    def _literals(self) -> tuple[str, ...]:
        self._mark("(")
        found = [self._literal()]
        while self._take(","):
            found.append(self._literal())
        self._mark(")")
        return tuple(found)

    def _literal(self) -> str:
        kind, found = self._next("a value")
        if kind == "name" and found.lower() in ("true", "false"):
            return f"'{found.lower()}'"
        if kind not in ("number", "text"):
            self._refuse(f"expected a number or 'text', found {found!r}")
        return found

    def _name(self, what: str) -> str:
        kind, found = self._next(what)
        if kind == "quoted":
            return found[1:-1].replace('""', '"')
        if kind != "name":
            self._refuse(f"expected {what}, found {found!r}")
        return found

    def _word(self, words: tuple[str, ...], what: str) -> str:
        _, found = self._next(what)
        if found.lower() not in words:
            other = _CALLED.get(found.lower(), "")
            called = f" (it is called {other})" if other in words else ""
            self._refuse(f"expected {what}, found {found!r}{called}")
        return found.lower()

    def _mark(self, mark: str) -> None:
        if not self._take(mark):
            self._refuse(f"expected {mark!r}, found {self._peek()!r}")

    def _take(self, word: str) -> bool:
        taken = self._peek() == word
        self._at += taken
        return taken

    def _peek(self) -> str:
        kind, found = self._tokens[self._at] if self._at < len(self._tokens) else ("", "the end")
        return found.lower() if kind in ("name", "mark") else found

    def _next(self, what: str) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            self._refuse(f"expected {what}, found the end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _refuse(self, why: str) -> NoReturn:
        raise RequestError(f"rule {self._text[:200]!r}: {why}; write {GRAMMAR}")
