"""vLLM's offline engine, in a process of its own: its memory goes when it ends, and its death is heard."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from align.adapters.preflight import preflight
from align.adapters.turns import Turns, room
from align.adapters.vllm import environment
from align.configs import Drawing, RuntimeConfig, SamplingConfig, Writer
from align.errors import BackendError
from align.models.load import adapter_rank
from align.ports import Sample, SampleRequest, Unanswered
from align.records import Message

WORKER = Path(__file__).with_name("worker.py")


class VllmSampler:
    """Draws answers from one model and the adapters its recipe names; seeds of one prompt follow one another."""

    consecutive = True

    def __init__(self, folder: Path, config: Drawing, runtime: RuntimeConfig) -> None:
        self.folder, self.config, self.runtime = folder, config, runtime
        self.found = environment.find(config.vllm)
        self.made_with: Mapping[str, Any] = {"engine": "vllm", "version": self.found.version}
        self._child: Child | None = None
        self._turns: Turns | None = None
        self._looked = False
        self._figures: dict[str, Any] = {"prompt_tokens": 0, "cached_tokens": 0}

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        """Each prompt's id and its samples, as they are finished; at most `vllm.in_flight` prompts are under way."""
        child, turns = self.child(), self.turns(settings)
        if not self._looked:
            self._looked = True
            adapters: dict[str, Path | None] = {
                w.name: Path(w.adapter) for w in self.config.writers if w.adapter is not None
            }
            seen = preflight(child, turns, self.folder, self.config, self.runtime, adapters)
            self._figures["preflight"] = seen
        adapter = writer.name if writer is not None and writer.adapter is not None else None
        drawing = {"temperature": settings.temperature, "top_p": settings.top_p, "stop_token_ids": turns.ends,
                   "stop": list(settings.stop), "detokenize": bool(settings.stop),
                   "logprobs": 0 if settings.logprobs else None}  # fmt: skip
        greedy = settings.temperature == 0
        open_prompts: dict[str, tuple[SampleRequest, list[int]]] = {}
        refused: deque[tuple[str, Unanswered]] = deque()
        queue = turns.each(requests)
        more = True
        while more or open_prompts or refused:
            while more and len(open_prompts) < self.config.vllm.in_flight:
                cut = next(queue, None)
                if cut is None:
                    more = False
                    break
                request, ids = cut
                places = room(len(ids), child.context, settings)
                if isinstance(places, Unanswered):
                    refused.append((request.prompt_id, places))
                    continue
                open_prompts[request.prompt_id] = request, ids
                seed = {} if greedy else {"seed": request.seeds[0]}
                n = 1 if greedy else len(request.seeds)
                sampling = {**drawing, **seed, "n": n, "max_tokens": places}
                child.say({"id": request.prompt_id, "ids": ids, "adapter": adapter, "sampling": sampling})
                if child.waits:
                    break
            while refused:
                yield refused.popleft()
            for row in child.hear(wait=bool(open_prompts)):
                request, ids = open_prompts.pop(row["id"])
                if "refused" in row:
                    yield request.prompt_id, Unanswered("refused", row["refused"])
                    continue
                self._figures["prompt_tokens"] += len(ids)
                self._figures["cached_tokens"] += row["cached"]
                samples = [turns.sample(ids, *one) for one in row["samples"]]
                yield request.prompt_id, samples * len(request.seeds) if greedy else samples

    def child(self) -> Child:
        """The engine, started when first needed."""
        if self._child is None:
            adapters = {w.name: str(w.adapter) for w in self.config.writers if w.adapter is not None}
            ranks = tuple(adapter_rank(Path(folder)) for folder in adapters.values())
            arguments = environment.engine_arguments(self.folder, self.config.vllm, self.runtime, ranks=ranks)
            variables = environment.variables(self.config.vllm, self.runtime)
            if self.runtime.device == "cpu":
                variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
            self._child = Child(
                self.found.python, {"engine": arguments, "adapters": adapters}, variables,
                silence_s=self.config.vllm.silence_s,
            )  # fmt: skip
            self._figures["engine_start_s"] = self._child.start_s
        return self._child

    def turns(self, settings: SamplingConfig) -> Turns:
        """Tokenizer and template for these settings."""
        if self._turns is None or not self._turns.fits(settings):
            self._turns = Turns(self.folder, settings)
        return self._turns

    def figures(self) -> Mapping[str, Any]:
        """Version, start, tokens read and how many of them were shared."""
        return {**self.made_with, "python": self.found.where, **self._figures}

    def close(self) -> None:
        """End the engine; its memory is free when this returns."""
        if self._child is not None:
            self._child.close()
            self._child = None


