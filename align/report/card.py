"""The model card: what the model was made from and how, what was measured, what it must not be trusted with."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from align.configs import ExportConfig
from align.evals.instruments import INSTRUMENTS
from align.records import GateVerdict, Measurement
from align.report.headline import verdict_said
from align.report.licences import together
from align.report.measures import PART_NAMES, panels, title, wins
from align.report.numbers import DASH, count, interval, number
from align.report.view import RunView

TRAINED_ON = ("text", "demonstrations", "prompts", "preferences", "judgments")
"""Parts of the data that end up in the weights; benchmarks do not."""
METHODS = {
    "sft": "Supervised fine-tuning",
    "dpo": "Preference tuning by DPO (Rafailov et al. 2023, arXiv:2305.18290)",
    "kto": "Tuning on single answers by KTO (Ethayarajh et al. 2024, arXiv:2402.01306)",
    "reward": "Reward model (Bradley & Terry 1952)",
    "rlhf": "Reinforcement learning from rewards",
}
COSTS_ONLY = ("checkpoint_every", "eval_every", "gradient_checkpointing", "keep_optimizer")
"""Knobs that change what training costs and not what it gives."""
GENERAL_LIMITS = (
    "What was not measured here is not known: no instrument above speaks of other languages, topics or longer talks.",
    "A pass says that the measured losses stay under the recipe's margins, not that the model is safe.",
)


def card(view: RunView, config: ExportConfig) -> str:
    """The README.md of an exported model. It holds no path and no time: equal artifacts give equal cards."""
    licence = together(_licences(view))
    sections = [
        _front(view, config, config.licence or licence.name),
        f"# {_line(view.title or 'A model tuned from preferences')}",
        "Tuned from preferences and measured with `align` (align-prefs).",
        _simulated(view),
        _use(view, config),
        _went_in(view, config, licence.why),
        _method(view),
        _measured(view),
        _gate(view),
        _limits(view),
        _lineage(view),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front(view: RunView, config: ExportConfig, licence: str | None) -> str:
    """What the hub reads: YAML between dashes."""
    from ruamel.yaml import YAML

    base = _base(view)
    adapter = config.form == "adapter"
    known = {"license": licence.lower() if licence else "unknown"}
    if licence and re.fullmatch(r"[A-Za-z0-9.+-]+", licence) is None:
        known = {"license": "other", "license_name": licence}
    datasets = [source["name"] for source in _sources(view) if source.get("revision")]
    tags = ["align-prefs", *(step.stage for step in view.steps if step.stage in METHODS)]
    tags += [*(["lora"] if _lora(view) else []), *(["simulated"] if view.simulated else [])]
    fields: dict[str, Any] = {}
    if base.get("name"):
        fields = {"base_model": base["name"], "base_model_relation": "adapter" if adapter else "finetune"}
    fields |= known
    if datasets:
        fields["datasets"] = sorted(set(datasets))
    fields |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(dict.fromkeys(tags)),
    }
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(fields, stream)
    return f"---\n{stream.getvalue()}---"


def _simulated(view: RunView) -> str:
    if not view.simulated:
        return ""
    return (
        "> **Simulated.** The people who judged, or the truth the answers were measured against, are made. "
        "These numbers say that the machinery works; they say nothing about people, and the model is a toy."
    )


def _use(view: RunView, config: ExportConfig) -> str:
    if config.form == "adapter":
        return (
            "## Use\n\nAn adapter: it belongs on the policy it was trained on "
            f"(`{_policy_digest(view)}` in the lineage below), not on another model of the same shape.\n\n"
            "```sh\nvllm serve POLICY --enable-lora --lora-modules tuned=ADAPTER\n```\n\n"
            "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
            'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("POLICY"), "ADAPTER")\n```'
        )
    return (
        "## Use\n\n`MODEL` is the folder that holds `config.json`, or the hub repository.\n\n"
        "```sh\nvllm serve MODEL\n```\n\n"
        "```python\nfrom transformers import pipeline\n\n"
        'chat = pipeline("text-generation", model="MODEL")\n'
        'answer = chat([{"role": "user", "content": "…"}])[0]["generated_text"][-1]["content"]\n```'
    )


def _went_in(view: RunView, config: ExportConfig, why: str) -> str:
    base = _base(view)
    unsaid = "made here" if base.get("scratch") else "unknown"
    rows = [("base model", _base_said(base), base.get("licence") or unsaid, DASH, DASH)]
    for source in _sources(view):
        made = source.get("provenance") == "simulated"
        used = "" if made or source.get("part") in TRAINED_ON else " (measured with, not trained on)"
        rows.append(
            (
                f"{source.get('part', 'data')}{used}",
                f"{source.get('name', 'unnamed')}" + (f" at `{source['revision']}`" if source.get("revision") else ""),
                source.get("licence") or ("made here" if made else "unknown"),
                count(source.get("n_kept")),
                f"`{str(source['digest'])[:16]}`" if source.get("digest") else DASH,
            )
        )
    said = f"declared by whoever exported it; what went in says: {why}" if config.licence else why
    licence = config.licence or together(_licences(view)).name or "unknown"
    return f"## What went in\n\nLicence: **{_line(licence)}**, {said}.\n\n" + table(
        ("part", "name", "licence", "rows used", "sha256"), rows
    )


def _method(view: RunView) -> str:
    parts = []
    for step in view.steps:
        if step.stage in METHODS:
            said = [f"`{name}: {value}`" for name, value in knobs_said(step.config) if name not in COSTS_ONLY]
            parts.append(f"**{METHODS[step.stage]}.** {', '.join(said)}")
        if step.stage == "pair" and (told := step.summary()).get("n_judgments"):
            made = " from simulated people" if view.simulated else ""
            parts.append(
                f"**Preferences.** {count(told['n_judgments'])} judgments{made} of {count(told.get('n_compared'))} "
                f"comparisons gave {count(told.get('n_train'))} pairs to train on and {count(told.get('n_test'))} "
                "held out."
            )
    return "## How\n\n" + "\n\n".join(parts) if parts else ""


def _measured(view: RunView) -> str:
    found = panels(view)
    if not found:
        return "## Measured\n\nNothing was measured."
    parts = [name for name, _ in found[0].rows]
    rows = [
        (panel.title, panel.unit, panel.better.removesuffix(" is better"), *(_number_said(m) for _, m in panel.rows))
        for panel in found
    ]
    head = ("measure", "unit", "better", *(PART_NAMES.get(part, part) for part in parts))
    won = [
        (models, pair.title, _number_said(pair.measurement)) for models, pairs in wins(view).items() for pair in pairs
    ]
    text = (
        "## Measured\n\nEach number with its 95 % interval, the items it stands on, and those that could not be scored."
        f"{' All simulated.' if view.simulated else ''}\n\n" + table(head, rows)
    )
    return text + ("\n\n" + table(("models", "win rate", "share won, ties one half"), won) if won else "")


def _number_said(measurement: Measurement | None) -> str:
    if measurement is None or measurement.value is None:
        return DASH
    m = measurement
    unscored = f", {count(m.n_unscored)} unscored" if m.n_unscored else ""
    return f"{number(m.value, m.unit)} {interval(m.low, m.high, m.unit)} (n {count(m.n)}{unscored})"


def _gate(view: RunView) -> str:
    lines = [line for step in view.of_stage("gate") for line in step.records("verdicts.jsonl", GateVerdict)]
    if view.verdict is None or not lines:
        return "## Gate\n\nNo gate was asked."
    rows = [
        (line.verdict, title(line.instrument, line.metric), PART_NAMES.get(against, against), line.why)
        for line in lines
        for against in [line.against or DASH]
    ]
    return f"## Gate\n\n**{verdict_said(view)}** (`{view.verdict}`).\n\n" + table(
        ("verdict", "measure", "against", "why"), rows
    )


def _limits(view: RunView) -> str:
    measured = {panel.instrument for panel in panels(view)}
    flaws = [
        f"{name.replace('_', ' ')}: {flaw}."
        for name, one in INSTRUMENTS.items()
        if name in measured
        for flaw in one.flaws
    ]
    return "## Limits\n\n" + "\n".join(f"- {_line(limit)}" for limit in (*GENERAL_LIMITS, *flaws))


def _lineage(view: RunView) -> str:
    rows = [
        (step.name, f"`{step.digest}`", ", ".join(parents) or DASH)
        for step in view.steps
        if not step.name.startswith("evaluate/")
        for parents in [
            [
                f"{given.get('step', name)} `{str(given.get('digest'))[:16]}`"
                for name, given in step.inputs.items()
                if "/" not in name
            ]
            or ([f"{len(step.inputs)} measurements"] if step.inputs else [])
        ]
    ]
    text = "## Lineage\n\nEach artifact by the digest of its bytes, and the digests of what it was made from.\n\n"
    return text + table(("artifact", "digest", "made from"), rows)


def _base(view: RunView) -> Mapping[str, Any]:
    step = next((step for step in view.steps if step.name == "base"), None)
    return {} if step is None else {**step.config, **{k: v for k, v in step.summary().items() if k == "licence"}}


def _base_said(base: Mapping[str, Any]) -> str:
    if base.get("name"):
        return f"{base['name']} at `{base.get('revision')}`"
    if base.get("scratch"):
        return "pretrained from scratch on the text below"
    place = base.get("folder") or base.get("gguf")
    return f"local files `{_shown(place)}`" if place else "not stated"


def _sources(view: RunView) -> list[Mapping[str, Any]]:
    return [s for step in view.steps for s in step.summary().get("sources", []) if isinstance(s, Mapping)]


def _licences(view: RunView) -> dict[str, str | None]:
    """What went into the weights and the licence it declares; what was made here asks for none."""
    base = _base(view)
    found = {} if base.get("scratch") else {"the base model": base.get("licence")}
    for source in _sources(view):
        if source.get("provenance") != "simulated" and source.get("part") in TRAINED_ON:
            found[str(source.get("name"))] = source.get("licence")
    return found


def _lora(view: RunView) -> bool:
    return any(step.config.get("lora") for step in view.steps if step.stage in METHODS)


def _policy_digest(view: RunView) -> str:
    step = next((step for step in view.steps if step.stage in ("dpo", "kto", "rlhf")), None)
    return str(step.inputs.get("model", {}).get("digest", DASH)) if step else DASH


def knobs_said(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Each knob that is set, by its dotted name; files by their name, never by their place."""
    for name, value in config.items():
        if value is None or value == [] or value == {} or value == ():
            continue
        if isinstance(value, Mapping) and "sha256" not in value:
            yield from knobs_said(value, f"{above}{name}.")
        else:
            yield above + name, _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{_shown(value.get('file'))} ({str(value.get('sha256'))[:12]})"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    text = str(value)
    return re.split(r"[\\/]", text.rstrip("\\/"))[-1] if re.match(r"/|~|[A-Za-z]:[\\/]", text) else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends inside cells are made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_line(text).replace("|", "\\|") for text in row) + " |" for row in lines)


def _line(text: object) -> str:
    return " ".join(str(text).split())
