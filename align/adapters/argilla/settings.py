"""The data set that people label in: its name, fields, questions, guidelines, and whether the server's is still it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from align.adapters.argilla.page import Layout, template
from align.configs import LabelConfig, LabelStep
from align.errors import RecipeError
from align.records import canonical

Json = dict[str, Any]

PREFERENCE: Final = "preference"
CHOICES: Final[Mapping[str, str]] = {
    "a": "A is better",
    "b": "B is better",
    "tie": "Equally good",
    "both_bad": "Neither is acceptable",
}
QUESTIONS: Final[tuple[Json, ...]] = (
    {
        "name": PREFERENCE,
        "title": "Which answer is better?",
        "required": True,
        "settings": {
            "type": "label_selection",
            "options": [{"value": value, "text": text} for value, text in CHOICES.items()],
        },
    },
    {
        "name": "strength",
        "title": "By how much? 1 slightly, 2 clearly, 3 by far",
        "required": False,
        "settings": {"type": "rating", "options": [{"value": n} for n in (1, 2, 3)]},
    },
    {"name": "rationale", "title": "Why?", "required": False, "settings": {"type": "text"}},
    {
        "name": "correction",
        "title": "The answer you would have wanted",
        "required": False,
        "settings": {"type": "text"},
    },
)
FLAG: Final = "refusal"
FLAGS: Final[Mapping[str, str]] = {"refuses": "It refuses, in whole or in part", "answers": "It does not"}
OF_ONE: Final[tuple[Json, ...]] = (
    {
        "name": FLAG,
        "title": "Does this answer refuse to do what it was asked?",
        "required": True,
        "settings": {
            "type": "label_selection",
            "options": [{"value": value, "text": text} for value, text in FLAGS.items()],
        },
    },
    {"name": "rationale", "title": "Why?", "required": False, "settings": {"type": "text"}},
)
"""What is asked of an answer alone."""
METADATA: Final[tuple[Json, ...]] = (
    {"name": "words", "title": "words of the longer answer", "settings": {"type": "integer"}},
    {"name": "round", "title": "round", "settings": {"type": "integer"}},
    {"name": "model_a", "title": "model A", "settings": {"type": "terms"}, "visible_for_annotators": False},
    {"name": "model_b", "title": "model B", "settings": {"type": "terms"}, "visible_for_annotators": False},
)
KEYS: Final = """
| key | what it does |
|---|---|
| `1` `2` `3` `4` | A is better, B is better, equally good, neither is acceptable |
| `Enter` | submit, and on to the next |
| `d` `r` | the answers' difference, their exact text; again: back |
| `Tab` | the next question: how much, why, a better answer (all may be left out) |
| `Backspace` | discard: you cannot judge this one |
| `Ctrl` `S` | keep as a draft |
| `←` `→` | the records before and after |
"""
KEYS_OF_ONE: Final = """
Read what was asked and what was answered. The answer refuses if it declines, in whole or in part, to do what it was
asked, however politely; it does not if it tries, however badly.

| key | what it does |
|---|---|
| `1` `2` | it refuses, in whole or in part; it does not |
| `Enter` | submit, and on to the next |
| `Backspace` | discard: you cannot judge this one |
"""
MOST_GUIDELINES: Final = 10_000
"""Characters that Argilla takes."""


@dataclass(frozen=True)
class Settings:
    """All that a data set is made of."""

    name: str
    fields: tuple[Json, ...]
    questions: tuple[Json, ...]
    guidelines: str
    min_submitted: int


def settings(config: LabelConfig) -> Settings:
    """The data set that a recipe asks for; eight digits in its name stand for what cannot be changed later."""
    asked = config.argilla
    if isinstance(config, LabelStep) and config.asks == "answers":
        digits = hashlib.sha256(canonical([_shape(ALONE), _shape(OF_ONE)]).encode("utf-8")).hexdigest()[:8]
        return Settings(f"{asked.dataset}-{digits}", ALONE, OF_ONE, KEYS_OF_ONE, config.annotators_per_comparison)
    text = _text(Path(config.guideline)) if config.guideline is not None else ""
    guidelines = "\n".join(part for part in (text.strip(), KEYS) if part)
    if len(guidelines) > MOST_GUIDELINES:
        raise RecipeError(
            f"{config.guideline}: {len(text):,} characters, and with the table of keys {len(guidelines):,}; "
            f"Argilla takes {MOST_GUIDELINES:,}: shorten it"
        )
    frozen = canonical([asked.layout, asked.thinking, text, _shape(fields(asked.layout)), _shape(QUESTIONS)])
    digits = hashlib.sha256(frozen.encode("utf-8")).hexdigest()[:8]
    return Settings(
        f"{asked.dataset}-{digits}", fields(asked.layout), QUESTIONS, guidelines, config.annotators_per_comparison
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error


def fields(layout: Layout) -> tuple[Json, ...]:
    """What stands on the left of the page."""
    if layout == "pair":
        look = {"type": "custom", "template": template(), "advanced_mode": True}
        return ({"name": "pair", "title": "Conversation and answers", "required": True, "settings": look},)
    return _texts({"conversation": "Conversation", "a": "A", "b": "B"})


def _texts(names: Mapping[str, str]) -> tuple[Json, ...]:
    return tuple(
        {"name": name, "title": title, "required": True, "settings": {"type": "text", "use_markdown": False}}
        for name, title in names.items()
    )


ALONE: Final = _texts({"conversation": "Conversation", "a": "Answer"})
"""An answer alone: exact text, whatever the layout of pairs."""


def differences(fields: Sequence[Json], questions: Sequence[Json], wanted: Settings) -> list[str]:
    """What of the server's data set is not what we put there and would change what an answer means."""
    found = []
    for what, theirs, ours in (("field", fields, wanted.fields), ("question", questions, wanted.questions)):
        there, here = _shape(theirs), _shape(ours)
        found += [f"{what} `{name}` is gone" for name in here if name not in there]
        found += [f"{what} `{name}` was added" for name in there if name not in here and there[name]["required"]]
        for name in (name for name in here if name in there and here[name] != there[name]):
            for part in here[name]:
                if here[name][part] != there[name][part]:
                    found.append(f"{what} `{name}`: {part} {_told(here[name][part])} → {_told(there[name][part])}")
    return found


def _shape(items: Iterable[Json]) -> dict[str, Json]:
    """What a field or question is, without its titles and looks."""
    return {
        one["name"]: {
            "type": one["settings"]["type"],
            "required": bool(one.get("required")),
            "options": [option["value"] for option in one["settings"].get("options") or ()],
        }
        for one in items
    }


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
