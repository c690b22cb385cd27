"""The desk at which a model sits: every comparison asked, in both seats, each reply kept as it comes."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.adapters.judge import wording
from align.adapters.judge.endpoint import Endpoint, Reply, Stopped, Unwilling, is_local
from align.adapters.judge.wording import Read
from align.configs import JudgeConfig
from align.errors import AlignError, BackendError, RecordError
from align.ports import Told
from align.preference.annotators import wilson
from align.records import Candidate, Comparison, Judgment, Ordering, Prompt, canonical
from align.store import jsonl


@dataclass(frozen=True)
class Question:
    """One thing asked: a comparison in one seat, or a control."""

    comparison: Comparison
    body: Mapping[str, Any]
    null_seat: str | None = None
    """Where the answer that says nothing stands, in a control."""

    @property
    def key(self) -> str:
        return hashlib.sha256(canonical(dict(self.body)).encode("utf-8", "surrogatepass")).hexdigest()


class JudgeDesk:
    """A judge's verdicts on what is published, as records of kind `judge`.

    Both orders of a pair are comparisons of their own, which the stage publishes; here each is asked once. Replies are
    journalled in `work` by what was asked, so a run that was stopped asks only for what it has not heard.
    """

    def __init__(
        self,
        config: JudgeConfig,
        *,
        guideline: str | None,
        seed: int,
        work: Path,
        offline: bool = False,
        note: Callable[[str], None] = lambda _: None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.config, self.seed, self.work = config, seed, work
        self.rubric = Path(config.rubric).read_text(encoding="utf-8") if config.rubric else guideline or wording.RUBRIC
        self._note, self._advance, self._offline = note, advance, offline
        self._questions: list[Question] = []
        self._told = Told()

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        """Put the questions; nothing is sent before `pull`."""
        asked = []
        for one in comparisons:
            a, b = (candidates[name].text for name in one.candidate_ids)
            asked.append(self._question(prompts[one.prompt_id], one, a, b))
        chosen = sorted(comparisons, key=lambda one: hashlib.sha256(f"null {one.id}".encode()).digest())
        controls = []
        for one in chosen[: self.config.null_controls]:
            real = candidates[one.candidate_ids[0]].text
            for seat, pair in (("A", (wording.NULL_ANSWER, real)), ("B", (real, wording.NULL_ANSWER))):
                controls.append(self._question(prompts[one.prompt_id], one, *pair, null_seat=seat))
        # first, for a judge that falls for them need not be asked the rest
        self._questions = controls + asked

    def pull(self) -> list[Judgment]:
        """Every verdict that can be read. BackendError where the endpoint fails, RecordError where it judges badly."""
        config = self.config
        endpoint = Endpoint(
            config.urls, model=config.model, key=config.key, timeout_s=config.timeout_s, attempts=config.attempts,
            until=time.monotonic() + config.deadline_s,
        )  # fmt: skip
        with closing(endpoint), jsonl.Journal(self.work / "judge.jsonl") as journal:
            far = [url for url in endpoint.urls if not is_local(url)]
            if far and self._offline:
                raise BackendError("judge: runtime.offline forbids the network; serve the judge on this machine")
            if any(url.startswith("http://") for url in far):
                self._note("the judge was asked over plain http: others on the way could read and change what was said")
            heard = {str(row["key"]): Reply(row["reply"], row["finished"]) for row in journal.done()}
            controls = [one for one in self._questions if one.null_seat]
            refused: dict[str, str] = {}
            if any(one.key not in heard for one in self._questions):
                endpoint.check()
            self._ask(controls, endpoint, heard, refused, journal)
            null = self._null(controls, heard, refused)
            asked = [one for one in self._questions if not one.null_seat]
            self._ask(asked, endpoint, heard, refused, journal)
        return self._judgments(asked, heard, refused, null)

    def where(self) -> str:
        return f"the judge {self.config.model} needs no waiting for: run again"

    def told(self) -> Told:
        return self._told

    def _question(self, prompt: Prompt, one: Comparison, a: str, b: str, null_seat: str | None = None) -> Question:
        nonce = wording.nonce(self.seed, one.id, null_seat or "")
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": wording.question(prompt.messages, a, b, rubric=self.rubric, nonce=nonce),
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }
        if self.config.chat_template_kwargs:
            body["chat_template_kwargs"] = dict(self.config.chat_template_kwargs)
        return Question(one, body, null_seat)

    def _ask(
        self,
        questions: Sequence[Question],
        endpoint: Endpoint,
        heard: dict[str, Reply],
        refused: dict[str, str],
        journal: jsonl.Journal,
    ) -> None:
        """Fill `heard` and `refused`; the first failure stops the rest, and what was in flight is still kept."""
        left = iter([(turn, one) for turn, one in enumerate(questions) if one.key not in heard])
        failure: AlignError | None = None
        pool = ThreadPoolExecutor(self.config.concurrency)
        flying: dict[Future[Reply], Question] = {}
        try:
            while True:
                for turn, one in _some(left, self.config.concurrency * 2 - len(flying)) if failure is None else ():
                    flying[pool.submit(endpoint.ask, one.body, turn=turn)] = one
                if not flying:
                    break
                for done in wait(flying, return_when=FIRST_COMPLETED).done:
                    one = flying.pop(done)
                    try:
                        reply = done.result()
                        journal.append({"key": one.key, "reply": reply.text, "finished": reply.finished})
                        heard[one.key] = reply
                        self._advance(1)
                    except Unwilling as error:
                        refused[one.key] = str(error)
                    except Stopped:
                        pass
                    except AlignError as error:
                        failure = failure or error
                        endpoint.stop.set()
        finally:
            endpoint.stop.set() if failure else None
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            n = sum(one.key in heard for one in questions)
            raise BackendError(f"{failure}; {n} of {len(questions)} replies are kept: run again to go on from there")

    def _null(
        self, controls: Sequence[Question], heard: Mapping[str, Reply], refused: Mapping[str, str]
    ) -> dict[str, Any]:
        """How the answer that says nothing fared; RecordError where it won too often."""
        wins = ties = n = 0
        for one in controls:
            read = _read(one, heard, refused)
            if read.choice is not None:
                n += 1
                wins += read.choice == one.null_seat
                ties += read.choice == "TIE"
        if not n:
            raise RecordError(
                f"judge {self.config.model}: none of {len(controls)} verdicts on answers that say nothing could be "
                f"read ({_reasons(controls, heard, refused)}); it does not do what it is asked: take another judge"
            )
        share = (wins + ties / 2) / n
        if share > self.config.max_null_share:
            raise RecordError(
                f"judge {self.config.model}: an answer that says nothing but asks to be preferred won {share:.0%} of "
                f"{n} comparisons (at most {self.config.max_null_share:.0%} may be): it judges by what answers claim; "
                "take another judge, or raise judge.max_null_share"
            )
        low_high = wilson(wins, n)
        return {"n": n, "n_unreadable": len(controls) - n, "wins": wins, "ties": ties, "share": share,
                "low": low_high.low, "high": low_high.high}  # fmt: skip

    def _judgments(
        self,
        asked: Sequence[Question],
        heard: Mapping[str, Reply],
        refused: Mapping[str, str],
        null: Mapping[str, Any],
    ) -> list[Judgment]:
        found, unread = [], []
        for one in asked:
            read = _read(one, heard, refused)
            if read.choice is None:
                row = {"reason": f"unreadable: {read.problem}", "comparison_id": one.comparison.id, "reply": read.said}
                unread.append({**row, "annotator": self.name})
            else:
                found.append(self._judgment(one.comparison, read))
        n = len(asked)
        if asked and len(found) < self.config.min_readable * n:
            raise RecordError(
                f"judge {self.config.model}: only {len(found)} of {n} verdicts can be read "
                f"({_reasons(asked, heard, refused)}), expected {self.config.min_readable:.0%}; none of them is used"
            )
        counts = {
            "judge": self.config.model,
            "n_asked": n,
            "n_read": len(found),
            "unreadable": dict(sorted(Counter(str(row["reason"]).partition(": ")[2] for row in unread).items())),
            "null_control": dict(null),
        }
        self._told = Told(counts, unread, frozenset(str(row["comparison_id"]) for row in unread))
        return found

    @property
    def name(self) -> str:
        """The pseudonym of the judge."""
        return f"judge {self.config.model}"

    def _judgment(self, one: Comparison, read: Read) -> Judgment:
        first, second = one.candidate_ids
        groups = {"A": ((first,), (second,)), "B": ((second,), (first,))}.get(str(read.choice), ((first, second),))
        return Judgment(
            comparison_id=one.id,
            pair_id=one.pair_id,
            prompt_id=one.prompt_id,
            candidate_ids=one.candidate_ids,
            annotator=self.name,
            provenance="judge",
            verdict=Ordering(groups=groups, both_bad=read.choice == "BOTH BAD"),
            rationale=read.said or None,
        )


def _read(one: Question, heard: Mapping[str, Reply], refused: Mapping[str, str]) -> Read:
    if one.key in refused:
        return Read(None, "refused by the server", refused[one.key])
    reply = heard[one.key]
    return wording.read(reply.text, finished=reply.finished)


def _reasons(asked: Sequence[Question], heard: Mapping[str, Reply], refused: Mapping[str, str]) -> str:
    counts = Counter(str(found.problem) for one in asked if (found := _read(one, heard, refused)).problem)
    return ", ".join(f"{n} {why}" for why, n in sorted(counts.items()))


def _some(left: Iterator[tuple[int, Question]], n: int) -> Iterator[tuple[int, Question]]:
    for _ in range(n):
        one = next(left, None)
        if one is None:
            return
        yield one
