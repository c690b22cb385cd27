"""Candidates: which prompts are answered, by whom, how the answers are drawn, and on what engine."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, model_validator

from align.configs.base import Config, LocalPath, Secret, StageConfig

Engine = Literal["transformers", "vllm", "server"]


class SamplingConfig(Config):
    """How answers are drawn."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    temperature: float = Field(0.8, ge=0, le=10)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(128, ge=1)
    """Longest answer."""
    batch_size: int = Field(32, ge=1)
    """Sequences at once with `engine: transformers`; changes speed only."""
    chat_template_kwargs: dict[str, JsonValue] = {}
    """Passed to the chat template, `{"enable_thinking": false}` for instance."""
    logprobs: bool = False
    """Keep the log-probability of each answer, before temperature and top_p, in nats."""
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field((), max_length=16)
    """Texts that end an answer beside the model's own end of turn; what is kept ends before the first of them."""
    stop_tokens: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field((), max_length=16)
    """Tokens of the model, by their text, that end an answer too: `<|eot|>`, for instance, which no text can name."""

    def keyed(self) -> dict[str, Any]:
        """Without what asks for nothing."""
        return {name: value for name, value in super().keyed().items() if value or not name.startswith("stop")}


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("a URL that cannot be read found, expected http(s)://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_fits:
        raise ValueError(f"{shown!r} found, expected http(s)://HOST:PORT")
    if parts.username or parts.password or parts.query:
        raise ValueError(f"{shown}: holds a name, password or query; name the key's variable in generate.server.key")
    return value.rstrip("/").removesuffix("/v1")


Endpoint = Annotated[str, AfterValidator(_endpoint)]


class ServerConfig(Config):
    """OpenAI-compatible endpoints: some that already run, or one of vLLM's that is started and stopped here."""

    unkeyed: ClassVar[frozenset[str]] = frozenset(
        {"urls", "launch", "key", "in_flight", "deadline_s", "attempts", "patience_s"}
    )

    urls: tuple[Endpoint, ...] = ()
    """`http://host:port` of each; they must serve the same model."""
    launch: bool = False
    """Start vLLM's server for the stage's model, on loopback with a random key, and stop it at the end."""
    key: Secret | None = None
    """Which variable holds the endpoints' key."""
    model: str | None = None
    """The name the endpoints serve the stage's model under; by default the only one they serve."""
    api: Literal["tokens", "chat"] = "tokens"
    """`tokens` sends token ids made here to `/v1/completions`, so that the template is ours (vLLM); `chat` sends
    messages to `/v1/chat/completions`, and the template is the endpoint's."""
    in_flight: int = Field(64, ge=1, le=10_000)
    """Most requests under way at one endpoint."""
    deadline_s: float = Field(600, gt=0)
    """Longest wait for one request, in seconds."""
    attempts: int = Field(8, ge=1, le=100)
    """How often one request is tried where the endpoint spoils its answer."""
    patience_s: float = Field(300, gt=0)
    """How long no endpoint may answer at all before the run stops; what is finished is kept."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.launch and (self.urls or self.key):
            raise ValueError(
                "give `launch: true` or `urls` (with `key`), not both: one is started here, the others run"
            )
        return self


class VLLMConfig(Config):
    """How a vLLM engine is started, offline or as a server launched here."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"python", "kv_cache_gib", "gpu_memory", "in_flight", "silence_s"})

    python: LocalPath | None = None
    """A Python that has vLLM; by default this one, else the environment of `make vllm-cpu`."""
    kv_cache_gib: int = Field(1, ge=1)
    """On CPU: memory for keys and values."""
    gpu_memory: float = Field(0.9, gt=0, le=1)
    """On GPU: share of its memory."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one model."""
    context: int | None = Field(None, ge=16)
    """Longest prompt and answer together; by default the model's own."""
    sequences: int | None = Field(None, ge=1)
    """Sequences at once; by default vLLM's own choice."""
    enforce_eager: bool | None = None
    """Without compiling; by default so on CPU alone."""
    in_flight: int = Field(512, ge=1)
    """Prompts handed to the engine before the first comes back."""
    silence_s: float = Field(900, gt=0)
    """How long the engine may say nothing, loading included, before it is taken for dead."""


class Writer(Config):
    """One of several models that answer in one stage."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """What its candidates call it."""
    model: Literal["base", "sft"] | None = None
    """An earlier model of the recipe's own, instead of the one that the stage is given."""
    adapter: LocalPath | None = None
    """A LoRA adapter on that model, by a folder; without it, the model itself."""
    served: str | None = None
    """With `engine: server`: the name the endpoints serve this one under."""
    temperature: float | None = Field(None, ge=0, le=10)
    top_p: float | None = Field(None, gt=0, le=1)
    samples_per_prompt: int | None = Field(None, ge=1, le=1024)

    def keyed(self) -> dict[str, Any]:
        """Without the model where it is the stage's."""
        return {name: value for name, value in super().keyed().items() if not (name == "model" and value is None)}


class Drawing(SamplingConfig):
    """What the whole stage and one step of it share."""

    unkeyed: ClassVar[frozenset[str]] = SamplingConfig.unkeyed | {"engine", "preflight"}

    engine: Literal["auto", "transformers", "vllm", "server"] = "auto"
    """`auto` takes vLLM where it is installed beside us, else transformers; what was taken enters the key."""
    server: ServerConfig = ServerConfig()
    vllm: VLLMConfig = VLLMConfig()
    preflight: Literal["auto", "full", "tokens", "off"] = "auto"
    """What is compared with the engine before it is used: `tokens` compares token ids and the model's name, `full` also
    log-probabilities with those of transformers. `auto` is full for models of up to two gigabytes."""
    writers: tuple[Writer, ...] = ()
    """Several models or adapters that answer each prompt; by default the stage's model alone."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.engine == "server" and not (self.server.launch or self.server.urls):
            raise ValueError("engine: `server` needs server.urls, or server.launch: true")
        names = [writer.name for writer in self.writers]
        if len(set(names)) != len(names):
            raise ValueError("writers: two of one name; their candidates could not be told apart")
        for writer in self.writers:
            if self.engine == "server" and self.server.urls and writer.model and not writer.served:
                raise ValueError(
                    f"writers.{writer.name}.served: missing; under which name do the endpoints serve `{writer.model}`?"
                )
        return self

    def for_model(self, model: str | None) -> Self:
        """What the engine of one model is told: the writers that write with it, and the name it is served under."""
        own = tuple(writer for writer in self.writers if writer.model == model)
        server = self.server
        if model is not None and server.urls:
            name = next((writer.served for writer in own if writer.adapter is None), server.model)
            server = server.model_copy(update={"model": name})
            own = tuple(w.model_copy(update={"served": None}) if w.served == name else w for w in own)
        return self.model_copy(update={"writers": own, "server": server})

    def keyed(self) -> dict[str, Any]:
        """Without the knobs of engines that are not asked."""
        return {
            name: value
            for name, value in super().keyed().items()
            if not (name == "server" and self.engine != "server")
            and not (name == "vllm" and self.engine in ("transformers", "auto"))
        }


class GenerateConfig(Drawing, StageConfig):
    """Stage `generate`."""

    samples_per_prompt: int = Field(4, ge=1, le=1024)


class GenerateStep(Drawing):
    """What one step of the stage needs: which prompts, how many samples."""

    of: Literal["prompts", "test_prompts"] = "prompts"
    samples_per_prompt: int = Field(1, ge=1, le=1024)
