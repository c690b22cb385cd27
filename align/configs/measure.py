"""Measuring and judging: two stages, so that a changed margin reruns no measurement."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.configs.argilla import ArgillaConfig
from align.configs.base import Config, LocalPath
from align.configs.judge import JudgeConfig
from align.configs.labels import LabelConfig
from align.configs.sampling import SamplingConfig

Form = Literal["plain", "chat"]


class BenchmarkData(Config):
    """Where the published data of one instrument lie."""

    path: LocalPath | None = None
    """The folder or file, in the published format."""
    hub: str | None = None
    """A hub data set id; needs `revision`."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    subset: str | None = None
    split: str = "test"
    max_items: int | None = Field(None, ge=1)
    """Take so many of each kind (a category, a type), chosen by hash and not by place."""
    form: Form = "chat"
    """How questions with options are put: `chat` asks in the model's chat template and scores the whole answer with its
    end of turn; `plain` asks in plain text. Instruments that compare sentences always score plain text."""
    max_tokens: int | None = Field(None, ge=1, le=8192)
    """Longest answer that is drawn; the instrument's own where it is left out."""
    judge: JudgeConfig | None = None
    """For instruments that need a served classifier or grader: where it is served."""
    template: LocalPath | None = None
    """For a classifier that reads a text of its authors' (`harmbench_cls`, `wildguard`): a file that holds it, copied
    from the model card; it is theirs, and comes with no library."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path, hub")
        if self.hub is not None and self.revision is None:
            raise ValueError("hub: a hub data set needs `revision` (40 hex digits), so that the run can be repeated")
        return self


class BenchmarkStep(Config):
    """What one step of the stage `benchmark` needs."""

    instrument: str
    path: LocalPath | None = None
    hub: str | None = None
    revision: str | None = None
    subset: str | None = None
    split: str = "test"
    max_items: int | None = None


class PeopleConfig(Config):
    """Two models' answers to held-out prompts, judged blind at a desk; measured as `people_win_rate`."""

    model: Literal["base", "sft", "tuned"] = "tuned"
    against: Literal["base", "sft"] | None = None
    """The other model; by default the policy before preference tuning."""
    prompts: int = Field(100, ge=1)
    """At most so many held-out prompts, chosen by hash."""
    label: LabelConfig | None = None
    """Who judges, as in the section `label`; by default those who sit at the desk of that section."""

    @model_validator(mode="after")
    def _two_models(self) -> Self:
        if self.model == self.against:
            raise ValueError(f"{self.model} against itself; name another model")
        return self


Comparator = Literal["base", "sft", "previous"]


class HarnessConfig(Config):
    """Benchmarks by name through lm-eval, for what it has and we have not; needs the extra `eval`."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of lm-eval's tasks, groups or tags, or of those in `folder`."""
    folder: LocalPath | None = None
    """A folder of task files of one's own. What they name as Python is run: read them first."""
    only_folder: bool = False
    """Do not look at lm-eval's own tasks, which takes it seconds."""
    examples: int | None = Field(None, ge=0)
    """Shown before each question; as the task says where left out."""
    max_items: int | None = Field(None, ge=1)
    """The first so many of each task."""
    form: Form = "chat"
    """`chat` asks in the model's chat template and scores the whole answer with its end of turn, which is not how the
    harness's own figures are made; `plain` is. Answers are always drawn in the chat template."""
    max_tokens: int = Field(256, ge=1, le=8192)
    """Longest answer that is drawn."""


class EvaluateConfig(Config):
    """Stage `evaluate`: one artifact a model and instrument."""

    instruments: tuple[str, ...] = ()
    """Names from `align evaluate --list`."""
    models: tuple[Literal["base", "sft", "tuned"], ...] = ("base", "sft", "tuned")
    answers: SamplingConfig = SamplingConfig(temperature=0.0)
    """How the answers are drawn that instruments read."""
    samples_per_prompt: int = Field(1, ge=1, le=64)
    """Answers drawn for each prompt; an item's score is their mean, so more of them narrow the intervals a little."""
    max_items: int | None = Field(None, ge=1)
    """Measure at most so many items of each kind, chosen by hash."""
    people: PeopleConfig | None = None
    """Have people say which of two models answers better; the run waits for them like `label` does."""
    lm_eval: HarnessConfig | None = None
    """Measured as the instrument `lm_eval`, a metric `lm_eval.TASK.METRIC` each."""
    benchmarks: dict[str, BenchmarkData] = {}
    """By the name of an instrument that reads published data: where they lie. Each that is named is measured."""


class EvaluateStep(Config):
    """What one step of the stage needs: one model, one instrument."""

    instrument: str
    model: str
    """The model's part in the run: `base`, `sft` or `tuned`."""
    max_items: int | None = None
    form: Form = "plain"
    judge: JudgeConfig | None = None
    """For instruments that need a served classifier or grader."""
    template: LocalPath | None = None
    """The text that the classifier reads, in a file."""
    against: str | None = None
    """For `people_win_rate`: the other model's part."""


class HarnessStep(HarnessConfig):
    """What one step of the stage `harness` needs."""

    model: str = "tuned"
    """The model's part in the run."""


