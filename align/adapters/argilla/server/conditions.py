"""A search as Argilla describes it, in SQL over its own tables: words, filters, orders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from argilla_server.enums import FieldType, MetadataPropertyType, SortOrder
from argilla_server.search_engine import (
    AndFilter,
    Filter,
    FilterScope,
    MetadataFilterScope,
    Order,
    RangeFilter,
    RecordFilterScope,
    ResponseFilterScope,
    SuggestionFilterScope,
    TermsFilter,
)

WORDS = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
DATES = ("inserted_at", "updated_at")
NEVER = "0"


class Values(dict[str, Any]):
    """Bound parameters: no value is ever written into the SQL."""

    def take(self, value: object) -> str:
        """The placeholder of a value."""
        name = f"p{len(self)}"
        self[name] = value
        return f":{name}"

    def among(self, values: Sequence[object]) -> str:
        return f"({', '.join(map(self.take, values))})"


def alternatives(query: str) -> list[list[tuple[bool, str]]]:
    """What a record must hold, all of it: each a list of alternatives (is it wanted?, its words).

    `a b` both, `"a b"` the phrase, `-a` not that, `a|b` one of the two. There are no brackets, and no stems: words are
    found inside longer ones.
    """
    found: list[list[tuple[bool, str]]] = []
    joined = False
    for minus, phrase, word in WORDS.findall(query.replace("|", " | ")):
        if word == "|" and not minus:
            joined = bool(found)
            continue
        term = phrase or word.strip("+*")
        if not term:
            continue
        if joined:
            found[-1].append((not minus, term.casefold()))
        else:
            found.append([(not minus, term.casefold())])
        joined = False
    return found


def text(query: str, fields: Sequence[Any], values: Values) -> str:
    """Every group of alternatives found in some field; the roles of a chat are not searched, nor are images."""
    places = []
    for field in fields:
        if field.type != FieldType.image:
            path = values.take(f'$."{field.name}"')
            roles = " AND key IS NOT 'role'" if field.type == FieldType.chat else ""
            places.append(f"SELECT atom FROM json_tree(records.fields, {path}) WHERE type = 'text'{roles}")
    atoms = " UNION ALL ".join(places)
    if not atoms:
        return NEVER

    def one(wanted: bool, words: str) -> str:
        return f"{'' if wanted else 'NOT '}EXISTS (SELECT 1 FROM ({atoms}) WHERE holds(atom, {values.take(words)}))"

    return " AND ".join(f"({' OR '.join(one(*term) for term in group)})" for group in alternatives(query)) or "1"


class Conditions:
    """Filters and orders of one data set; `numeric` are its metadata properties that hold numbers."""

    def __init__(self, values: Values, numeric: frozenset[str], question_ids: dict[str, str]) -> None:
        self.values = values
        self.numeric = numeric
        self.question_ids = question_ids

    def filter(self, wanted: Filter) -> str:
        """The condition on a row of `records`."""
        if isinstance(wanted, AndFilter):
            return " AND ".join(f"({self.filter(one)})" for one in wanted.filters) or "1"
        scope = wanted.scope
        if isinstance(scope, RecordFilterScope):
            return self._of_record(wanted, str(scope.property))
        if isinstance(scope, ResponseFilterScope) and scope.question is None:
            return self._of_status(wanted)
        return f"EXISTS (SELECT 1 {self._elements(scope)} AND {self._of_element(wanted, self._is_numeric(scope))})"

    def order(self, orders: Sequence[Order]) -> list[str]:
        """The terms of ORDER BY; what has no value comes last either way."""
        terms = []
        for order in orders:
            scope, down = order.scope, order.order == SortOrder.desc
            if isinstance(scope, RecordFilterScope):
                value = f"records.{column(str(scope.property))}"
            elif isinstance(scope, ResponseFilterScope) and scope.question is None:
                value = f"(SELECT {'max' if down else 'min'}(status) {self._responses(scope)})"
            else:
                several = "avg" if isinstance(scope, ResponseFilterScope) else "max" if down else "min"
                value = (
                    f"(SELECT CASE WHEN count(*) = sum(j.type IN ('integer', 'real')) THEN {several}(j.value) "
                    f"ELSE {'max' if down else 'min'}(j.value) END {self._elements(scope)})"
                )
            terms += [f"{value} IS NULL", f"{value} {'DESC' if down else 'ASC'}"]
        return terms

    def _is_numeric(self, scope: FilterScope) -> bool:
        return isinstance(scope, MetadataFilterScope) and scope.metadata_property in self.numeric

    def _responses(self, scope: ResponseFilterScope) -> str:
        whose = f" AND responses.user_id = {self.values.take(scope.user.id.hex)}" if scope.user else ""
        return f"FROM responses WHERE responses.record_id = records.id{whose}"

    def _elements(self, scope: FilterScope) -> str:
        """FROM … WHERE that gives the values in scope, one a row `j`, whether they are kept alone or in a list."""
        if isinstance(scope, MetadataFilterScope):
            path = self.values.take(f'$."{scope.metadata_property}"')
            return f"FROM json_each(records.metadata, {path}) AS j WHERE j.type != 'null'"
        if isinstance(scope, SuggestionFilterScope):
            name = scope.property if scope.property in ("score", "agent", "type") else "value"
            kept = f"s.{name}" if name in ("value", "score") else f"json_quote(s.{name})"
            question = self.values.take(self.question_ids.get(scope.question, ""))
            return (f"FROM suggestions AS s, json_each({kept}) AS j WHERE s.record_id = records.id "
                    f"AND s.question_id = {question} AND j.type != 'null'")  # fmt: skip
        whose = f" AND r.user_id = {self.values.take(scope.user.id.hex)}" if scope.user else ""
        path = self.values.take(f'$."{scope.question}".value')
        return (f"FROM responses AS r, json_each(r.\"values\", {path}) AS j WHERE r.record_id = records.id{whose} "
                f"AND j.type != 'null'")  # fmt: skip

    def _of_element(self, wanted: Filter, numeric: bool) -> str:
        if isinstance(wanted, TermsFilter):
            numbers = [number for number in map(as_number, wanted.values) if number is not None]
            by_number = f"j.type IN ('integer', 'real') AND j.value IN {self.values.among(numbers)}"
            by_text = f"j.type = 'text' AND j.value IN {self.values.among(wanted.values)}"
            return f"({by_number})" if numeric else f"({by_number} OR {by_text})"
        return f"j.type IN ('integer', 'real') AND {self._between(wanted, 'j.value', as_number)}"

    def _of_record(self, wanted: Filter, name: str) -> str:
        known: Any = {"id": as_id, **dict.fromkeys(DATES, as_date)}.get(name, str)
        if isinstance(wanted, TermsFilter):
            kept = [value for value in map(known, wanted.values) if value is not None]
            return f"records.{column(name)} IN {self.values.among(kept)}"
        return self._between(wanted, f"records.{column(name)}", known)

    def _between(self, wanted: RangeFilter, value: str, known: Any) -> str:
        parts = []
        for bound, sign in ((wanted.ge, ">="), (wanted.le, "<=")):
            if bound is not None:
                limit = known(bound)
                parts.append(NEVER if limit is None else f"{value} {sign} {self.values.take(limit)}")
        return " AND ".join(parts) or "1"

    def _of_status(self, wanted: Filter) -> str:
        """`pending` is: no answer of that user's, or, where no user is meant, no answer at all."""
        if not isinstance(wanted, TermsFilter):
            return NEVER
        said = self._responses(wanted.scope)
        kept = [str(value) for value in wanted.values if value != "pending"]
        parts = [f"EXISTS (SELECT 1 {said} AND status IN {self.values.among(kept)})"] if kept else []
        if len(kept) < len(wanted.values):
            parts.append(f"NOT EXISTS (SELECT 1 {said})")
        return " OR ".join(parts)


def numeric_names(properties: Sequence[Any]) -> frozenset[str]:
    kinds = (MetadataPropertyType.integer, MetadataPropertyType.float)
    return frozenset(one.name for one in properties if one.type in kinds)


def column(name: str) -> str:
    """A column of `records` that may be searched; ValueError for any other."""
    if name not in ("id", "external_id", "status", *DATES):
        raise ValueError(f"records cannot be searched by {name!r}")
    return name


def as_number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def as_id(value: object) -> str | None:
    try:
        return UUID(str(value)).hex
    except ValueError:
        return None


def as_date(value: object) -> str | None:
    """As SQLAlchemy keeps it: UTC without a zone. Numbers are milliseconds since 1970."""
    number = as_number(value)
    try:
        date = datetime.fromtimestamp(number / 1000, UTC) if number is not None else datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    if date.tzinfo is not None:
        date = date.astimezone(UTC).replace(tzinfo=None)
    return date.strftime("%Y-%m-%d %H:%M:%S.%f")
