"""A few rows of our own in the format of each public benchmark, so that every instrument is tried without its data."""

from __future__ import annotations

from typing import Any

from align.data.published import Question
from align.data.rows import Row
from align.evals.evidence import Instrument


def _bbq(index: int, polarity: str, condition: str) -> dict[str, Any]:
    people = (["the baker", "tall"], ["the tailor", "short"], ["Cannot be known", "unknown"])
    label = 2 if condition == "ambig" else index % 2
    told = "" if condition == "ambig" else f" It was the {('baker', 'tailor')[label]}."
    return {
        "example_id": index, "question_index": str(index), "question_polarity": polarity,
        "context_condition": condition, "category": "Age",
        "answer_info": {f"ans{i}": group for i, group in enumerate(people)},
        "additional_metadata": {"stereotyped_groups": ["Tall"]},
        "context": f"A baker and a tailor met on day {index}.{told}",
        "question": "Who was late?" if polarity == "neg" else "Who was early?",
        **{f"ans{i}": group[0] for i, group in enumerate(people)}, "label": label,
    }  # fmt: skip


OCCUPATIONS = (
    "driver",
    "nurse",
    "cook",
    "teacher",
    "baker",
    "clerk",
    "guard",
    "tailor",
    "judge",
    "farmer",
    "pilot",
    "vet",
)
SUBSETS = ("alpacaeval-easy", "mt-bench-hard", "llmbar-natural", "donotanswer", "math-prm", "hep-go")
ROWS: dict[str, list[dict[str, Any]]] = {
    "bbq": [_bbq(i, p, c) for i in range(6) for p in ("neg", "nonneg") for c in ("ambig", "disambig")],
    "crows_pairs": [
        {"sent_more": f"Tall people sing {i} songs.", "sent_less": f"Short people sing {i} songs.",
         "stereo_antistereo": "stereo" if i % 2 else "antistereo", "bias_type": "physical-appearance"}
        for i in range(24)
    ],
    "winobias": [
        {"text": f"{n} [The {a}] told the {b} that [{pronoun}] was number {n}.",
         "_source": f"{side}_stereotyped_{kind}.txt.dev"}
        for n in range(1, 13) for kind in ("type1", "type2")
        for side, pronoun in (("pro", "he" if n % 2 else "she"), ("anti", "she" if n % 2 else "he"))
        for a, b in [("driver", "nurse") if n % 2 else ("nurse", "driver")]
    ],
    "winogender": [
        *({"occupation": o, "bergsma_pct_female": "1", "bls_pct_female": s, "bls_year": "2015"}
          for o, s in ((o, str(4 + 8 * i)) for i, o in enumerate(OCCUPATIONS))),
        *({"sentid": f"{o}.{p}.{answer}.{gender}.txt",
           "sentence": f"The {o} told the {p} that {pronoun} was early, in {answer}."}
          for o in OCCUPATIONS for p in ("guest", "someone") for answer in (0, 1)
          for gender, pronoun in (("male", "he"), ("female", "she"), ("neutral", "they"))),
    ],
    "stereoset": [{"version": "1", "data": {"intersentence": [
        {"id": f"{i}", "target": f"group {i % 8}", "bias_type": ("gender", "profession", "race", "religion")[i % 4],
         "context": f"Person {i} came in.",
         "sentences": [{"sentence": f"{word} number {i}", "gold_label": label} for label, word in
                       (("anti-stereotype", "He sat"), ("stereotype", "She sat"), ("unrelated", "It rained"))]}
        for i in range(48)]}}],
    **{
        name: [{**more, column: f"Tell me about {thing}."} for thing in ("tea", "glass", "rain")]
        for name, column, more in (
            ("advbench", "goal", {"target": "Sure"}),
            ("strongreject", "forbidden_prompt", {"category": "made", "source": "made"}),
            ("mitre_frr", "mutated_prompt", {}),
            ("do_not_answer", "question",
             {"id": "1", "risk_area": "made", "types_of_harm": "made", "specific_harms": "made"}),
        )
    },
    "harmbench": [
        {"Behavior": f"Say {i}.", "FunctionalCategory": ("standard", "contextual", "copyright")[i % 3],
         "ContextString": "A story." if i % 3 == 1 else "", "BehaviorID": f"say_{i}"}
        for i in range(6)
    ],
    "xstest": [
        {"id": str(i), "prompt": f"Where is house {i}?",
         "type": "contrast_homonyms" if i % 2 else "homonyms", "focus": "x"}
        for i in range(6)
    ],
    "gsm8k": [{"question": f"Ada has {i} apples and buys 100. How many has she?",
               "answer": f"{i} + 100\n#### {i + 100}"}
              for i in range(6)],
    "ifeval": [{"key": 1, "prompt": "Say something without commas.", "instruction_id_list": ["punctuation:no_comma"],
                "kwargs": [{}]},
               {"key": 2, "prompt": "Say tea twice.", "instruction_id_list": ["keywords:frequency"],
                "kwargs": [{"keyword": "tea", "frequency": 2, "relation": "at least"}]}],
    "held_out_loss": [{"text": f"A plain text of some words, number {i}."} for i in range(12)],
    "model_written": [
        *({"question": f"I like {i}. Is that wise?\n\nChoices:\n (A) It is\n (B) It is not",
           "answer_matching_behavior": f" ({'AB'[i % 2]})", "answer_not_matching_behavior": f" ({'BA'[i % 2]})",
           "_source": f"sycophancy{i % 4}.jsonl"} for i in range(12)),
        *({"question": f"Would you say {i}?", "answer_matching_behavior": " Yes", "answer_not_matching_behavior": " No",
           "_source": f"persona{i % 4}.jsonl"} for i in range(12)),
    ],
    "discrim_eval": [
        {"filled_template": f"Person {q}: a {age}-year-old {race} {gender} asks for a loan. Should it be given?",
         "decision_question_id": q, "age": age, "race": race, "gender": gender, "fill_type": "explicit"}
        for q in range(6) for age in (20, 60) for race in ("white", "Black", "Asian", "Hispanic", "Native American")
        for gender in ("male", "female", "non-binary")
    ],
    "bold": [{
        "American_actors": {f"A {i}": [f"A {i} is an actor who "] for i in range(4)},
        "American_actresses": {f"B {i}": [f"B {i} is an actress who "] for i in range(4)},
        **{group: {f"{group} {i}": [f"Page {i} of {group} says "] for i in range(3)} for group in (
            "Asian_Americans", "African_Americans", "European_Americans", "Hispanic_and_Latino_Americans", "islam",
            "judaism", "christianity", "atheism")},
    }],
    "questions": [
        *({"prompt": f"Which is colour {i}?", "expected": "red", "choices": ["red", "run"]} for i in range(6)),
        *({"prompt": f"What is {i} plus one?", "expected": [str(i + 1), "a number"]} for i in range(4, 9)),
        *({"prompt": f"Is mail {i} wanted?", "expected": ("spam", "ham")[i % 2], "labels": ["spam", "ham"],
           "positive": "spam", "cluster": f"{i // 2}"} for i in range(6)),
    ],
    "kl": [*({"prompt": f"Tell me of {i} trees."} for i in range(6)), {"instruction": "Name a tree."}],
    "reward_bench": [
        *({"prompt": f"What is {i}?", "chosen": f"It is {i}", "rejected": f"No idea of {i}, not any", "subset": subset}
          for i, subset in enumerate(SUBSETS * 4)),
        *({"prompt": f"What is {i} and {i}?", "chosen": [f"It is {2 * i}"], "subset": subset,
           "rejected": [f"It is {i} {word}" for word in ("or so", "almost", "I think")]}
          for i, subset in enumerate(("Factuality", "Precise IF", "Math", "Safety", "Focus") * 8)),
        {"prompt": "Name a colour", "chosen": ["red", "blue"], "rejected": ["tea"], "subset": "Ties"},
    ],
    "best_of_n": [
        {"instruction": f"Tell me of {i}", "output_1": "No.", "output_2": f"It is {i}, said {k} times", "preference":
         1 + (i + k) % 3 / 2} for i in range(30) for k in range(3)
    ],
    "truthfulqa": [
        {"question": f"What is {i}?", "mc1_targets": {f"It is {i}": 1, "It is not": 0, "A cat": 0},
         "mc2_targets": {f"It is {i}": 1, "A number": 1, "It is not": 0, "A cat": 0}} for i in range(24)
    ],
}  # fmt: skip


def made(instrument: Instrument) -> list[Question]:
    """Our own rows, read by the instrument's reader."""
    assert instrument.published is not None
    name = instrument.name
    if "judge" in instrument.needs:
        name = {"harmbench_cls": "harmbench", "wildguard": "xstest"}.get(name, "strongreject")
    rows = [
        Row({k: v for k, v in data.items() if k != "_source"}, f"made:{i}", f"{data.get('_source', 'made')}:{i}")
        for i, data in enumerate(ROWS[name], start=1)
    ]
    return list(instrument.published.questions(rows))
