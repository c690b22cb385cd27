"""IFEval's 25 kinds of instruction, each a check of a text alone. Written from their descriptions, not from their code.

`follows(kind, arguments, answer)` says whether an answer does what one instruction asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]
_ENDS = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[*#-]*[A-Z0-9])")
_SHORT = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|jr|sr|inc|ltd|co|no|fig|[A-Z])\.\s", re.IGNORECASE)


def follows(kind: str, arguments: Arguments, answer: str) -> bool:
    """Whether `answer` does what the instruction asks; an empty answer never does. KeyError for an unknown kind."""
    check = CHECKS[kind]
    return bool(answer.strip()) and check(answer, arguments)


def _compares(n: int, arguments: Arguments, most: str, relation: str = "relation") -> bool:
    wanted = int(arguments[most])
    return n < wanted if arguments[relation] == "less than" else n >= wanted


def _keywords(text: str, a: Arguments) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in a["keywords"])


def _forbidden(text: str, a: Arguments) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in a["forbidden_words"])


def _frequency(text: str, a: Arguments) -> bool:
    return _compares(len(re.findall(a["keyword"], text, re.IGNORECASE)), a, "frequency")


def _letters(text: str, a: Arguments) -> bool:
    return _compares(text.lower().count(a["letter"].lower()), a, "let_frequency", "let_relation")


def language(text: str) -> str | None:
    """ISO 639-1 code of a text; None where it has no letters to tell. ModuleNotFoundError without `langdetect`."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return str(langdetect.detect(text))
    except langdetect.LangDetectException:
        return None


def _language(text: str, a: Arguments) -> bool:
    return language(text) in (a["language"], None)


def sentences(text: str) -> list[str]:
    """A text cut after its full stops, without a model: what follows must look like a beginning."""
    protected = _SHORT.sub(lambda found: found.group().replace(". ", ".\0"), text)
    return [part for line in protected.split("\n\n") for part in _ENDS.split(line) if re.search(r"\w", part)]


def _sentences(text: str, a: Arguments) -> bool:
    return _compares(len(sentences(text)), a, "num_sentences")


def _words(text: str, a: Arguments) -> bool:
    return _compares(len(re.findall(r"\w+", text)), a, "num_words")


def _paragraphs(text: str, a: Arguments) -> bool:
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner = parts[1:-1]
    return all(inner) and len(inner) + bool(parts[0]) + (len(parts) > 1 and bool(parts[-1])) == int(a["num_paragraphs"])


def _first_word(text: str, a: Arguments) -> bool:
    parts = [part.strip() for part in text.split("\n\n")]
    nth = int(a["nth_paragraph"])
    if nth > len(parts) or not parts[nth - 1] or sum(map(bool, parts)) != a["num_paragraphs"]:
        return False
    word = re.match(r"[^\s.,?!'\"]*", parts[nth - 1].split()[0].lstrip("'\""))
    return word is not None and word.group().lower() == str(a["first_word"]).lower()


def _placeholders(text: str, a: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= int(a["num_placeholders"])


def _postscript(text: str, a: Arguments) -> bool:
    marker = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}.get(a["postscript_marker"])
    return re.search(marker or re.escape(a["postscript_marker"].lower()), text.lower()) is not None


def _bullets(text: str, a: Arguments) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*\n]|-)", text, re.MULTILINE)) == int(a["num_bullets"])


def _constrained(text: str, _: Arguments) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def _highlights(text: str, a: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("*").strip()]
    return len(single) + len(double) >= int(a["num_highlights"])


def _sections(text: str, a: Arguments) -> bool:
    return len(re.split(rf"\s?{a['section_spliter'].strip()}\s?\d+\s?", text)) - 1 >= int(a["num_sections"])


def _json(text: str, _: Arguments) -> bool:
    inner = re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip()
    try:
        json.loads(inner)
    except ValueError:
        return False
    return True


def _title(text: str, _: Arguments) -> bool:
    return any(part.strip("<>").strip() for part in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, _: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def _repeats(text: str, a: Arguments) -> bool:
    return text.strip().lower().startswith(str(a["prompt_to_repeat"]).strip().lower())


def _ends(text: str, a: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(a["end_phrase"]).strip().lower())


def _capital_words(text: str, a: Arguments) -> bool:
    words = re.findall(r"[^\W_]+(?:[-.&][^\W_]+)*", text)
    return _compares(sum(word.isupper() for word in words), a, "capital_frequency", "capital_relation")


def _english(text: str) -> bool:
    return language(text) in ("en", None)


CHECKS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": lambda text, _: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"',
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, _: text.isupper() and _english(text),
    "change_case:english_lowercase": lambda text, _: text.islower() and _english(text),
    "punctuation:no_comma": lambda text, _: "," not in text,
}
"""By the name the data give it."""


def loosened(answer: str) -> list[str]:
    """The eight texts of the loose score: without first line, last line or both, each with and without asterisks."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return cut + [text.replace("*", "") for text in cut]
