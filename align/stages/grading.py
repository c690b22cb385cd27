"""A served grader asked once for each thing: its replies stand in a journal that outlives a kill."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from align.configs import JudgeConfig
from align.errors import BackendError
from align.evals import rated
from align.ports import Tools
from align.records import Message, Prompt, canonical
from align.store import jsonl


def replies(
    judge: JudgeConfig,
    chats: Sequence[Sequence[Message] | str],
    tools: Tools,
    *,
    journal: str = "grader.jsonl",
    heard: dict[str, str | None] | None = None,
) -> list[str | None]:
    """Each chat's reply, in the order asked; None for one that the endpoint refused or that was cut off.

    `heard` is filled, and spares who asks often to read the journal each time.
    """
    heard = {} if heard is None else heard
    keys = [hashlib.sha256(canonical([judge.model, _plain(chat)]).encode()).hexdigest() for chat in chats]
    with jsonl.Journal(tools.work / journal) as book, tools.progress("grade", len(chats)) as progress:
        if not heard:
            heard.update((str(row["chat"]), row["reply"]) for row in book.done())
        left = {key: chat for key, chat in zip(keys, chats, strict=True) if key not in heard}
        progress.advance(len(chats) - len(left))
        for key, reply in zip(left, tools.grader(judge).replies(list(left.values())), strict=True):
            heard[key] = reply
            book.append({"chat": key, "reply": reply})
            progress.advance()
    return [heard[key] for key in keys]


def _plain(chat: Sequence[Message] | str) -> object:
    return chat if isinstance(chat, str) else [message.model_dump(mode="json") for message in chat]


class Rater:
    """A judge's word on answers, 1 to 10, as a reward.

    What cannot be read is not a low score: such an answer gets the mean of the other answers to its prompt, so that it
    teaches nothing. BackendError where fewer than `judge.min_readable` of the replies can be read.
    """

    def __init__(self, judge: JudgeConfig, tools: Tools) -> None:
        self.judge, self.tools = judge, tools
        self._heard: dict[str, str | None] = {}
        self.rubric = Path(judge.rubric).read_text(encoding="utf-8") if judge.rubric else rated.RUBRIC

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        asked = [rated.question(p, a, self.rubric) for p, a in zip(prompts, answers, strict=True)]
        found = [
            rated.read(reply)
            for reply in replies(self.judge, asked, self.tools, journal="rated.jsonl", heard=self._heard)
        ]
        told = [score for score in found if score is not None]
        if len(told) < max(1, self.judge.min_readable * len(found)):
            raise BackendError(
                f"judge {self.judge.model}: only {len(told)} of {len(found)} ratings can be read, expected "
                f"{self.judge.min_readable:.0%} (a last line of `SCORE: 1` to `SCORE: 10`); take another judge"
            )
        of_prompt: dict[str, list[float]] = {}
        for prompt, score in zip(prompts, found, strict=True):
            of_prompt.setdefault(prompt.id, []).extend([] if score is None else [score])
        means = {name: sum(some) / len(some) for name, some in of_prompt.items() if some}
        overall = sum(told) / len(told)
        return [
            means.get(prompt.id, overall) if score is None else score
            for prompt, score in zip(prompts, found, strict=True)
        ]
