"""Which side of the split a prompt stands on: decided by its hash, so that no prompt ever stands on two sides."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

from align.errors import RecordError
from align.records import Message, canonical

Side = Literal["train", "test"]


def prompt_key(messages: Sequence[Message]) -> str:
    """The same for prompts that differ only in spacing, letter case or Unicode composition."""
    return canonical([[message.role, folded(message.content)] for message in messages])


def opening_key(messages: Sequence[Message]) -> str:
    """The same for all conversations that begin with the same message of a user's."""
    return canonical([folded(opening(messages).content)])


def opening(messages: Sequence[Message]) -> Message:
    """The first message of a user's."""
    return next((message for message in messages if message.role == "user"), messages[0])


def side(key: str, *, test_share: float, salt: str) -> Side:
    """Test for a share `test_share` of all keys. Two splits made one after the other need two salts."""
    digest = hashlib.sha256(canonical([salt, key]).encode("utf-8")).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_share * 2**64 else "train"


class Sides:
    """Who stands where: what files fix comes first; the rest goes by hash, and follows the fixed where they meet."""

    def __init__(self, *, test_share: float, by: Literal["opening", "prompt"]) -> None:
        self._share = test_share
        self._by = by
        self._fixed: dict[str, tuple[Side, str]] = {}
        self._openings: dict[str, Side] = {}

    def fix(self, messages: Sequence[Message], which: Side, place: str) -> None:
        """Put a prompt on a side; RecordError where it stands on the other already."""
        key = prompt_key(messages)
        before, where = self._fixed.setdefault(_short(key), (which, place))
        if before != which:
            raise RecordError(
                f"{place}: this prompt is for {which}, but the same prompt at {where} is for {before}; "
                "leave one of them out, or give both files `role: split`"
            )
        begins = _short(opening_key(messages))
        if which == "test" or begins not in self._openings:
            self._openings[begins] = which

    def of(self, messages: Sequence[Message]) -> Side:
        """The side on which a prompt belongs; split by opening, one that opens like a test prompt is for test."""
        if self._by == "opening":
            begins = opening_key(messages)
            return self._openings.get(_short(begins)) or side(begins, test_share=self._share, salt="prepare")
        key = prompt_key(messages)
        fixed = self._fixed.get(_short(key))
        return fixed[0] if fixed is not None else side(key, test_share=self._share, salt="prepare")


def n_words(messages: Iterable[Message]) -> int:
    """Words of all messages together, as spaces part them."""
    return sum(len(message.content.split()) for message in messages)


def folded(text: str) -> str:
    """The text with spacing, letter case and Unicode composition made alike."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _short(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8")).hexdigest()[:32]
