"""Stage `evaluate`: one model under one instrument."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from align.configs import EvaluateStep
from align.data import seen
from align.errors import GateBroken, RecipeError, RecordError
from align.evals import controls, evidence, instruments, summary
from align.evals.evidence import Assessed, Chat, Evidence, Instrument
from align.ports import Artifact, Inputs, Score, ScoreRequest, Tools
from align.preference.pairing import weakest
from align.records import Candidate, Item, ItemScore, Message, Preference, Prompt, Provenance, Source, canonical
from align.stages import duels, grading
from align.store import jsonl
from align.store.fingerprint import fingerprint
from align.testbed.truth import assess

VERSION = 8
CHUNK_CHARACTERS = 32_768
"""Text scored at once: a journal's unit, so that a resumed run asks the scorer in the same batches."""
CONTROLLED = 50
"""On so many questions must a destroyed model get no score before any model is given one."""
SEEN = "the question stands in the training data"
R = TypeVar("R", Item, Prompt, Preference)


def run(config: EvaluateStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `scores.jsonl`, a row an item, and `measurements.jsonl`, a row a metric."""
    instrument = instruments.instrument(config.instrument)
    outputs = _Outputs()
    gathered = _gather(config, instrument, inputs, tools, outputs)
    if instrument.published is not None:
        some = gathered.items[:CONTROLLED], gathered.prompts[:CONTROLLED]
        if broken := controls.unsound(instrument, *some, config.form):
            raise GateBroken(broken)
    scores = _unseen(instrument.score(gathered), gathered, inputs, tools)
    if not scores:
        raise RecordError(
            f"evaluate: `{instrument.name}` found nothing to score in the recipe's data; it reads {instrument.data}"
        )
    made = summary.measurements(
        instrument,
        scores,
        model=config.model,
        provenance=duels.provenance(inputs["people"].path)
        if gathered.duels
        else _provenance(gathered, inputs["data"].path),
        sources=(
            *(Source(name=name, digest=inputs[name].digest) for name in sorted(inputs)),
            *_published(inputs["data"].path),
        ),
        meta={"outputs": outputs.digest()},
    )
    if gathered.duels:
        made = duels.told(made, list(gathered.duels), inputs["people"].path, against=config.against or "the other")
    scores.sort(key=lambda row: (row.metric, row.item_id))
    jsonl.write(out / "scores.jsonl", scores)
    jsonl.write(out / "measurements.jsonl", made)


def _gather(config: EvaluateStep, instrument: Instrument, inputs: Inputs, tools: Tools, seen: _Outputs) -> Evidence:
    needs, most = instrument.needs, config.max_items
    data = inputs["data"].path
    items = _fewest(_rows(data / "items.jsonl", Item), most, lambda i: i.instrument) if "items" in needs else []
    prompts = _fewest(_rows(data / "test_prompts.jsonl", Prompt), most, evidence.kind_of) if "prompts" in needs else []
    answers: dict[str, list[str]] = {}
    cut: dict[str, list[bool]] = {}
    if "answers" in needs:
        for candidate in sorted(jsonl.read(_input(inputs, "answers").path / "candidates.jsonl", Candidate), key=_place):
            answers.setdefault(candidate.prompt_id, []).append(candidate.text)
            cut.setdefault(candidate.prompt_id, []).append(candidate.finish_reason == "length")
        seen.add(answers)
    pairs: list[Preference] = []
    if "preferences" in needs:
        pairs = _fewest(
            _rows(_input(inputs, "preferences").path / "preferences.test.jsonl", Preference), most, lambda _: ""
        )
    scorer = _Scorer(_input(inputs, "model"), "model", tools, seen) if "scorer" in needs else None
    # of a recipe's models only the tuned one has a policy that it came from; against itself all would be ties
    has_reference = "reference" in inputs and (instrument.compares or config.model == "tuned")
    reference = (
        _Scorer(inputs["reference"], "reference", tools, None) if "reference" in needs and has_reference else None
    )
    judged = []
    if "people" in needs:
        judged = duels.gather(*(_input(inputs, name).path for name in ("people", "answers", "against", "data")))
        seen.add([[one.prompt_id, one.answer] for one in judged])
    grader = _Grader(config, tools, seen) if "judge" in needs else None
    rewarder = _Rewarder(_input(inputs, "reward"), tools, seen) if "rewarder" in needs else None
    return Evidence(
        config.model, items, prompts, answers, pairs, scorer, reference, _assess, config.form, judged, grader,
        _template(config, instrument, tools), rewarder, cut,
    )  # fmt: skip


def _template(config: EvaluateStep, instrument: Instrument, tools: Tools) -> str | None:
    """What the instrument's classifier reads; RecipeError where it is not given or leaves nothing open."""
    known = instrument.template
    if known is None:
        return None
    where = f"evaluate.benchmarks.{instrument.name}.template"
    if config.template is None:
        raise RecipeError(
            f"{where}: missing: the text that the classifier reads, in a file; it stands on {known.published}"
        )
    text = known.checked(Path(config.template).read_text(encoding="utf-8"), where)
    if not known.as_published(text):
        tools.note(f"{instrument.name}: the classifier was asked with another text than {known.published} has")
    return text


def _unseen(scores: list[ItemScore], gathered: Evidence, inputs: Inputs, tools: Tools) -> list[ItemScore]:
    """The rows, those unscored whose question stands in what the model was trained on."""
    folders = [inputs[name].path for name in ("trained", "trained_pairs") if name in inputs]
    if not folders:
        return scores
    asked = {item.id: item.context or " ".join(item.choices) for item in gathered.items}
    asked |= {prompt.id: " ".join(message.content for message in prompt.messages) for prompt in gathered.prompts}
    found = seen.seen(asked, (text for folder in folders for text in seen.documents(folder)))
    if found:
        some = ", ".join(name[:12] for name in sorted(found)[:20])
        tools.note(f"{len(found)} of {len(asked)} questions stand in the training data and are not scored: {some}")
    return [
        row.model_copy(update={"value": None, "unscored_because": SEEN})
        if row.item_id.partition(":")[0] in found
        else row
        for row in scores
    ]


def _published(data: Path) -> list[Source]:
    """The files of a public benchmark, with their licence and revision, as the stage `benchmark` found them."""
    told = data / "summary.json"
    summary_ = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    return [Source.model_validate(one) for one in summary_.get("sources", ())] if "benchmark" in summary_ else []


def _assess(prompt: Prompt, answer: str) -> Assessed | None:
    return assess(prompt, answer) if _is_made(prompt) else None


def _is_made(prompt: Prompt) -> bool:
    return prompt.source == "testbed"


def _provenance(gathered: Evidence, data: Path) -> Provenance | None:
    """`simulated` where the truth was made; of pairs, the weakest source of their labels."""
    if gathered.preferences:
        return weakest(pair.provenance for pair in gathered.preferences if pair.provenance)
    if gathered.items:
        summary_file = data / "summary.json"
        made = summary_file.exists() and "testbed" in json.loads(summary_file.read_text(encoding="utf-8"))
    else:
        made = any(map(_is_made, gathered.prompts))
    return "simulated" if made else None


def _input(inputs: Inputs, name: str) -> Artifact:
    if name not in inputs:
        raise RecipeError(f"evaluate: input `{name}` is missing (expected its artifact); give it with --in {name}=…")
    return inputs[name]


def _rows(path: Path, kind: type[R]) -> Iterator[R]:
    if not path.exists():
        raise RecordError(f"{path}: missing; the recipe's data hold no {kind.__name__} rows for this instrument")
    return jsonl.read(path, kind)


def _fewest(rows: Iterable[R], most: int | None, kind: Callable[[R], str | None]) -> list[R]:
    """At most so many of each kind, those with the smallest ids: a choice that does not look at places in the file."""
    taken: dict[str | None, int] = {}
    kept = []
    for row in sorted(rows, key=lambda row: row.id):
        name = kind(row)
        taken[name] = taken.get(name, 0) + 1
        if most is None or taken[name] <= most:
            kept.append(row)
    return kept


def _place(candidate: Candidate) -> tuple[str, int, str]:
    return candidate.prompt_id, candidate.sample, candidate.id


class _Outputs:
    """The digest of everything that a model said or scored."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, said: object) -> None:
        self._hash.update(canonical(said).encode("utf-8", "surrogatepass") + b"\n")

    def digest(self) -> str:
        return self._hash.hexdigest()


class _Scorer:
    """Asks a model for log-probabilities, chunk by chunk, each finished chunk in a journal that outlives a kill.

    The whole of them is kept on a shelf by content: the base is asked once, as a model and as another's reference.
    """

    def __init__(self, model: Artifact, name: str, tools: Tools, seen: _Outputs | None) -> None:
        self.model, self.name, self.tools, self.seen = model, name, tools, seen

    def __call__(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        found: list[Score] = []
        asked = [(chunk, self._key(chunk)) for chunk in chunks(requests)]
        journal_at = self.tools.work / f"{self.name}.logp.jsonl"
        kept = (
            self.tools.shelf(fingerprint(["logps", VERSION, self.tools.runtime.device, [key for _, key in asked]]))
            / "logps"
        )
        if kept.exists() and not journal_at.exists():
            shutil.copyfile(kept, journal_at)
        with (
            jsonl.Journal(journal_at) as journal,
            closing(self.tools.scorer(self.model.path / "model")) as scorer,
            self.tools.progress(f"score {self.name}", len(requests)) as progress,
        ):
            done = {str(row["chunk"]): row["scores"] for row in journal.done()}
            for chunk, key in asked:
                if key not in done:
                    # hexadecimal, for a journal of JSON holds no NaN, and what is resumed must equal what was not
                    done[key] = [[float(s.logp).hex(), s.n_tokens] for s in scorer.score(chunk)]
                    journal.append({"chunk": key, "scores": done[key]})
                found.extend(Score(float.fromhex(logp), int(n)) for logp, n in done[key])
                if self.seen is not None:
                    self.seen.add(done[key])
                progress.advance(len(chunk))
        if len(found) != len(requests):
            raise RecordError(f"{self.name}: {len(found)} scores for {len(requests)} requests")
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f"logps.{os.getpid()}.partial")
            shutil.copyfile(journal_at, partial)
            partial.replace(kept)
        return found

    def _key(self, chunk: Sequence[ScoreRequest]) -> str:
        return hashlib.sha256(canonical([self.model.digest, [_plain(r) for r in chunk]]).encode()).hexdigest()


class _Grader:
    """Asks a served classifier or grader."""

    def __init__(self, config: EvaluateStep, tools: Tools, seen: _Outputs) -> None:
        if config.judge is None:
            raise RecipeError(
                f"evaluate: `{config.instrument}` needs a served model; say where it is under "
                f"evaluate.benchmarks.{config.instrument}.judge (urls and model)"
            )
        self.judge, self.tools, self.seen = config.judge, tools, seen

    def __call__(self, chats: Sequence[Chat]) -> list[str | None]:
        replies = grading.replies(self.judge, chats, self.tools)
        self.seen.add(replies)
        return replies


class _Rewarder:
    """Asks a reward model for the score of each conversation's last answer."""

    def __init__(self, model: Artifact, tools: Tools, seen: _Outputs) -> None:
        self.model, self.tools, self.seen = model, tools, seen

    def __call__(self, chats: Sequence[tuple[Message, ...]]) -> list[float]:
        found = []
        with (
            closing(self.tools.rewarder(self.model.path / "model")) as rewarder,
            self.tools.progress("reward", len(chats)) as progress,
        ):
            for one in rewarder.reward(chats):
                found.append(one)
                progress.advance()
        if len(found) != len(chats):
            raise RecordError(f"reward: {len(found)} scores for {len(chats)} conversations")
        self.seen.add([float(one).hex() for one in found])
        return found


def chunks(requests: Sequence[ScoreRequest]) -> Iterator[Sequence[ScoreRequest]]:
    """The requests in their order, cut where `CHUNK_CHARACTERS` are reached."""
    start = size = 0
    for i, request in enumerate(requests):
        context = request.context
        size += len(request.continuation)
        size += len(context) if isinstance(context, str) else sum(len(message.content) for message in context)
        if size >= CHUNK_CHARACTERS:
            yield requests[start : i + 1]
            start, size = i + 1, 0
    if start < len(requests):
        yield requests[start:]


def _plain(request: ScoreRequest) -> list[object]:
    context = request.context
    said = context if isinstance(context, str) else [m.model_dump(mode="json") for m in context]
    return [said, request.continuation, *([] if request.closed else ["open"])]
