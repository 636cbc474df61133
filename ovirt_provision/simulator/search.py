"""The engine's search language, for every collection that can be searched.

    expression [sortby FIELD [asc|desc]] [page N]

An expression is made of conditions `FIELD RELATION VALUE` or bare words (free text), joined by `and`, `or`
and parentheses; conditions without a word between them are joined by `and`. Names of fields are not
case-sensitive, `*` is the only wildcard, values may be quoted. What cannot be understood finds nothing,
without an error: that is how the engine does it.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from ovirt_provision.simulator.entities import is_uuid
from ovirt_provision.simulator.faults import Fault

PAGE = 100
"""Rows of a page when `max` is not given."""


class Kind(Enum):
    TEXT = "text"
    CASED_TEXT = "text that is always case-sensitive"
    ID = "id"
    NUMBER = "number"
    TIME = "time"
    STATUS = "status"
    BOOLEAN = "boolean"


@dataclass(frozen=True)
class Field:
    """How a field is read from a row; `get` gives one value or a list of values, any of which may match.

    `unequal` is what `!=` is about: of its values any may differ. `values` are what a status field may be
    compared with; anything else makes the search find nothing. `column` is that of the engine's database,
    where it is known.
    """

    get: Callable[[Any], Any]
    kind: Kind = Kind.TEXT
    free_text: bool = False
    values: frozenset[str] = frozenset()
    unequal: Callable[[Any], Any] | None = None
    column: str = ""


Fields = Mapping[str, Field]
_Test = Callable[[Any], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])|(?P<relation>!=|<=|>=|=|<|>)|"(?P<quoted>[^"]*)"|(?P<word>[^\s()=<>!"]+))"""
)


class _Broken(Exception):
    """The search cannot be understood."""


