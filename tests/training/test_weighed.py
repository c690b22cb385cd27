from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from align.configs import DPOConfig
from align.preference.objectives import dpo_loss, ipo_loss, soft_dpo_loss
from align.records import Message, Preference
from align.store import jsonl
from align.training.dpo import dpo, extras
from align.training.weighed import pair_loss
from tests.training.tiny import Place, World, question, turn


def one(loss: str, delta: float, *, label: float = 1.0, margin: float = 0.0, beta: float = 0.1) -> float:
    return float(
        pair_loss(loss, torch.tensor([delta]).double(), torch.zeros(1).double(), beta=beta,
                  label_B=torch.tensor([label]).double(), margin_B=torch.tensor([margin]).double())
    )  # fmt: skip


def test_a_soft_label_pays_the_cross_entropy_of_its_pair() -> None:
    for delta, label in ((12.0, 0.8), (-30.0, 0.55), (0.0, 0.5)):
        assert one("sigmoid", delta, label=label) == pytest.approx(soft_dpo_loss(0.1 * delta, label=label))
    assert one("sigmoid", 5.0, label=0.9) == pytest.approx(0.524077)


def test_a_certain_label_without_margin_pays_the_plain_loss() -> None:
    assert one("sigmoid", 7.0) == pytest.approx(dpo_loss(0.7))
    assert one("ipo", 7.0) == pytest.approx(ipo_loss(7.0, beta=0.1))
    assert one("hinge", 7.0) == pytest.approx(0.3)


def test_a_margin_must_be_earned_before_the_loss_is_log_two() -> None:
    assert one("sigmoid", 20.0, margin=2.0) == pytest.approx(dpo_loss(0.0))


def test_a_loss_without_an_expected_form_refuses_soft_labels_before_anything_runs() -> None:
    with pytest.raises(ValidationError, match=r"`apo_zero` has no soft labels"):
        DPOConfig(loss="apo_zero", labels="soft")
    with pytest.raises(ValidationError, match=r"`ipo` would ignore it"):
        DPOConfig(loss="ipo", margin_weight=1.0)


def pairs(path: Path, labels: list[float], confidences: list[float]) -> Path:
    names = ("Ada", "Bob", "Cleo", "Dan")
    jsonl.write(
        path,
        (
            Preference(
                prompt=(question(name),), chosen=(turn("assistant", f"{name} lives in Rome, I think."),),
                rejected=(turn("assistant", f"{name} lives in Rome."),), label=label, confidence=confidence, margin=2.0,
            )
            for name, label, confidence in zip(names, labels, confidences, strict=True)
        ),
    )  # fmt: skip
    return path


def first_loss(world: World, folder: Path, config: DPOConfig, path: Path) -> float:
    out = folder / "out"
    out.mkdir(parents=True)
    dpo(config, world.model, path, None, out, Place(folder / "work"))
    return float(next(row["loss"] for _, row in jsonl.rows(out / "log.jsonl") if "loss" in row))


@pytest.mark.parametrize("packed", [True, False])
def test_at_the_reference_a_margin_costs_what_the_formula_says(world: World, tmp_path: Path, packed: bool) -> None:
    config = DPOConfig(batch_size=4, epochs=1, margin_weight=0.25, packed=packed, sft_weight=0.0)
    path = pairs(tmp_path / "p.jsonl", [1.0] * 4, [1.0] * 4)
    assert first_loss(world, tmp_path, config, path) == pytest.approx(dpo_loss(-0.5), abs=1e-3)


def test_a_soft_stage_learns_less_from_an_unsure_pair(world: World, tmp_path: Path) -> None:
    losses = {}
    for name, labels in (("sure", [1.0] * 4), ("unsure", [0.5] * 4)):
        config = DPOConfig(batch_size=4, epochs=6, learning_rate=5e-3, labels="soft")
        folder = tmp_path / name
        out = folder / "out"
        out.mkdir(parents=True)
        path = pairs(folder / "p.jsonl", labels, [1.0] * 4)
        dpo(config, world.model, path, None, out, Place(folder / "work"))
        rows = [row for _, row in jsonl.rows(out / "log.jsonl") if "rewards/margins" in row]
        losses[name] = rows[-1]["rewards/margins"]
    assert losses["sure"] > 0.2
    assert abs(losses["unsure"]) < 0.1


def test_a_pair_of_no_confidence_teaches_nothing(world: World, tmp_path: Path) -> None:
    path = pairs(tmp_path / "p.jsonl", [1.0] * 4, [0.0, 0.0, 0.0, 1.0])
    config = DPOConfig(batch_size=4, epochs=1, margin_weight=0.25, weigh_by_confidence=True)
    # weights are scaled to 1 on average: one pair of four carries the whole loss
    assert first_loss(world, tmp_path, config, path) == pytest.approx(dpo_loss(-0.5), abs=1e-3)


@pytest.mark.parametrize(
    ("labels", "epsilon", "label", "counted"),
    [("soft", 0.1, 1.0, 0.9), ("soft", None, 0.7, 0.7), ("soft", None, 0.3, 0.7), ("side", 0.1, 1.0, 1.0)],
)
def test_noise_from_labels_judged_twice_is_the_pairs_epsilon(
    labels: str, epsilon: float | None, label: float, counted: float
) -> None:
    pair = Preference(
        prompt=(Message(role="user", content="q"),),
        chosen=(Message(role="assistant", content="a"),),
        rejected=(Message(role="assistant", content="b"),),
        label=label,
        epsilon=epsilon,
    )
    assert extras(pair, DPOConfig(labels=labels))["pair_label"] == pytest.approx(counted)