class Child:
    """The worker process and its two pipes; neither side ever waits for the other to read."""

    def __init__(
        self, python: str, start: Mapping[str, Any], variables: Mapping[str, str], *, silence_s: float
    ) -> None:
        self.silence_s = silence_s
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(WORKER), str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._told,
            env=dict(variables), start_new_session=True, cwd=tempfile.gettempdir(),
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        self._unsaid = bytearray()
        self._rest = b""
        self.say(start)
        began = time.monotonic()
        try:
            first = next(iter(self.hear(wait=True)))
        except BaseException:
            self.close()
            raise
        self.start_s = round(time.monotonic() - began, 3)
        self.context = int(first["ready"]["context"])

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._process.pid

    @property
    def waits(self) -> bool:
        """Whether so much is unsaid that more would only pile up here."""
        return len(self._unsaid) > 1 << 20

    def say(self, row: Mapping[str, Any]) -> None:
        """Send one row, as soon as the worker has room for it."""
        self._unsaid += json.dumps(row).encode() + b"\n"
        self._send()

    def hear(self, *, wait: bool) -> list[dict[str, Any]]:
        """The rows that have come; BackendError where the worker died, failed or fell silent."""
        deadline = time.monotonic() + self.silence_s
        while True:
            left = max(0.0, deadline - time.monotonic()) if wait else 0.0
            readable, _, _ = select.select([self._out], [self._in] if self._unsaid else [], [], left)
            self._send()
            if readable:
                came = os.read(self._out, 1 << 20)
                if not came:
                    raise BackendError(self._last_words())
                *whole, self._rest = (self._rest + came).split(b"\n")
                rows = [json.loads(raw) for raw in whole]
                for row in rows:
                    if "failed" in row:
                        raise BackendError(f"the vllm engine failed: {row['failed']}")
                if rows:
                    return rows
            elif not wait:
                return []
            elif time.monotonic() >= deadline:
                raise BackendError(
                    f"the vllm engine has said nothing for {self.silence_s:g} s and is taken for dead; what is "
                    "finished is kept: run again, with a greater generate.vllm.silence_s if it was only slow"
                )

    def rendered(self, messages: Sequence[Message], kwargs: Mapping[str, Any]) -> list[int] | None:
        """The token ids that the engine's own tokenizer makes of a conversation."""
        rows = [one.model_dump(exclude_none=True) for one in messages]
        self.say({"id": "render", "render": rows, "kwargs": dict(kwargs)})
        (row,) = self.hear(wait=True)
        return [int(token) for token in row["ids"]]

    def logps(self, ids: Sequence[int], writer: str | None) -> list[float | None] | None:
        """The log-probability of each token given those before it."""
        sampling = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": 0, "detokenize": False}
        self.say({"id": "logps", "ids": list(ids), "adapter": writer, "sampling": sampling})
        (row,) = self.hear(wait=True)
        if "refused" in row:
            raise BackendError(f"the vllm engine refuses to show log-probabilities: {row['refused']}")
        found: list[float | None] = row["prompt_logps"]
        return found

    def _send(self) -> None:
        try:
            while self._unsaid:
                del self._unsaid[: os.write(self._in, self._unsaid[: 1 << 16])]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            raise BackendError(self._last_words()) from None

    def _last_words(self) -> str:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        self._told.seek(max(0, self._told.seek(0, os.SEEK_END) - 4000))
        lines = [line.strip() for line in self._told.read().decode("utf-8", "replace").splitlines() if line.strip()]
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
        said = f"; its last line: {lines[-1][:300]}" if lines else ""
        return f"the vllm engine {how}{said}; what is finished is kept: run again to go on"

    def close(self) -> None:
        """End the worker and everything it started."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.1)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._told.close()
