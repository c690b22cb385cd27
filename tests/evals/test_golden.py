"""Published figures, from the published rows, by the code that measures."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from align.data import published
from align.evals import gsm8k, ifeval, summary
from align.evals.evidence import Evidence
from align.evals.instruments import INSTRUMENTS
from align.records import Item, Prompt
from tests.evals.published import folder, real

ITEMS = {
    "bbq": 1904, "crows_pairs": 1507, "winobias": 3162, "winogender": 720, "stereoset": 2123, "truthfulqa": 790,
    "xstest": 450, "advbench": 520, "harmbench": 400, "strongreject": 313, "do_not_answer": 938, "mitre_frr": 750,
    "gsm8k": 660, "ifeval": 541, "bold": 22302,
}  # fmt: skip
"""Distinct questions. CrowS-Pairs and Do-Not-Answer hold one twice, WinoBias six sentences, BOLD 1,377 openings; of
BBQ and GSM8K a part is kept here."""


@pytest.mark.parametrize("name", ITEMS)
def test_every_published_question_is_read_once(name: str) -> None:
    assert len({question.id for question in real(INSTRUMENTS[name])}) == ITEMS[name]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("crows_pairs", {"race-color": 516, "gender": 262, "socioeconomic": 172, "nationality": 159, "religion": 105,
                         "age": 87, "sexual-orientation": 84, "physical-appearance": 63, "disability": 60}),
        ("stereoset", {"race": 976, "profession": 827, "gender": 242, "religion": 78}),
        ("harmbench", {"standard": 200, "contextual": 100, "copyright": 100}),
        ("xstest", {"safe": 250, "unsafe": 200}),
    ],
)  # fmt: skip
def test_each_kind_has_as_many_rows_as_its_paper_says(name: str, kinds: dict[str, int]) -> None:
    of = INSTRUMENTS[name].published
    assert of is not None
    questions, _ = published.read(of, folder(of.folder))
    assert {kind: sum(q.meta["kind"] == kind for q in questions) for kind in kinds} == kinds


@pytest.mark.parametrize(("model", "harmless"), [("GPT4", 916), ("llama2-7b-chat", 936), ("vicuna-7b", 887)])
def test_people_called_as_many_answers_to_do_not_answer_harmless_as_its_readme_says(model: str, harmless: int) -> None:
    rows = list(published.rows(folder("safety/do_not_answer") / f"human_review_{model}.csv.gz"))
    assert len(rows) == 939
    assert sum(int(row.data["harmful"]) == 0 for row in rows) == harmless


@pytest.mark.parametrize(
    ("system", "right"), [("6b_finetuning", 21.97), ("6b_verification", 38.94), ("175b_finetuning", 31.97),
                          ("175b_verification", 56.52)]
)  # fmt: skip
def test_the_number_of_a_published_solution_is_found_where_its_authors_found_it(system: str, right: float) -> None:
    """The published solutions end in `A: …`; ours would end in `#### …`."""
    asked = {p.messages[0].content: p for p in real(INSTRUMENTS["gsm8k"]) if isinstance(p, Prompt)}
    n_right = n_other = n = 0
    for row in published.rows(folder("capability/gsm8k") / "example_model_solutions.even.jsonl.gz"):
        said = row.data[system]
        wanted = Decimal(str(asked[row.data["question"].strip() + gsm8k.ASK].meta["expected"]))
        ours = gsm8k.marked(said["solution"], "A:") == wanted
        n, n_right, n_other = n + 1, n_right + said["is_correct"], n_other + (ours != said["is_correct"])
    assert round(100 * n_right / n, 2) == right
    assert n_other == 0, f"{n_other} of {n} solutions are judged differently"


def test_the_published_answers_of_gpt_4_follow_instructions_as_its_authors_found() -> None:
    place = folder("capability/ifeval")
    prompts = {p.messages[0].content: p for p in real(INSTRUMENTS["ifeval"]) if isinstance(p, Prompt)}
    answers: dict[str, list[str]] = {}
    theirs: dict[tuple[str, str], float] = {}
    for how in ("strict", "loose"):
        for row in published.rows(place / f"gpt4_eval_results_{how}.even.jsonl.gz"):
            prompt = prompts[row.data["prompt"].strip()]
            answers[prompt.id] = [row.data["response"]]
            theirs[f"prompt_{how}", prompt.id] = float(row.data["follow_all_instructions"])
            for i, followed in enumerate(row.data["follow_instruction_list"]):
                theirs[f"instruction_{how}", f"{prompt.id}:{i}"] = float(followed)
    asked = [prompt for prompt in prompts.values() if prompt.id in answers]
    scores = ifeval.score(Evidence("gpt4", prompts=asked, answers=answers))
    ours = {(row.metric, row.item_id): row.value for row in scores}
    assert ours.keys() == theirs.keys()
    apart = {key for key, value in ours.items() if value != theirs[key]}
    # a tweet storm of 31 sentences or more, as a trained model cuts it, and of fewer as we do
    assert len({item for _, item in apart}) <= 2, apart
    found = {m.metric: 100 * (m.value or 0) for m in summary.measurements(ifeval.INSTRUMENT, scores, model="gpt4")}
    published_figures = {"prompt_strict": 78.52, "instruction_strict": 84.49, "prompt_loose": 81.85,
                         "instruction_loose": 86.87}  # fmt: skip
    assert found == pytest.approx(published_figures, abs=0.4)


@pytest.mark.parametrize(("kind", "n"), [("gender", 3204), ("political_ideology", 1984), ("profession", 10195),
                                         ("race", 7657), ("religious_ideology", 639)])  # fmt: skip
def test_bold_has_as_many_prompts_as_its_paper_says(kind: str, n: int) -> None:
    path = folder("bias/bold") / "prompts" / f"{kind}_prompt.json"
    whole = json.loads(Path(path).read_text(encoding="utf-8"))
    assert sum(len(prompts) for pages in whole.values() for prompts in pages.values()) == n


def test_the_licence_and_the_digest_of_a_file_come_with_its_questions() -> None:
    of = INSTRUMENTS["crows_pairs"].published
    assert of is not None
    questions, (source,) = published.read(of, folder(of.folder))
    assert source.licence == "CC-BY-SA-4.0"
    assert source.digest == "dfb36986ce0502abbaf7055b9176da3d08d48e07df1251991b5dfbcbceab9d0c"
    assert all(isinstance(question, Item) for question in questions)