def search(
    rows: Iterable[Any],
    text: str,
    fields: Fields,
    *,
    case_sensitive: bool = False,
    maximum: int | None = None,
    now: datetime,
    order: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """The rows that match, sorted and cut as `text` says. Without `sortby` they are in the order of the keys
    that `order` gives, or as they come.

    Raises `Fault` for a value that the engine's database would choke on (a malformed id).
    """
    try:
        query = _Parser(text, fields, case_sensitive, now).parse()
    except (_Broken, RecursionError):
        return []
    test = query.test
    found = [row for row in rows if test(row)]
    if order is not None:
        found.sort(key=order)
    if query.sort is not None:
        found.sort(key=lambda row: _sort_key(fields[query.sort or ""].get(row)), reverse=query.descending)
    if query.page is not None:
        size = PAGE if maximum is None else maximum
        return found[(query.page - 1) * size : query.page * size]
    return found if maximum is None else found[:maximum]


@dataclass
class _Query:
    test: _Test
    sort: str | None = None
    descending: bool = False
    page: int | None = None


def _sort_key(value: Any) -> tuple[int, Any]:
    if value is None:
        return (0, 0)
    return (1, value)


def _choked(column: str, text: str) -> str:
    """What the engine lets through of its database's error, as it writes it: small letters, `_` a blank."""
    error = f'error: invalid input syntax for type uuid: "{text}"'
    if not column:
        return error
    table = column.partition(".")[0]
    before = f"select * from ((select  {table}.* from  {table}   where  {column} = "  # noqa: S608
    sql = f"{before}'{text}' )  order by vm_name asc )"
    error += f"\n  position: {len(before) + 1}"
    return (
        f"statementcallback; sql [{sql.replace('_', ' ')} as t1 offset (1 -1) limit 2147483647]; {error}; "
        f"nested exception is org.postgresql.util.psqlexception: {error}"
    )


class _Parser:
    def __init__(self, text: str, fields: Fields, case_sensitive: bool, now: datetime) -> None:
        self._fields = fields
        self._case_sensitive = case_sensitive
        self._now = now
        self._tokens = list(self._split(text))
        self._at = 0

    @staticmethod
    def _split(text: str) -> Iterable[tuple[str, str]]:
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise _Broken
            kind = match.lastgroup
            assert kind is not None
            yield kind, match.group(kind)
            at = match.end()

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _word(self, ahead: int = 0) -> str:
        kind, text = self._peek(ahead)
        return text.lower() if kind == "word" else ""

    def parse(self) -> _Query:
        query = _Query(
            self._either() if self._word() not in ("", "sortby", "page") or self._starts() else _all
        )
        if self._word() == "sortby":
            self._next()
            name = self._next()[1].lower()
            if name not in self._fields:
                raise _Broken
            query.sort = name
            if self._word() in ("asc", "desc"):
                query.descending = self._next()[1].lower() == "desc"
        if self._word() == "page":
            self._next()
            number = self._next()[1]
            if not number.isdigit() or int(number) < 1:
                raise _Broken
            query.page = int(number)
        if self._peek()[0] != "end":
            raise _Broken
        return query

    def _starts(self) -> bool:
        return self._peek()[0] in ("quoted", "paren")

    def _either(self) -> _Test:
        tests = [self._both()]
        while self._word() == "or":
            self._next()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _both(self) -> _Test:
        tests = [self._condition()]
        while self._word() == "and" or self._peek(1)[0] == "relation":
            if self._word() == "and":
                self._next()
            tests.append(self._condition())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _condition(self) -> _Test:
        kind, text = self._next()
        if (kind, text) == ("paren", "("):
            test = self._either()
            if self._next() != ("paren", ")"):
                raise _Broken
            return test
        if kind == "word" and self._peek()[0] == "relation":
            relation = self._next()[1]
            value_kind, value = self._next()
            if value_kind not in ("word", "quoted"):
                raise _Broken
            return self._compare(text.lower(), relation, value)
        if kind in ("word", "quoted"):
            return self._free_text(text)
        raise _Broken

    def _free_text(self, text: str) -> _Test:
        if text == "*":
            return _all
        wanted = _pattern(f"*{text}*" if "*" not in text else text, self._case_sensitive)
        tests = [_matching(field.get, wanted) for field in self._fields.values() if field.free_text]
        return lambda row: any(test(row) for test in tests)

    def _compare(self, name: str, relation: str, text: str) -> _Test:
        field = self._fields.get(name)
        if field is None:
            raise _Broken
        if field.kind in (Kind.NUMBER, Kind.TIME):
            return self._compare_ordered(field, relation, text)
        if relation not in ("=", "!="):
            raise _Broken
        if field.kind is Kind.STATUS:
            wanted = text.lower()
            if wanted not in field.values:
                raise _Broken
            get = field.get
            statuses = functools.cache(lambda status: str(status).replace("_", "").lower() == wanted)
            equal: _Test = lambda row: statuses(get(row))  # noqa: E731
        elif field.kind is Kind.BOOLEAN:
            equal = lambda row: str(field.get(row)).lower() == text.lower()  # noqa: E731
        elif field.kind is Kind.ID:
            if not is_uuid(text):
                raise Fault(400, _choked(field.column, text.lower()))
            equal = lambda row: text.lower() in _values(field.get(row))  # noqa: E731
        else:
            match = _pattern(text, self._case_sensitive or field.kind is Kind.CASED_TEXT)
            if relation == "!=" and field.unequal is not None:
                others = field.unequal
                return lambda row: any(match(str(value)) is None for value in _values(others(row)) or [""])
            equal = _matching(field.get, match)
        return equal if relation == "=" else lambda row: not equal(row)

    def _compare_ordered(self, field: Field, relation: str, text: str) -> _Test:
        wanted: Any
        if field.kind is Kind.TIME:
            wanted = self._moment(text)
        else:
            try:
                wanted = int(text)
            except ValueError:
                raise _Broken from None
        compare = _RELATIONS[relation]
        return lambda row: any(compare(value, wanted) for value in _values(field.get(row)))

    def _moment(self, text: str) -> datetime:
        today = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        named = {"today": today, "yesterday": today - timedelta(days=1)}.get(text.lower())
        if named is not None:
            return named
        for pattern in (
            "%m/%d/%Y %H:%M:%S",
            "%m/%d/%Y %H:%M",
            "%m/%d/%Y",
            "%m/%d/%y %H:%M",
            "%m/%d/%y",
            "%Y-%m-%d",
        ):
            try:
                return datetime.strptime(text, pattern).replace(tzinfo=UTC)
            except ValueError:
                continue
        raise _Broken


_RELATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}


def _all(_row: Any) -> bool:
    return True


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _matching(get: Callable[[Any], Any], match: Callable[[str], object]) -> _Test:
    # Most of what a search costs: it is done for every row that there is.
    def matching(row: Any) -> bool:
        value = get(row)
        if type(value) is str:
            return match(value) is not None
        return any(match(str(one)) is not None for one in _values(value))

    return matching


def _pattern(text: str, case_sensitive: bool) -> Callable[[str], object]:
    first, *rest = (re.escape(part) for part in text.split("*"))
    # Atomic groups: many wildcards would otherwise be tried in every combination.
    between = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    wanted = re.compile(
        first + (f"{between}.*{rest[-1]}" if rest else ""),
        re.DOTALL | (0 if case_sensitive else re.IGNORECASE),
    )
    return wanted.fullmatch
