"""Any OpenAI-compatible endpoints as a sampler, one of vLLM's that is started here included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from align.adapters.asking import Asking
from align.adapters.courier import Courier
from align.adapters.preflight import preflight
from align.adapters.served import Shown, served
from align.adapters.turns import Turns, context_of
from align.adapters.vllm import environment
from align.adapters.vllm.launch import Launched
from align.adapters.wire import Wire
from align.configs import Drawing, RuntimeConfig, SamplingConfig, Writer
from align.errors import BackendError, UsageError
from align.ports import Sample, SampleRequest, Unanswered
from align.recipe import secret


class ServerSampler:
    """Draws answers from endpoints that serve the stage's model, and the writers its recipe names."""

    consecutive = True

    def __init__(self, folder: Path, config: Drawing, runtime: RuntimeConfig) -> None:
        self.folder, self.config, self.runtime = folder, config, runtime
        self.made_with: Mapping[str, Any] = {"engine": "server", "api": config.server.api}
        self._found = environment.find(config.vllm) if config.server.launch else None
        if self._found is not None:
            self.made_with = {**self.made_with, "version": self._found.version}
        self._key = None if config.server.key is None else secret(config.server.key)
        self._launched: Launched | None = None
        self._courier: Courier | None = None
        self._reached: list[int] = []
        self._turns: Turns | None = None
        self._served: dict[str, int | None] = {}
        self._vllm = False
        self._looked = False
        self._spoiled = 0
        self._figures: dict[str, Any] = {"prompt_tokens": 0, "cached_tokens": 0}

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        """Each prompt's id and its samples, as they are finished; at most `server.in_flight` an endpoint under way."""
        courier, server = self.open(), self.config.server
        wire = self._wire(self.name_of(writer), settings)
        told = self._served.get(wire.name)
        if wire.turns is None and told is not None and settings.max_tokens >= told:
            raise UsageError(
                f"generate.max_tokens: {settings.max_tokens} found, and the endpoints read and write {told} tokens in "
                f"all; expected less than {told}, by as much as the prompts need"
            )
        context = told or context_of(self.folder)
        if not self._looked:
            self._looked = True
            self._figures["preflight"] = self._examine(settings)
        at_once = server.in_flight * len(courier.urls)
        asking = Asking(courier, wire, context=context, at_once=at_once, attempts=server.attempts)
        try:
            yield from asking.answers(requests)
        finally:
            self._figures["prompt_tokens"] += wire.prompt_tokens
            self._figures["cached_tokens"] += wire.cached_tokens
            self._spoiled += asking.n_spoiled
            if asking.under_way:
                self._let_go()  # so that no late answer is taken for another call's

    def _wire(self, name: str, settings: SamplingConfig) -> Wire:
        turns = None if self.config.server.api == "chat" else self.turns(settings)
        ends = self.turns(settings).ends if self._vllm and (turns is not None or settings.stop_tokens) else ()
        return Wire(name, settings, turns, vllm=self._vllm, ends=ends)

    def open(self) -> Courier:
        """The way to the endpoints, once each has said that it serves what is asked for; ours is started first."""
        if self._courier is not None:
            return self._courier
        server, urls = self.config.server, self.config.server.urls
        if self._found is not None:
            if self._launched is None:
                self._launched = Launched(self._found.python, self.folder, self.config, self.runtime)
                self._figures["engine_start_s"] = self._launched.start_s
            urls, self._key = (self._launched.url,), self._launched.key
        self._courier = Courier(urls, self._key, in_flight=server.in_flight, deadline_s=server.deadline_s,
                                patience_s=server.patience_s)  # fmt: skip
        try:
            self._look(self._courier)
        except BaseException:
            self.close()
            raise
        return self._courier

    def name_of(self, writer: Writer | None) -> str:
        """The name that the endpoints serve a writer under."""
        if writer is not None and (writer.served or writer.adapter is not None):
            return writer.served or writer.name
        if self.config.server.model is not None:
            return self.config.server.model
        if self._launched is not None:
            return self._launched.name
        if len(self._served) == 1:
            return next(iter(self._served))
        raise UsageError(
            f"generate.server.model: missing; the endpoints serve {', '.join(sorted(self._served))}: say which is the "
            "stage's model"
        )

    def _examine(self, settings: SamplingConfig) -> str:
        """Compare what the endpoints serve with the stage's own model, where they can be asked."""
        assert self._courier is not None
        if not self._vllm:
            return "the endpoints are not vLLM's: only the model's name was compared"
        turns = self.turns(settings)
        adapters = {
            self.name_of(w): None if w.adapter is None else Path(w.adapter)
            for w in self.config.writers
            if w.served or w.adapter is not None
        }
        said = ""
        for place in self._reached:
            shown = Shown(self._courier, place, self.name_of(None))
            said = preflight(shown, turns, self.folder, self.config, self.runtime, adapters)
        return said

    def _look(self, courier: Courier) -> None:
        """What every endpoint serves; BackendError where one lacks the stage's model or answers as something else."""
        self._reached, problems = [], []
        for place, url in enumerate(courier.urls):
            try:
                found = served(courier, place)
            except OSError as error:
                # it is resting; what it serves is found out by its name when it comes back
                problems.append(f"{url}: nothing answers there ({error})")
                continue
            self._vllm = found.vllm
            self._served = self._served if self._reached else {**found.models, **self._served}
            for name in self._wanted():
                if name not in found.models:
                    serves = ", ".join(sorted(found.models)) or "nothing"
                    raise BackendError(
                        f"{url}: does not serve `{name}`; it serves {serves}; "
                        "set generate.server.model (or the writer's `served`) to one of these"
                    )
            self._reached.append(place)
        if not self._reached:
            raise BackendError(f"{'; '.join(problems)}; start the server, or correct generate.server.urls")

    def _wanted(self) -> list[str]:
        names = [writer.served or writer.name for writer in self.config.writers if writer.served or writer.adapter]
        return names + ([self.config.server.model] if self.config.server.model is not None else [])

    def turns(self, settings: SamplingConfig) -> Turns:
        """Tokenizer and template for these settings."""
        if self._turns is None or not self._turns.fits(settings):
            self._turns = Turns(self.folder, settings)
        return self._turns

    def figures(self) -> Mapping[str, Any]:
        """Which endpoints answered how much, tokens read and how many of them were shared."""
        found = {**self.made_with, **self._figures}
        if self._courier is not None:
            found |= {"endpoints": len(self._courier.urls), "retries": self._courier.n_carried_again + self._spoiled}
        return found

    def close(self) -> None:
        """Give the connections back, and stop the server where it is ours."""
        self._let_go()
        if self._launched is not None:
            self._launched.close()
            self._launched = None

    def _let_go(self) -> None:
        if self._courier is not None:
            self._courier.close()
            self._courier = None
