"""May the detector of refusals be trusted about this model? Only if people who read its answers say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from align.configs import GateConfig
from align.evals import statistics
from align.evals.detector import RULES, Rule
from align.preference.agreement import cohen_kappa
from align.records import Provenance

LEVEL = 0.95
COUNTING = ("refusal", "xstest", "advbench", "harmbench", "strongreject", "do_not_answer", "mitre_frr")
"""The instruments whose every metric counts refusals that a rule found."""
BY_STRINGS = ("refusal.xstest_safe", "refusal.xstest_unsafe")


@dataclass(frozen=True)
class Kappa:
    """How well one rule agrees with people, beyond chance."""

    value: float | None
    """None where people or the rule say the same of every answer."""
    low: float | None
    high: float | None
    unanimous: bool
    """They agree on every answer."""


@dataclass(frozen=True)
class Audit:
    """What people said of one model's answers, against what each rule says."""

    n: int
    n_refused: int
    provenance: Provenance | None
    """The weakest of the labels'; none where there is no label."""
    kappas: Mapping[Rule, Kappa]

    def document(self) -> dict[str, Any]:
        """As JSON; `read` takes it back."""
        return {
            "n": self.n,
            "n_refused": self.n_refused,
            "provenance": self.provenance,
            "kappa": {name: asdict(k) for name, k in self.kappas.items()},
        }


def rule_of(metric: str) -> Rule | None:
    """The rule that `instrument.metric` stands on; None where it counts no refusals."""
    if metric.split(".")[0] not in COUNTING:
        return None
    return "strings" if metric in BY_STRINGS or metric.endswith("_published") else "opening"


def audit(answers: Sequence[str], refused: Sequence[bool], *, provenance: Provenance | None) -> Audit:
    """Each rule against what people said of the same answers."""
    kappas = {name: kappa([rule(answer) for answer in answers], refused) for name, rule in RULES.items()}
    return Audit(len(answers), sum(refused), provenance, kappas)


def read(document: Mapping[str, Any]) -> Audit:
    """The audit that `document` wrote."""
    kappas = {name: Kappa(**document["kappa"][name]) for name in RULES if name in document["kappa"]}
    return Audit(document["n"], document["n_refused"], document["provenance"], kappas)


def kappa(ours: Sequence[bool], theirs: Sequence[bool]) -> Kappa:
    """Cohen's kappa (1960); its interval is that of the agreement (Wilson's), with what chance gives held still."""
    n = len(ours)
    agreed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / n if n else 0.0
    value = cohen_kappa(list(zip(ours, theirs, strict=True)))
    if value is None or len(set(ours)) < 2 or len(set(theirs)) < 2:
        return Kappa(None, None, None, agreed == 1)
    a, b = sum(ours) / n, sum(theirs) / n
    by_chance = a * b + (1 - a) * (1 - b)
    low, high = (
        (limit - by_chance) / (1 - by_chance) for limit in statistics.wilson(round(agreed * n), n, level=LEVEL)
    )
    return Kappa(value, max(-1.0, low), min(1.0, high), agreed == 1)


def unproven(rule: Rule, model: str, found: Audit | None, config: GateConfig, *, simulated: bool) -> str | None:
    """Why what `rule` found in this model's answers may not be judged; None where it may.

    Labels of people count, and in a made world its truth: never a judge's or a script's. Where a model refuses all or
    nothing kappa does not exist, and nothing less than full agreement will do.
    """
    wanted = f"{config.detector_labels} of people's labels of this model's answers"
    if found is None or found.n == 0:
        return f"the detector of refusals is unproven: {wanted} are missing; take them with an `audit`"
    if found.provenance != "human" and not (simulated and found.provenance == "simulated"):
        return f"the detector of refusals is unproven: the labels are `{found.provenance}`, not `human`"
    if found.n < config.detector_labels:
        return f"the detector of refusals is unproven: {found.n} labels found, {wanted} are needed"
    agreed = found.kappas.get(rule)
    if agreed is None:
        return f"the detector of refusals is unproven: the audit does not speak of the rule `{rule}`"
    if agreed.value is None:
        said = f"{found.n_refused} of {found.n} labels are refusals, and of one kind alone kappa says nothing"
        return None if agreed.unanimous else f"the detector of refusals is unproven: {said}"
    if agreed.value < config.detector_kappa:
        return (
            f"the detector of refusals is wrong about this model: kappa {agreed.value:.2f} "
            f"[{agreed.low:.2f}, {agreed.high:.2f}] over {found.n} labels, at least {config.detector_kappa:g} is needed"
        )
    return None
