"""Reinforcement learning from a reward model: what is rewarded, what it may cost, and when to stop."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from align.configs.base import Config, LocalPath
from align.configs.judge import JudgeConfig
from align.configs.training import Keep, TrainingConfig


class Term(Config):
    """One reward: exactly one of `model`, `hub`, `url`, `judge`, `function`, `rule`."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"url"})

    url: str | None = Field(None, pattern=r"^https?://")
    """Where `align score MODEL --serve` answers. Its place is no part of a result; `served` says what is there."""
    served: str | None = None
    """What is served at `url`, a name or digest of your own: another name is another reward."""
    model: Literal["stage"] | LocalPath | None = None
    """`stage` is the recipe's own reward model; else a folder with any one-label sequence classifier."""
    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """A hub id with such a classifier; needs `revision`."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    judge: JudgeConfig | None = None
    """A served chat model that rates each answer, 1 to 10, by its `rubric`. What it says is kept: a run that was
    killed does not ask again; `min_readable` of its replies must be a rating."""
    function: str | None = Field(None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`package.module:name` of a function of (prompt, answer), a list of messages and a text, that gives a number. Its
    module's source enters the key."""
    rule: Literal["length", "format", "refusal"] | None = None
    """`length`: 0 up to `words`, then -1 for each such length more. `format`: 1 where the whole answer matches
    `pattern`, else 0. `refusal`: on prompts of a harmful kind 1 for declining and -1 for not, on others -1 for
    declining and 0 for not."""
    words: int = Field(100, ge=1)
    pattern: str | None = None
    name: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    """What it is called in logs; by default after what it is."""
    weight: float = Field(1.0, gt=-1000, lt=1000)
    clip: tuple[float, float] | None = None
    """Scores outside are cut to these before they are weighed."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [k for k in ("model", "hub", "url", "judge", "function", "rule") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give exactly one of model, hub, url, judge, function, rule; found {' and '.join(given) or 'none'}"
            )
        if (self.url is None) != (self.served is None):
            raise ValueError("served: belongs to `url`, which needs it: say which reward model answers there")
        if (self.hub is None) != (self.revision is None):
            raise ValueError(
                "revision: belongs to `hub`, which needs it (40 hex digits), so that a run can be repeated"
            )
        if (self.rule == "format") != (self.pattern is not None):
            raise ValueError("pattern: belongs to `rule: format`, which needs it")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip: {self.clip[0]:g} found below {self.clip[1]:g}, expected the lower bound first")
        return self

    @property
    def label(self) -> str:
        """Its name."""
        if self.name:
            return self.name
        if self.url is not None:
            return "served"
        if self.judge is not None:
            return "judge"
        return self.rule or (self.function or "reward_model").rpartition(":")[2].lower()

    def keyed(self) -> dict[str, Any]:
        """With a function's source, for a changed function is another reward."""
        document = super().keyed()
        if self.function is not None:
            document["source"] = hashlib.sha256(source(self.function).read_bytes()).hexdigest()
        return document


def source(function: str) -> Path:
    """The file of a function's module; ValueError where there is none."""
    module = function.partition(":")[0]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # at the end, so that nothing here can stand in for a package
    try:
        spec = find_spec(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"function: the module {module} cannot be found ({error})") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ValueError(f"function: the module {module} cannot be found; run from where it can be imported")
    return Path(spec.origin)


class Watch(Config):
    """What stands outside the reward and is looked at on the way, on prompts that are not trained on."""

    by: Literal["auto", "second_model", "testbed", "none"] = "auto"
    """Who judges the held-out reward: a reward model trained on the other half of the pairs, from another seed, or the
    testbed's truth. `auto` takes the testbed's truth where there is one, else a second model."""
    prompts: int = Field(128, ge=8)
    """Prompts, at most, that are kept from training to be answered twice at each look, and never more than a fifth of
    all. The fewer, the larger the fall that can be told from noise."""
    every: int | None = Field(None, ge=1)
    """Steps between looks; by default a tenth of the run."""
    standard_errors: float = Field(2.5, gt=0, le=10)
    """How many standard errors of the paired difference the held-out reward may lie below its best while the trained
    reward rises, more where prompts are few (by Student's t). A run of ten looks in which nothing changes is alarmed at
    2 in 25 % of cases, at 2.5 in 8 % and at 3 in 2 % where looks share most of their noise, as by equal seeds they do;
    in 48, 20 and 5 % where each has noise of its own. The larger it is, the later it speaks."""
    on_alarm: Literal["warn", "stop"] = "warn"
    """`stop` ends training at an alarm and keeps the model of the best look."""


class BestOf(Config):
    """Stage `best_of`."""

    keep: int = Field(1, ge=1)
    """Answers of each prompt that are kept, the best first."""


class Budget(Config):
    """A cost that must stay below a budget, its price learnt on the way (Dai et al. 2023, arXiv:2310.12773, eq. 6)."""

    cost: Term
    budget: float
    """Most that the cost may be, as the mean of a batch."""
    rate: float = Field(0.1, gt=0)
    """How fast the price follows: λ ← max(0, λ + rate · (mean cost - budget)), once a step."""
    start: float = Field(1.0, ge=0)
    """λ at the start."""


