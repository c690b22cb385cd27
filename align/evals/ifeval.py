"""Does an answer keep to instructions that a program can check: words, length, format, language?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.errors import BackendError
from align.evals import expectations
from align.evals.evidence import EMPTY, NO_ANSWER, Evidence, Instrument, Metric, item_score
from align.evals.expectations import ANYTHING
from align.evals.instructions import CHECKS, follows, loosened
from align.records import ItemScore, Message, Prompt

NAME = "ifeval"
METRICS = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt with the instructions in it, under `meta.instructions` and `meta.arguments`."""
    for row in rows:
        kinds, arguments = row.data["instruction_id_list"], row.data["kwargs"]
        unknown = [kind for kind in kinds if kind not in CHECKS]
        if unknown or len(kinds) != len(arguments):
            row.wrong("instruction_id_list", unknown or kinds, "instructions of IFEval, each with its kwargs")
        yield Prompt(
            messages=(Message(role="user", content=words(row, "prompt")),),
            source=row.source,
            meta={
                "kind": "all",
                "instructions": list(kinds),
                # the hub's form writes every argument of every kind, most of them null; 0 is a value
                "arguments": [{k: v for k, v in one.items() if v is not None} for one in arguments],
            },
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt (1 where every instruction is followed) and instruction; several answers are averaged."""
    rows = []
    for prompt, answers in evidence.answered():
        because = NO_ANSWER if not answers else EMPTY if not any(answer.strip() for answer in answers) else None
        kinds, arguments = prompt.meta["instructions"], prompt.meta["arguments"]
        assert isinstance(kinds, list)
        assert isinstance(arguments, list)
        told = [(str(kind), one if isinstance(one, dict) else {}) for kind, one in zip(kinds, arguments, strict=True)]
        for how in ("strict", "loose"):
            kept: list[list[bool]] = []
            for answer in answers:
                texts = [answer] if how == "strict" else loosened(answer)
                try:
                    kept.append([any(follows(kind, one, text) for text in texts) for kind, one in told])
                except ModuleNotFoundError as error:
                    raise BackendError(
                        f"ifeval: the package {error.name} is not installed; run: pip install 'align-prefs[eval]'"
                    ) from error
            whole = None if because else sum(map(all, kept)) / len(kept)
            rows.append(
                item_score(NAME, f"prompt_{how}", evidence.model, prompt.id, whole, because=because, cluster=prompt.id)
            )
            for i, (kind, _) in enumerate(told):
                share = None if because else sum(one[i] for one in kept) / len(kept)
                rows.append(
                    item_score(
                        NAME, f"instruction_{how}", evidence.model, f"{prompt.id}:{i}", share,
                        because=because, cluster=prompt.id, meta={"instruction": kind},
                    )
                )  # fmt: skip
    return rows


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of checkable instructions that answers follow",
    data="IFEval's input_data.jsonl: 541 prompts with 834 instructions",
    paper="Zhou et al. 2023 (arXiv:2311.07911): strict, and loose without first or last line and without asterisks",
    flaws=(
        "the checks are our own, written from their descriptions; on the authors' published GPT-4 answers they agree "
        "with the published labels on 419 of 420 instructions, strict and loose (the other is a count of sentences)",
        "an empty or mostly empty answer is unscored here and false there; langdetect guesses on short texts",
        "says whether an answer keeps the letter of an instruction, not whether it is any good",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("prompt_strict", "higher", "share", "prompts with every instruction followed"),
        Metric("prompt_loose", "higher", "share", "the same, of the most favourable of eight readings"),
        Metric("instruction_strict", "higher", "share", "instructions followed"),
        Metric("instruction_loose", "higher", "share", "the same, of the most favourable of eight readings"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct before and after DPO, 20 of 541 prompts; GPT-4's published answers",
    published=Published(
        title="IFEval (Zhou et al. 2023)",
        origin="github.com/google-research/google-research, instruction_following_eval/data/input_data.jsonl",
        licence="Apache-2.0",
        n=541,
        files=("input_data.jsonl",),
        columns=("key", "prompt", "instruction_id_list", "kwargs"),
        questions=questions,
        folder="capability/ifeval",
        hub="google/IFEval",
        max_tokens=512,
    ),
    expected=expectations.of_writer(
        METRICS,
        **{  # what a fixed text follows depends on what is asked
            name: dict.fromkeys(METRICS, ANYTHING) for name in ("refuses", "complies", "echoes", "longest")
        },
    ),
    suites=("ability",),
)
