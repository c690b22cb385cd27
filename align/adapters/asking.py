"""Many prompts put to endpoints: so many under way, the spoiled asked again, the refused told apart."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from align.adapters.courier import REFUSED, SAID, SPOILED, Courier, Letter
from align.adapters.turns import room
from align.adapters.wire import Spoiled, Wire
from align.errors import BackendError
from align.ports import Sample, SampleRequest, Unanswered

Said = list[Sample] | Unanswered
IN_A_ROW = 20
"""So many prompts refused one after the other, and none answered, are the endpoint's fault and not theirs."""
REFILL = 8
"""Prompts sent together, once as many have been taken away."""


@dataclass
class Prompt:
    """A prompt under way: how many samples it wants, of how many tokens at most, and what it has."""

    request: SampleRequest
    ids: list[int]
    n: int
    most: int
    drawn: list[Sample] = field(default_factory=list)
    asked: int = 0
    """How often it was answered, with too few samples."""
    spoiled: int = 0
    """How often in a row its answer could not be used."""


class Asking:
    """The prompts of one call."""

    def __init__(self, courier: Courier, wire: Wire, *, context: int, at_once: int, attempts: int) -> None:
        self.courier, self.wire, self.context = courier, wire, context
        self.at_once, self.attempts = at_once, attempts
        self.under_way: dict[int, Prompt] = {}
        self._number = 0
        self.n_spoiled = 0
        self._unanswered_in_a_row = 0
        self._told: list[tuple[str, Unanswered]] = []
        """Prompts that need not be asked."""

    def answers(self, requests: Iterable[SampleRequest]) -> Iterator[tuple[str, Said]]:
        """Each prompt's id and what came of it; one that was not yet taken away counts as under way."""
        turns = self.wire.turns
        queue = turns.each(requests) if turns is not None else ((request, []) for request in requests)
        while True:
            self._send(queue)
            yield from self._taken()
            if not self.under_way:
                return
            for n_read, letter in enumerate(self.courier.letters(), 1):
                made = self._read(letter)
                if made is not None:
                    yield made
                if n_read % REFILL == 0:
                    self._send(queue)
                    yield from self._taken()

    def _taken(self) -> Iterator[tuple[str, Said]]:
        told, self._told = self._told, []
        yield from told

    def _send(self, queue: Iterator[tuple[SampleRequest, list[int]]]) -> None:
        """As many more as there is room for."""
        rows = []
        for request, ids in islice(queue, self.at_once - len(self.under_way)):
            most = self.wire.settings.max_tokens
            if self.wire.turns is not None:
                places = room(len(ids), self.context, self.wire.settings)
                if isinstance(places, Unanswered):
                    self._told.append((request.prompt_id, places))
                    continue
                most = places
            n = 1 if self.wire.settings.temperature == 0 else len(request.seeds)
            self._number += 1
            self.under_way[self._number] = prompt = Prompt(request, ids, n, most)
            rows.append((self._number, self.wire.path, self._body(prompt), 0.0))
        if rows:
            self.courier.post(rows)

    def _body(self, prompt: Prompt) -> bytes:
        first = len(prompt.drawn)
        return self.wire.body(prompt.request, prompt.ids, n=prompt.n - first, most=prompt.most, first=first)

    def _read(self, letter: Letter) -> tuple[str, Said] | None:
        """What came of a prompt; None where it is asked again."""
        prompt = self.under_way[letter.number]
        try:
            said = self._said(letter, prompt)
        except Spoiled as error:
            prompt.spoiled += 1
            self.n_spoiled += 1
            if prompt.spoiled < self.attempts:
                after_s = min(5.0, 0.05 * 2**prompt.spoiled) * random.uniform(0.5, 1.5)
                self.courier.post([(letter.number, self.wire.path, self._body(prompt), after_s)])
                return None
            if not prompt.drawn and self._in_a_row() >= IN_A_ROW:
                raise BackendError(f"{IN_A_ROW} prompts in a row got no answer that can be used: {error}") from None
            said = Unanswered("too_few", str(error), tuple(prompt.drawn))
        if said is None:
            self.courier.post([(letter.number, self.wire.path, self._body(prompt), 0.0)])
            return None
        del self.under_way[letter.number]
        return prompt.request.prompt_id, said

    def _said(self, letter: Letter, prompt: Prompt) -> Said | None:
        if letter.fate == SPOILED:
            raise Spoiled(letter.body.decode())
        if letter.fate == REFUSED:
            return self._refusal(letter.status, letter.body.decode())
        assert letter.fate == SAID
        prompt.drawn += self.wire.read(letter.body, prompt.ids)
        prompt.asked, prompt.spoiled = prompt.asked + 1, 0
        if len(prompt.drawn) >= prompt.n:
            self._unanswered_in_a_row = 0
            # greedy samples are equal: one is drawn
            return prompt.drawn[: prompt.n] * (len(prompt.request.seeds) // prompt.n)
        if prompt.asked < self.attempts:
            return None
        return Unanswered("too_few", f"{len(prompt.drawn)} of {prompt.n} choices came", tuple(prompt.drawn))

    def _refusal(self, status: int, message: str) -> Unanswered:
        """Too long a prompt is that prompt's; what concerns every prompt ends the run."""
        if status in (401, 403):
            raise BackendError(f"the endpoint refuses the key (HTTP {status}: {message}); see generate.server.key")
        if status == 404:
            raise BackendError(f"the endpoint knows no `{self.wire.name}` (HTTP 404: {message})")
        said = message.lower()
        if "context" in said or "max_model_len" in said or "too long" in said:
            return Unanswered("too_long", message)
        if self._in_a_row() >= IN_A_ROW:
            raise BackendError(f"{IN_A_ROW} prompts in a row were refused: HTTP {status}: {message}")
        return Unanswered("refused", f"HTTP {status}: {message}")

    def _in_a_row(self) -> int:
        self._unanswered_in_a_row += 1
        return self._unanswered_in_a_row