class Engine(Config):
    """What draws the answers to learn from."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"url", "memory_share"})

    name: Literal["transformers", "vllm", "vllm_server"] = "transformers"
    """`transformers`: our own sampler, everywhere, the same answers after a kill. `vllm`: in this process, which needs
    a GPU and vLLM in this environment; `vllm_server`: a `trl vllm-serve` elsewhere, on a GPU too. TRL moves the weights
    to both, which fails on a CPU; their answers are not drawn the same way twice."""
    url: str | None = Field(None, pattern=r"^https?://")
    """Where `trl vllm-serve` answers."""
    rows_at_once: int = Field(32, ge=1)
    """Answers that `transformers` draws together; more are faster on a GPU and take more memory."""
    memory_share: float = Field(0.3, gt=0, lt=1)
    """Share of the GPU's memory that `vllm` takes beside the policy."""

    @model_validator(mode="after")
    def _a_server_has_a_place(self) -> Self:
        if (self.url is None) != (self.name != "vllm_server"):
            raise ValueError("url: belongs to `name: vllm_server`, which needs it")
        return self


class RLHFConfig(TrainingConfig):
    """Stage `rlhf`: the policy learns from the rewards of its own answers. The reference is the policy before it.

    `batch_size` counts answers, so a step sees `batch_size / samples_per_prompt` prompts.
    """

    unkeyed: ClassVar[frozenset[str]] = TrainingConfig.unkeyed | {"best_of"}

    algorithm: Literal["grpo", "rloo"] = "grpo"
    """GRPO (Shao et al. 2024, arXiv:2402.03300) or RLOO (Ahmadian et al. 2024, arXiv:2402.14740), as TRL has them."""
    learning_rate: float = Field(1.0e-6, gt=0, lt=1)
    batch_size: int = Field(64, ge=2)
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; by default what `epochs` over the prompts take."""
    samples_per_prompt: int = Field(8, ge=2, le=256)
    """Answers of a group, which are compared with each other."""
    beta: float = Field(0.05, ge=0)
    """Price of leaving the reference, a nat. GRPO adds it to the loss by the k3 estimator, token by token; RLOO takes
    it from the reward by k1, over the answer (Schulman 2020, "Approximating KL divergence")."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Whether advantages are divided by the standard deviation of their group's rewards, of the batch's, or not at
    all (`grpo` only)."""
    loss: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    """How `grpo` averages over tokens, by TRL's names: over all of the batch (`dapo`, arXiv:2503.14476), answer by
    answer (`grpo`), by a constant length (`dr_grpo`, arXiv:2503.20783), or over the micro-batch (`bnpo`)."""
    epsilon: float = Field(0.2, gt=0, lt=1)
    """Clipping of the ratio of new to old policy; matters with `iterations` above 1."""
    iterations: int = Field(1, ge=1)
    """Updates on the same answers."""
    aggregate: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize"
    """How `grpo` makes one advantage of several rewards: their weighed sum in units of its group's spread, so that a
    reward on a larger scale counts for more, or each in units of its own spread first (TRL's names)."""
    temperature: float = Field(1.0, gt=0, le=10)
    top_p: float = Field(1.0, gt=0, le=1)
    max_answer_tokens: int = Field(128, ge=1)
    learn_from_cut: bool = True
    """Whether an answer that was cut at `max_answer_tokens` teaches anything, scored as if it had ended."""
    engine: Engine = Engine()
    rewards: tuple[Term, ...] = (Term(model="stage"),)
    watch: Watch = Watch()
    cost: Budget | None = None
    best_of: int = Field(0, ge=0, le=256)
    """Also measure what the reward model alone gives: the best of so many answers of the policy before this stage, by
    its scores, as the model `best_of_n`. 0 leaves it out."""
    rollouts_kept: int = Field(20_000, ge=0)
    """Answers, at most, that are kept with their rewards; a sample by hash where there are more."""

    @field_validator("rewards")
    @classmethod
    def _some_and_distinct(cls, terms: tuple[Term, ...]) -> tuple[Term, ...]:
        if not terms:
            raise ValueError("found none, expected at least one reward")
        return terms

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [term.label for term in (*self.rewards, *((self.cost.cost,) if self.cost else ()))]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rewards: two of them (or the cost) are called {twice[0]!r}; give each a `name`")
        if self.cost is not None and self.cost.cost.weight != 1:
            raise ValueError("cost: its weight is learnt; leave `weight` out, and scale `budget`")
        return self

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.keep != Keep():
            raise ValueError("keep: `rlhf` is held to its reference by `beta`, and to nothing else; leave `keep` out")
        if self.eval_every is not None:
            raise ValueError("eval_every: the loss of `rlhf` measures nothing; use watch.every")
        if self.algorithm == "rloo":
            for name in ("scale_rewards", "loss", "aggregate"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: `rloo` would ignore it; leave it out")
        return self

    @model_validator(mode="after")
    def _can_be_drawn_from(self) -> Self:
        if self.prompt_tuning is not None or self.new_tokens or (self.lora is not None and self.lora.base != "float32"):
            raise ValueError(
                "rlhf: prompt_tuning, new_tokens and a quantised base are not for rollouts; use lora, ia3 or a full "
                "fine-tune"
            )
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        micro = self.micro_batch_size or self.batch_size
        for what, n in (("batch_size", self.batch_size), ("micro_batch_size", micro)):
            if n % self.samples_per_prompt:
                raise ValueError(f"{what}: {n} is not a multiple of samples_per_prompt {self.samples_per_prompt}")
        if self.early_stopping is not None:
            raise ValueError("early_stopping: the loss of `rlhf` measures nothing; use watch.on_alarm")
        return self

    @property
    def models(self) -> tuple[Term, ...]:
        """Every reward and cost that a model gives."""
        terms = (*self.rewards, *((self.cost.cost,) if self.cost else ()))
        return tuple(term for term in terms if term.model is not None or term.hub is not None)
