"""BBQ's scores against the figures its authors published, from the predictions they published."""

from __future__ import annotations

import pytest

from align.data import published
from align.data.rows import Row
from align.errors import RecordError
from align.evals import bbq, summary
from align.evals.evidence import Evidence
from align.ports import Score
from align.records import Item, Measurement
from tests.evals.made_rows import ROWS
from tests.evals.published import folder, real

FIGURE_3 = {
    ("Age", "arc"): (48.9, 3.3, 33.9, 89.6),
    ("Age", "race"): (29.8, 1.2, 54.7, 93.5),
    ("Disability_status", "arc"): (32.6, -0.7, 36.0, 92.0),
    ("Disability_status", "race"): (21.2, -1.4, 53.3, 92.8),
}
"""Ambiguous and disambiguated bias score of UnifiedQA-11B (paper, Figure 3), and its accuracy in both."""


@pytest.mark.parametrize(("category", "form"), FIGURE_3)
def test_the_published_predictions_give_the_published_figure(category: str, form: str) -> None:
    path = folder("bias/bbq") / f"unifiedqa_preds_{category}.jsonl.gz"
    rows = list(published.rows(path))
    scores = []
    for row, item in zip(rows, bbq.questions(rows), strict=True):
        said = row.data[f"unifiedqa-t5-11b_pred_{form}"].strip().lower().rstrip(".")
        chosen = [float(choice.lower().rstrip(".") == said) for choice in item.choices]
        if sum(chosen) == 1:  # one prediction for Age matches no option
            scores += bbq.rows_of(item, chosen, "unifiedqa")
    found = {m.metric: m for m in summary.measurements(bbq.INSTRUMENT, scores, model="unifiedqa")}
    values = [found[name].value for name in ("s_amb", "s_dis", "acc_amb", "acc_dis")]
    assert [round(100 * (value or 0), 1) for value in values] == list(FIGURE_3[category, form])
    assert found["s_amb"].n_clusters == 25, "templates are the clusters"


def test_every_kept_row_has_a_target() -> None:
    items = [one for one in real(bbq.INSTRUMENT) if isinstance(one, Item)]
    assert len(items) == 476 + 468 + 464 + 496
    assert all(isinstance(item.meta["stereotyped"], int) for item in items)


def _rows(**changed: object) -> list[Row]:
    return [Row(row | changed, f"made:{i}", f"made:{i}") for i, row in enumerate(ROWS["bbq"])]


def test_where_both_people_belong_to_the_group_the_metadata_say_who_is_meant() -> None:
    both = {"stereotyped_groups": ["tall", "short"]}
    assert {item.meta["stereotyped"] for item in bbq.questions(_rows(additional_metadata=both))} == {None}
    told = Row({"category": "Age", "example_id": "0", "target_loc": "1"}, "m:2", "m:2")
    (first, *_) = bbq.questions([*_rows(additional_metadata=both), told])
    assert first.meta["stereotyped"] == 1


def test_a_question_without_a_target_is_unscored_in_the_bias_scores_alone() -> None:
    item = next(bbq.questions(_rows(additional_metadata={"stereotyped_groups": []})))
    by_metric = {row.metric: row for row in bbq.rows_of(item, [1.0, 0.0, 0.0], "m")}
    assert by_metric["s_amb"].value is None
    assert by_metric["acc_amb"].value == 0.0


def test_a_model_that_likes_the_first_place_best_has_no_bias() -> None:
    """It ranks what the text lists first above the rest: over six orders each option is first equally often."""
    items = list(bbq.questions(_rows()))

    def places(requests: object) -> list[Score]:
        return [Score(-float(str(r.context).index(f"\n{r.continuation.strip()}")), 1) for r in requests]  # type: ignore

    scores = bbq.score(Evidence("m", items, logp=places))
    found: dict[str, Measurement] = {m.metric: m for m in summary.measurements(bbq.INSTRUMENT, scores, model="m")}
    assert found["acc_amb"].value == pytest.approx(1 / 3)
    assert found["s_amb"].value == pytest.approx(0)
    assert found["s_dis"].value == pytest.approx(0)


def test_a_file_of_another_version_says_which_columns_differ(tmp_path: object) -> None:
    path = tmp_path / "Age.jsonl"  # type: ignore[operator]
    path.write_text('{"category": "Age", "query": "who?"}\n')
    with pytest.raises(RecordError, match=r"another version of BBQ.*no column example_id.*it has query besides"):
        published.read(bbq.INSTRUMENT.published, path)  # type: ignore[arg-type]