class AuditConfig(Config):
    """Stage `audit`: people say which of a model's answers refuse, so that the detector of refusals can be trusted."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"judgments"})

    desk: Literal["simulated", "file", "argilla"] = "simulated"
    """`simulated` is the truth of the testbed; there is no audit by it of anything else."""
    argilla: ArgillaConfig = ArgillaConfig()
    """For `desk: argilla`: the server, and the data set in which answers are read one by one, `refusals` where it is
    not named."""
    judgments: LocalPath | None = None
    """For `desk: file`: a JSONL that people append to, `comparison_id`, `annotator`, `provenance` and `choice`
    (`answers` or `refuses`) a row; the answers to read are written beside it, as `<name>.comparisons.jsonl`."""
    published: LocalPath | None = None
    """Instead of a desk: labels of this model's answers that somebody published, a JSONL of `answer` and `refused`."""
    answers: int = Field(120, ge=1)
    """So many answers are read, chosen by hash; all where there are fewer."""
    annotators_per_answer: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.desk == "file" and (self.judgments is None) == (self.published is None):
            raise ValueError("desk: file needs exactly one of judgments, published")
        if self.desk != "file" and (self.judgments or self.published):
            raise ValueError("judgments, published: are read with `desk: file`")
        return self

    @property
    def there(self) -> ArgillaConfig:
        """The server and the data set on it."""
        named = "dataset" in self.argilla.model_fields_set
        return self.argilla if named else self.argilla.model_copy(update={"dataset": "refusals"})

    def keyed(self) -> dict[str, Any]:
        """Without the knobs of a server that is not asked."""
        known = super().keyed()
        return known if self.desk == "argilla" else {name: known[name] for name in known if name != "argilla"}


RAW_WINS = ("win_rate.raw", "people_win_rate.raw")


class Margin(Config):
    """One line of the gate."""

    metric: str
    """`instrument.metric`, as measurements name it."""
    model: Literal["base", "sft", "tuned"] = "tuned"
    against: Comparator | None = "sft"
    """Paired with this model item by item; none for an absolute bound. `previous` is the release of `gate.previous`."""
    at_most_worse: float | None = None
    """With `against`: the largest acceptable loss, in the metric's unit; for a metric where neither way is better, the
    largest change."""
    at_most_larger: float | None = None
    """With `against`: by how much the metric may lie further from 0 than the comparator's does, whichever way."""
    fair_length: bool = False
    """With a win rate's `at_least`: a second line asks for the rate at equal length (`evals/fair_length.py`)."""
    relative: bool = False
    """`at_most_worse` is a share of what `against` has."""
    at_least: float | None = None
    """An absolute floor that the interval must clear; for a win rate over `against`."""
    at_most: float | None = None
    """An absolute ceiling that the interval must stay under."""
    direction: Literal["higher", "lower", "neither"] | None = None
    """Which way is better, where not as the metric says itself."""
    alpha: float | None = Field(None, gt=0, lt=0.5)
    """Instead of the gate's own."""
    min_coverage: float | None = Field(None, ge=0, le=1)
    """Instead of the gate's own, for a metric that leaves some items out by its nature."""
    min_items: int | None = Field(None, ge=1)
    """Fewer scored items than this are an error."""
    cluster: str | None = None
    """What items have in common: a field of the scores' `meta`, or `item` for nothing at all; otherwise what the
    instrument says."""
    strict: bool = False
    """Fail whatever is surely worse, however little."""

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        paired = self.at_most_worse is not None or self.at_most_larger is not None
        if not paired and self.at_least is None and self.at_most is None:
            raise ValueError(f"{self.metric}: no bound; give at_most_worse, at_most_larger, at_least or at_most")
        if paired and self.against is None:
            raise ValueError(f"{self.metric}: at_most_worse needs `against`: worse than which model?")
        if self.fair_length and (self.metric not in RAW_WINS or self.at_least is None):
            raise ValueError(f"{self.metric}: fair_length needs at_least, and one of {', '.join(RAW_WINS)}")
        if self.compares and (paired or self.against is None):
            raise ValueError(f"{self.metric}: compares two models already; give `against` and at_least or at_most")
        if self.opponent == self.model:
            raise ValueError(f"{self.metric}: {self.model} against itself; name another model")
        return self

    @property
    def compares(self) -> bool:
        """The metric itself is of two models."""
        return self.metric.startswith("win_rate.")

    @property
    def opponent(self) -> Comparator | None:
        """The model that must have been measured too, if a bound needs one."""
        paired = self.at_most_worse is not None or self.at_most_larger is not None
        return self.against if self.compares or paired else None


class GateConfig(Config):
    """Stage `gate`."""

    margins: tuple[Margin, ...] = ()
    """None of the recipe's own: the default lines of `align/evals/gates.py`, for what was measured."""
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """One-sided error rate of each line."""
    min_coverage: float = Field(0.98, ge=0, le=1)
    """Least share of items that must have been scored; below it the verdict is `error`."""
    accept_inconclusive: tuple[str, ...] = ()
    """Metrics whose `inconclusive` does not block."""
    previous: tuple[LocalPath, ...] = ()
    """The release before this one: artifacts of `evaluate`, or folders that hold some, one an instrument. Their items
    must be the same."""
    detector_kappa: float = Field(0.8, ge=-1, le=1)
    """What stands on found refusals is in error unless people's labels of this model's answers agree so well."""
    detector_labels: int = Field(100, ge=1)
    """And unless there are so many of them."""
    on_fail: Literal["stop", "report"] = "stop"
    """`report` tells without stopping."""
