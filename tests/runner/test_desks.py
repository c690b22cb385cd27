"""One recipe, three desks: people at a file, a judge beside them, and some pairs judged a second time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.errors import BackendError, Waiting
from align.store import jsonl
from align.store.fingerprint import read_json
from tests.adapters.judging_server import Judging, serving
from tests.runner.conftest import Place, lay_out

RECIPE = """\
# People judge answers, a model judges them too, and people judge some of them again.
model: {{folder: not-needed}}
data: {{prompts: [{{path: prompts.jsonl}}], test_share: 0}}
generate: {{ready: candidates.jsonl}}
label:
  desk: file
  judgments: judgments.jsonl
  annotators_per_comparison: 1
  comparisons_per_prompt: 1
  relabel: {{judgments: again.jsonl}}
  judge: {{urls: ["{url}"], model: judge-1, null_controls: 1, attempts: 2}}
pair: {{test_share: 0, accept_flagged_annotators: true}}
"""


def answer(folder: Path, name: str, choice: str) -> None:
    """Say the same of every comparison that is up in a file."""
    rows = [
        {"comparison_id": row["comparison_id"], "annotator": "ann-1", "provenance": "human",
         "choice": "first" if (row["first"] == "A number.") == (choice == "number") else "second"}
        for _, row in jsonl.rows(folder / f"{name}.comparisons.jsonl")
    ]  # fmt: skip
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def curt(conversation: str, a: str, b: str) -> str:
    return f"VERDICT: {'B' if len(a) > len(b) else 'A'}"


def test_a_judge_goes_on_while_people_are_waited_for_and_each_waits_for_its_own(tmp_path: Path) -> None:
    with serving(Judging(curt)) as judging:
        place = lay_out(tmp_path / "here", RECIPE.format(url=judging.url))
        with pytest.raises(Waiting, match=r"^0 of 3 comparisons have 1 judgment"):
            place.runner().run()
        assert place.console.words() | {"label": "wait", "label/judge": "done", "pair": "wait"} == place.console.words()
        answer(place.folder, "judgments", "number")
        with pytest.raises(Waiting, match=r"^0 of 3 comparisons have 1 judgment; .*again\.jsonl"):
            place.runner().run()
        assert place.console.words()["label"] == "done"
        answer(place.folder, "again", "number")
        made = place.runner().run().artifacts["pair"]
    assert place.console.words()["label/judge"] == "reuse"
    told = read_json(made.path / "summary.json")
    assert told["n_train"] == 3
    assert told["relabelled"]["noise"]["all"]["n"] == 3
    assert told["relabelled"]["noise"]["all"]["disagree"]["share"] == 0
    (beside,) = told["judges"]
    assert (beside["judge"], beside["n"], beside["agree"]["share"]) == ("judge judge-1", 3, 1.0)
    assert told["provenance"] == {"human": 3}


def test_a_judge_that_is_down_stops_the_run_in_one_line_and_the_next_goes_on(tmp_path: Path) -> None:
    down = Judging(curt, fault=lambda n: "503" if n > 4 else "none")
    with serving(down) as judging:
        place = lay_out(tmp_path / "here", RECIPE.format(url=judging.url).replace("desk: file", "desk: judge", 1))
        text = place.recipe.read_text().replace("  relabel: {judgments: again.jsonl}\n", "")
        place.recipe.write_text(text.replace("attempts: 2", "attempts: 1, concurrency: 1"))
        with pytest.raises(
            BackendError, match=r"answers HTTP 503, after 1 attempts; .*2 of 6 replies are kept"
        ) as said:
            place.runner().run()
        assert "\n" not in str(said.value)
        down.fault = lambda n: "none"
        before = down.n
        place.runner().run()
        assert down.n - before == 4, "only what had not been heard was asked"
    manifest = read_json(Place(place.folder).runner().run().artifacts["label"].path / "manifest.json")
    assert judging.url not in json.dumps(manifest), "where it was served is no part of what was made"
    assert manifest["config"]["judge"]["model"] == "judge-1"
