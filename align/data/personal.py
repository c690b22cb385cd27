"""What of a text names or reaches a person, or opens a door: found by form and checksum, never shown whole.

Only what can be told by its form is looked for. Names of people are not: a tagger that finds them calls three other
words in four a name too, so it may advise a reader and must not edit data.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from align.records import Message

SHOWN = 5
"""Places that are told of each kind."""


@dataclass(frozen=True)
class Found:
    """One find, by its kind and place in the text."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """Every find, in the order of the text; of two that overlap, the one that begins first, or is longer."""
    if not _MAYBE.search(text):
        return []
    found = [
        Found(kind, match.start(), match.end())
        for kind, pattern, holds in KINDS
        for match in pattern.finditer(text)
        if holds(match.group())
    ]
    kept: list[Found] = []
    for one in sorted(found, key=lambda f: (f.start, -f.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def masked(text: str) -> str:
    """The first and last character and how long it was: enough to know a find again, too little to use it."""
    return f"{text[0]}…{text[-1]} ({len(text)} characters)"


def redacted(text: str) -> str:
    """The text with `[kind]` in the place of every find."""
    pieces, last = [], 0
    for one in find(text):
        pieces += [text[last : one.start], f"[{one.kind}]"]
        last = one.end
    return "".join(pieces) + text[last:] if pieces else text


def without(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation whose finds are redacted, turn by turn."""
    return tuple(
        one if not find(one.content) else one.model_copy(update={"content": redacted(one.content)}) for one in messages
    )


class Census:
    """What was found in many rows, told without what it was."""

    def __init__(self) -> None:
        self._finds: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, texts: Iterable[str], place: str) -> bool:
        """Whether anything was found in a row that stands at `place`."""
        kinds = set()
        for text in texts:
            for one in find(text):
                kinds.add(one.kind)
                self._finds[one.kind] += 1
                places = self._places.setdefault(one.kind, [])
                if len(places) < SHOWN:
                    places.append(f"{place}: {masked(text[one.start : one.end])}")
        self._rows.update(kinds)
        return bool(kinds)

    def told(self) -> dict[str, dict[str, Any]]:
        """By kind: how many finds in how many rows, and where some of them are."""
        return {
            kind: {"finds": n, "rows": self._rows[kind], "some_places": self._places[kind]}
            for kind, n in sorted(self._finds.items())
        }


def _any(_: str) -> bool:
    return True


def luhn(digits: str) -> bool:
    """The checksum of payment cards (ISO/IEC 7812-1, annex B)."""
    values = [int(d) for d in reversed(re.sub(r"\D", "", digits))]
    total = sum(v if i % 2 == 0 else v * 2 - 9 * (v > 4) for i, v in enumerate(values))
    return 13 <= len(values) <= 19 and len(set(values)) > 1 and total % 10 == 0


def iban(text: str) -> bool:
    """The checksum of bank accounts (ISO 13616: 97 leaves 1)."""
    plain = re.sub(r"[ -]", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _address(text: str) -> bool:
    """An address of one machine; the ones of documentation, of no machine and of one's own network reach nobody."""
    if ":" in text and sum(map(bool, text.split(":"))) < 3:  # what slices of lists look like
        return False
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


_MAYBE = re.compile(r"@|\d[\d ().:/-]{6}|::|(?:hf|gh[pousr])_|sk-|AKIA")
KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("key", re.compile(
        r"(?<![\w-])(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,})(?!\w)"
    ), _any),
    ("e-mail", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w-])"), _any),
    ("bank account", re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b"), iban),
    ("payment card", re.compile(
        r"(?<![\w.,-])(?:(?=3[47])\d{4}([ -]?)\d{6}\1\d{5}|(?=2[2-7]|3[05689]|4|5[0-8]|6)"
        r"(?:\d{4}([ -]?)\d{4}\2\d{4}\2\d{4}(?:\2\d{3})?|\d{13,19}))(?![\w-]|[.,]\d)"), luhn),
    ("address of a machine", re.compile(r"(?<![\w.:-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)"), _address),
    ("address of a machine", re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"), _address),
    # a number that begins with a plus or a bracketed code, or in groups as people write it after a word for it
    ("telephone", re.compile(r"(?<![\w+.-])\+\d{1,3}[ .-]?(?:\(?\d{1,5}\)?[ .-]?){1,5}\d{2,}(?![\w-])"), _phone),
    ("telephone", re.compile(r"(?<![\w+.)-])\(\d{2,5}\) ?\d{3,4}[ .-]?\d{3,5}(?![\w-])"), _phone),
    ("telephone", re.compile(
        r"(?:(?<=tel)|(?<=tel\.)|(?<=phone)|(?<=call)|(?<=mobile)|(?<=fax)|(?<=number))(?: is|:)? *"
        r"\d(?:[ ./-]?\d){6,13}(?![\w-])", re.IGNORECASE), _phone),
    ("telephone", re.compile(r"(?<![\w+.)/-])\d{3}-\d{3}-\d{4}(?![\w-])"), _phone),
)  # fmt: skip


def texts_of(conversations: Iterable[Sequence[Message]]) -> Iterator[str]:
    """The content of every message."""
    for messages in conversations:
        for message in messages:
            yield message.content
