"""Supervised fine-tuning and preference tuning."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.configs.adapters import IA3, LoRA, PromptTuning
from align.configs.base import Config, LocalPath, StageConfig


class Keep(Config):
    """What holds the tuned model to the one it began as; 0 is none. The held-out part of the rows is probed anyway."""

    replay: float = Field(0.0, ge=0)
    """Weight of the negative log-likelihood, a token, of rows that the model learnt from before."""
    kl: float = Field(0.0, ge=0)
    """Weight of KL(base ‖ policy), nats a token over the whole vocabulary, on such rows."""
    l2_sp: float = Field(0.0, ge=0)
    """λ of λ/2 ‖θ-θ₀‖², the distance of the weights from the base's (Li et al. 2018, arXiv:1802.01483)."""
    ewc: float = Field(0.0, ge=0)
    """λ of λ/2 Σ F (θ-θ₀)² (Kirkpatrick et al. 2017, arXiv:1612.00796); F is scaled to mean 1, so as to weigh like
    `l2_sp`."""
    rows: LocalPath | None = None
    """A JSONL of demonstrations or text to hold on to. By default `dpo` and `reward` hold on to the recipe's
    demonstrations, `sft` to its text."""
    rows_per_step: int = Field(4, ge=1)
    """Rows of them that each optimizer step sees."""


