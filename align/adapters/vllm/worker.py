"""A vLLM engine at the other end of a pipe: prompts as token ids come in, answers as token ids go out, a JSON a line.

Run as a script by a Python that has vLLM; it imports nothing of ours, for that Python need not have it. The first line
in says what to serve, the first line out that it is ready; a line is answered when all its samples are whole. The end
of the input ends the worker, and so does its parent's death.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the input ends."""
    parent = int(sys.argv[1])
    _die_with(parent)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever an imported package prints must not stand among the answers
    lines = Lines(0)
    start = json.loads(lines.wait()[0])
    try:
        _serve(start, lines, out)
    except BrokenPipeError:
        pass
    except Exception as error:  # the parent must hear why, whatever it was
        said = f"{type(error).__name__}: {error}".strip().splitlines()
        _say(out, {"failed": " ".join(said)[:2000]})
        raise


class Lines:
    """Whole lines of a file descriptor, without waiting unless asked to."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.rest = b""
        self.ended = False

    def now(self, timeout_s: float | None = 0.0) -> list[bytes]:
        """The lines that have come, waiting up to `timeout_s` for the first."""
        found: list[bytes] = []
        while not self.ended and select.select([self.handle], [], [], 0.0 if found else timeout_s)[0]:
            came = os.read(self.handle, 1 << 20)
            self.ended = not came
            *whole, self.rest = (self.rest + came).split(b"\n")
            found += whole
            if not found and timeout_s == 0.0 and not came:
                break
        return found

    def wait(self) -> list[bytes]:
        """At least one line, or none where the input has ended."""
        while not self.ended:
            if found := self.now(None):
                return found
        return []


def _serve(start: dict[str, Any], lines: Lines, out: Any) -> None:
    began = time.monotonic()
    import vllm
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind

    engine_arguments = dict(start["engine"])
    llm = LLM(**engine_arguments)
    engine = llm.llm_engine
    loras = {name: LoRARequest(name, i, folder) for i, (name, folder) in enumerate(start["adapters"].items(), 1)}
    _say(out, {
        "ready": {"vllm": vllm.__version__, "context": int(llm.llm_engine.vllm_config.model_config.max_model_len),
                  "seconds": round(time.monotonic() - began, 3)}
    })  # fmt: skip
    n_open = 0
    while True:
        for raw in lines.now() if n_open else lines.wait():
            asked = json.loads(raw)
            if "render" in asked:
                _say(out, {"id": asked["id"], "ids": _rendered(llm.get_tokenizer(), asked)})
                continue
            parameters = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **asked["sampling"])
            try:
                engine.add_request(
                    asked["id"],
                    {"prompt_token_ids": asked["ids"]},
                    parameters,
                    lora_request=loras.get(asked["adapter"]),
                )
                n_open += 1
            except Exception as error:  # a request that vLLM refuses must not end the others
                _say(out, {"id": asked["id"], "refused": str(error)[:500]})
        if lines.ended:
            return
        told = []
        for made in engine.step() if n_open else ():
            if made.finished:
                n_open -= 1
                told.append(json.dumps(_told(made)))
        if told:
            _write(out, ("\n".join(told) + "\n").encode())


def _rendered(tokenizer: Any, asked: dict[str, Any]) -> list[int]:
    ids = tokenizer.apply_chat_template(
        asked["render"], add_generation_prompt=True, tokenize=True, return_dict=False, **asked["kwargs"]
    )
    return [int(token) for token in ids]


def _told(made: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": made.request_id,
        "samples": [
            [list(one.token_ids), one.finish_reason, one.cumulative_logprob if one.logprobs is not None else None]
            for one in sorted(made.outputs, key=lambda one: one.index)
        ],
        "cached": made.num_cached_tokens or 0,
    }
    if made.prompt_logprobs is not None:
        row["prompt_logps"] = [
            None if place is None else place[token].logprob
            for token, place in zip(made.prompt_token_ids, made.prompt_logprobs, strict=True)
        ]
    return row


def _say(out: Any, row: dict[str, Any]) -> None:
    _write(out, json.dumps(row).encode() + b"\n")


def _write(out: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


def _die_with(parent: int) -> None:
    """End when the parent does, however it ends: an engine nobody listens to would hold its memory for ever."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main()