class TrainingConfig(StageConfig):
    """What every training stage has."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "merge_tolerance", "merge_refusals"})
    """(They say whether the merged model may be saved, not what it is: loosened, the run goes on from its end.)"""

    learning_rate: float = Field(2.0e-5, gt=0, lt=1)
    """Peak, reached after warm-up. LoRA wants about ten times what a full fine-tune does."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_share: float = Field(0.05, ge=0, lt=1)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(16, ge=1)
    """Rows (SFT) or pairs (DPO) an optimizer step, over all devices."""
    micro_batch_size: int | None = Field(None, ge=1)
    """Rows or pairs at once on a device; gradients are added up to `batch_size`. By default as many as fit in
    `row_tokens`."""
    row_tokens: int = Field(4096, ge=64)
    """Most tokens of a packed row, where `micro_batch_size` is left out: what memory is asked for."""
    weight_decay: float = Field(0.0, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    max_tokens: int = Field(1024, ge=8)
    """Longest row in tokens, prompt and answer together."""
    lora: LoRA | None = None
    ia3: IA3 | None = None
    prompt_tuning: PromptTuning | None = None
    freeze: tuple[str, ...] = ()
    """Parameters of a full fine-tune that stay as they are, as patterns: `model.embed_tokens.*`, `*.layers.[0-3].*`."""
    new_tokens: tuple[str, ...] = ()
    """Tokens added to the vocabulary, whose vectors begin as the mean of all and are learnt, beside an adapter too."""
    merge_tolerance: float = Field(1.0e-4, gt=0)
    """Nats a token, at most, by which a model with its adapter merged may part from the model that was trained (mean
    KL on training rows, both in float32; over an int8 base, from that base with the adapter beside it); past it no
    model is saved. What has been saved is not looked at again when it is lowered."""
    merge_refusals: float = Field(0.1, ge=0, le=1)
    """Share of training prompts (of sixteen, greedily answered), at most, that only one of those two models may
    decline; past it no model is saved. Near a tie one token decides, so 0 may refuse a merge that is sound."""
    eval_every: int | None = Field(None, ge=1)
    """Steps between losses on held-out rows; by default at the end of each epoch's tenth."""
    eval_rows: int = Field(256, ge=1)
    """Held-out rows or pairs, at most, that those losses are taken over, drawn once; stage `evaluate` reads all."""
    early_stopping: int | None = Field(None, ge=1)
    """Stop after so many held-out losses without a new lowest one, and keep the model of the lowest."""
    keep: Keep = Keep()
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints: what a kill costs at most."""
    gradient_checkpointing: bool = False
    packed: bool = True
    """Compute a batch as one row without padding, prompts that rows share once; off, or where a family of models has
    attention of its own, rows are padded as TRL pads them. The numbers differ by rounding alone."""
    keep_optimizer: bool = False
    """Keep the last checkpoint's optimizer state in the artifact; by default it goes when the stage is sealed."""

    @model_validator(mode="after")
    def _one_way_of_learning(self) -> Self:
        given = [name for name in ("lora", "ia3", "prompt_tuning") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: stands beside {given[0]}, and only one of them can be; leave one out")
        if given and self.freeze:
            raise ValueError(f"freeze: {given[0]} freezes every weight of the base already; leave `freeze` out")
        if self.new_tokens and given and given != ["lora"]:
            raise ValueError(f"new_tokens: {given[0]} cannot learn them; use lora or a full fine-tune")
        if self.new_tokens and self.lora is not None and self.lora.base != "float32":
            raise ValueError("new_tokens: a quantised base cannot take them; set lora.base: float32")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        if self.micro_batch_size is not None and self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size: {self.micro_batch_size} does not divide batch_size {self.batch_size}")
        return self


class SFTConfig(TrainingConfig):
    """Stage `sft`: imitation of the demonstrations, loss on the assistant's tokens alone."""

    learning_rate: float = Field(2.0e-5, gt=0, lt=1)
    train_on: Literal["assistant", "all"] = "assistant"


DPOLoss = Literal[
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sigmoid_norm",
]  # fmt: skip


class Displacement(Config):
    """What is done when preference tuning pushes its own preferred answers down (Razin et al. 2024, arXiv:2410.08847).

    A look is taken as often as a held-out loss. It is bad where more than half of the chosen answers have become less
    likely than under the reference, and their median change is below 0.
    """

    action: Literal["warn", "add_sft", "stop"] = "warn"
    """A note in the manifest; the likelihood of chosen answers trained too from then on; or an end to training."""
    looks: int = Field(3, ge=1)
    """Bad looks in a row that raise the alarm."""
    sft_weight: float = Field(0.2, gt=0)
    """Weight of the chosen answers' negative log-likelihood a token; only `action: add_sft` uses it."""


class DPOConfig(TrainingConfig):
    """Stage `dpo` (Rafailov et al. 2023, arXiv:2305.18290). The reference is the policy before this stage."""

    learning_rate: float = Field(1.0e-6, gt=0, lt=1)
    beta: float = Field(0.1, gt=0)
    """Price of leaving the reference."""
    loss: DPOLoss = "sigmoid"
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Assumed share of wrong labels; only `robust` and `exo_pair` use it."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of an added negative log-likelihood of the chosen answer."""
    displacement: Displacement = Displacement()
    labels: Literal["side", "soft"] = "side"
    """What a pair's label counts for: the side it is on, or its probability (conservative DPO with an ε for each pair:
    Mitchell 2023), where a tie is a label too; with `soft`, a pair's `epsilon` from labels judged twice goes before its
    label."""
    weigh_by_confidence: bool = False
    """Weigh each pair's loss by its confidence, scaled to 1 on average."""
    margin_weight: float = Field(0.0, ge=0)
    """Nats of implicit reward that a pair must be apart for each unit of its margin (Amini et al. 2024,
    arXiv:2402.10571)."""

    @property
    def weighed(self) -> bool:
        """Whether pairs differ in what they cost beyond their sides."""
        return self.labels == "soft" or self.weigh_by_confidence or self.margin_weight > 0

    @model_validator(mode="after")
    def _expected_loss_is_known(self) -> Self:
        if self.weighed and self.loss not in ("sigmoid", "hinge", "ipo", "sigmoid_norm"):
            raise ValueError(
                f"loss: `{self.loss}` has no soft labels, confidences or margins; use sigmoid, hinge, ipo or "
                "sigmoid_norm, or leave out labels, weigh_by_confidence and margin_weight"
            )
        if self.margin_weight and self.loss == "ipo":
            raise ValueError("margin_weight: `ipo` would ignore it; use loss: sigmoid")
        return self

    @model_validator(mode="after")
    def _smoothing_is_used(self) -> Self:
        if self.label_smoothing and self.loss not in ("robust", "exo_pair"):
            raise ValueError(f"label_smoothing: `{self.loss}` would ignore it; use loss: robust")
        if self.loss in ("robust", "exo_pair") and not self.label_smoothing:
            raise ValueError(f"label_smoothing: `{self.loss}` needs it above 0")
        return self


class KTOConfig(TrainingConfig):
    """Stage `kto` (Ethayarajh et al. 2024, arXiv:2402.01306): single answers, good or bad."""

    learning_rate: float = Field(1.0e-6, gt=0, lt=1)
    beta: float = Field(0.1, gt=0)
    """Price of leaving the reference."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`apo_zero_unpaired` needs no estimate of the KL (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""
    desirable_weight: float = Field(1.0, ge=0)
    """Weight of good answers. Where there are n times as many bad ones, n to 4n/3 is advised (eq. 8)."""
    undesirable_weight: float = Field(1.0, ge=0)
    micro_batch_size: int | None = Field(None, ge=2)
    """At least 2: the KL is estimated from an answer beside another's prompt."""
    flags: LocalPath | None = None
    """A JSONL of `prompt`, `completion` (text or messages) and `label` (true or false), beside the recipe's pairs, each
    of which is taken apart into a good answer and a bad one."""
