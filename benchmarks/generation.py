"""What our stage `generate` costs over what it drives: bare vLLM, the same server bare, an endpoint that does nothing.

Each ratio is of one run in which both sides take turns, in wall time of the whole stage (prompts file in, candidates
file out, journal on), the start of an engine counted apart. `FULL=1` takes 2,000 prompts x 4 and 100,000 prompts,
`PROMPTS=n` others; `ONLY=offline,server,stub,memory` takes some. A tiny model, so that our overhead is what shows.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from align.adapters.server import ServerSampler
from align.adapters.turns import Turns
from align.adapters.vllm import environment
from align.adapters.vllm.offline import VllmSampler
from align.configs import Drawing, GenerateStep, RuntimeConfig, Scratch
from align.ports import Artifact, Sampler
from align.records import Message, Prompt
from align.runner.console import Console
from align.runner.toolbox import Toolbox
from align.stages import generate
from align.store import jsonl

FULL = os.environ.get("FULL") == "1"
ONLY = os.environ.get("ONLY", "offline,server,stub,memory").split(",")
RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
N, SAMPLES, TOKENS = (2000 if FULL else int(os.environ.get("PROMPTS", "480"))), 4, 48
ROUNDS = 4
BARE = """
import json, sys, time
from vllm import LLM, SamplingParams
start = json.loads(sys.stdin.readline())
llm = LLM(**start)
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    prompts = [{"prompt_token_ids": ids} for ids in asked["ids"]]
    drawn = [SamplingParams(seed=seed, **asked["sampling"]) for seed in asked["seeds"]]
    began = time.perf_counter()
    made = llm.generate(prompts, drawn, use_tqdm=False)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, sum(len(one.token_ids) for out in made for one in out.outputs)]), flush=True)
"""
"""Bare vLLM: token ids in, texts out, nothing else."""
STUB = """
import asyncio, json, sys
ANSWER = json.dumps({"choices": [{"index": 0, "text": "It is so.", "message": {"content": "It is so."},
                     "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}).encode()
MODELS = json.dumps({"data": [{"id": "model", "owned_by": "stub", "max_model_len": 100000}]}).encode()
def told(body):
    return b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body
POSTED, LISTED = told(ANSWER), told(MODELS)
class Endpoint(asyncio.Protocol):
    def connection_made(self, transport): self.transport, self.rest = transport, b""
    def data_received(self, data):
        self.rest += data
        while (end := self.rest.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.rest[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15:].split(b"\\r\\n")[0]) if at >= 0 else 0
            if len(self.rest) < end + 4 + size: return
            self.rest = self.rest[end + 4 + size:]
            self.transport.write(LISTED if head.startswith(b"get") else POSTED)
async def main():
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
"""An endpoint that answers at once, whatever it is asked."""


def main() -> None:
    """Measure what was asked for, and print it as one JSON object."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        _model(root / "given" / "model")
        found: dict[str, Any] = {"prompts": N, "samples": SAMPLES, "max_tokens": TOKENS, "processor": _processor()}
        if "offline" in ONLY:
            found |= offline(root)
        if "server" in ONLY:
            found |= server(root)
        if "stub" in ONLY:
            found |= stub(root)
        if "memory" in ONLY:
            found |= memory(root)
    print(json.dumps(found))


def offline(root: Path) -> dict[str, Any]:
    """Our stage over our worker, beside `LLM.generate` in a process of its own, in turns."""
    config = _config("vllm")
    ours = VllmSampler(root / "given" / "model", config, RUNTIME)
    arguments = environment.engine_arguments(root / "given" / "model", config.vllm, RUNTIME, ranks=())
    variables = environment.variables(config.vllm, RUNTIME) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    bare = subprocess.Popen([ours.found.python, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            stderr=subprocess.DEVNULL, env=variables)  # fmt: skip
    assert bare.stdin is not None
    assert bare.stdout is not None

    def say(row: Any) -> Any:
        assert bare.stdin is not None
        assert bare.stdout is not None
        bare.stdin.write(json.dumps(row) + "\n")
        bare.stdin.flush()
        while True:
            line = bare.stdout.readline()
            try:
                return json.loads(line)
            except ValueError:
                if not line:
                    raise

    say(arguments)
    turns = Turns(root / "given" / "model")
    sampling = {"n": SAMPLES, "max_tokens": TOKENS, "temperature": config.temperature, "top_p": config.top_p,
                "stop_token_ids": turns.ends}  # fmt: skip

    def theirs(prompts: list[Prompt]) -> float:
        seeds = [generate.sample_seed(0, one.id, 0) for one in prompts]
        ids = [turns.chat.prompt(one.messages) for one in prompts]
        seconds, tokens = say({"ids": ids, "seeds": seeds, "sampling": sampling})
        return float(tokens) / float(seconds)

    def mine(prompts: list[Prompt]) -> float:
        return staged(root, prompts, config, ours).tokens_per_s

    speeds = in_turns({"ours": mine, "bare": theirs})
    bare.stdin.close()
    bare.wait()
    ours.close()
    return {
        "ratio_vs_vllm_offline": ratio(speeds),
        "offline_tokens_per_s": speeds,
        "engine_start_s": ours.figures()["engine_start_s"],
    }


def server(root: Path) -> dict[str, Any]:
    """Our stage over a server that is launched here, beside a plain asyncio client at its best, in turns."""
    config = _config("server", server={"launch": True})
    ours = ServerSampler(root / "given" / "model", config, RUNTIME)
    courier = ours.open()
    turns = Turns(root / "given" / "model")
    url, key = courier.urls[0], courier.key

    def theirs(prompts: list[Prompt], at_once: int = 64) -> float:
        bodies = [
            json.dumps({"model": "model", "prompt": turns.chat.prompt(one.messages), "n": SAMPLES, "max_tokens": TOKENS,
                        "temperature": config.temperature, "top_p": config.top_p, "stop_token_ids": turns.ends,
                        "seed": generate.sample_seed(0, one.id, 0)}).encode()
            for one in prompts
        ]  # fmt: skip
        began = time.perf_counter()
        tokens = asyncio.run(posted(f"{url}/v1/completions", bodies, at_once, key))
        return tokens / (time.perf_counter() - began)

    tried = {at_once: theirs(_prompts(96, start=10_000 + at_once), at_once) for at_once in (32, 64, 128)}
    best = max(tried, key=lambda at_once: tried[at_once])
    speeds = in_turns({"ours": lambda p: staged(root, p, config, ours).tokens_per_s, "bare": lambda p: theirs(p, best)})
    ours.close()
    return {"ratio_vs_vllm_server": ratio(speeds), "server_tokens_per_s": speeds, "bare_client_at_once": best}


def stub(root: Path) -> dict[str, Any]:
    """Our stage over an endpoint that answers at once, beside a bare loop of the same HTTP library, each at its best.

    The bare client reads no file and writes none; it builds each body from a conversation and parses each answer. Where
    token ids are sent it makes them by the tokenizer's own `apply_chat_template`, or (`given_ids`) has them already.
    """
    n, rounds = (20_000, 10) if FULL else (12_000, 6)
    found: dict[str, Any] = {}
    turns = Turns(root / "given" / "model")
    plain = {"model": "model", "n": 1, "max_tokens": TOKENS, "seed": 1}

    def messages(prompt: Prompt) -> list[dict[str, Any]]:
        return [{"role": one.role, "content": one.content} for one in prompt.messages]

    def cut(prompt: Prompt) -> list[int]:
        made: list[int] = turns.tokenizer.apply_chat_template(
            messages(prompt), add_generation_prompt=True, tokenize=True, return_dict=False
        )
        return made

    def said(prompts: list[Prompt], what: str) -> Iterator[bytes]:
        ids = [turns.chat.prompt(one.messages) for one in prompts] if what == "given_ids" else []
        for i, one in enumerate(prompts):
            own = {"messages": messages(one)} if what == "chat" else {"prompt": ids[i] if ids else cut(one)}
            yield json.dumps(plain | own).encode()

    with stubbed() as url:

        def theirs(prompts: list[Prompt], what: str, at_once: int) -> float:
            bodies = said(prompts, what)
            first = next(bodies)  # ready ids are made before the clock starts
            path = "chat/completions" if what == "chat" else "completions"
            began = time.perf_counter()
            asyncio.run(posted(f"{url}/v1/{path}", chain([first], bodies), at_once, None))
            return len(prompts) / (time.perf_counter() - began)

        for api, kinds in (("tokens", ("cut_ids", "given_ids")), ("chat", ("chat",))):
            config = _config("server", samples_per_prompt=1, server={"urls": [url], "api": api, "in_flight": 128})
            ours = ServerSampler(root / "given" / "model", config, RUNTIME)

            def mine(prompts: list[Prompt], config: GenerateStep = config, ours: Sampler = ours) -> float:
                return len(prompts) / staged(root, prompts, config, ours).wall_s

            best = {}
            for kind in kinds:
                tried = {
                    at_once: statistics.median(theirs(_prompts(1000, start=500_000), kind, at_once) for _ in range(3))
                    for at_once in (16, 32, 64, 128)
                }
                best[kind] = max(tried, key=tried.__getitem__)
            bare = {kind: partial(theirs, what=kind, at_once=best[kind]) for kind in kinds}
            speeds = in_turns({"ours": mine, **bare}, n=n, rounds=rounds)
            ours.close()
            names = {"cut_ids": "", "given_ids": "_given_ids", "chat": "_chat"}
            found |= {f"pipeline_vs_bare_client{names[kind]}": ratio(speeds, kind) for kind in kinds}
            found |= {f"stub_prompts_per_s_{api}": speeds, f"stub_bare_at_once_{api}": best}
    return found


def memory(root: Path) -> dict[str, Any]:
    """The largest resident set of the processes that run the stage, over few prompts and over many."""
    found = {}
    with stubbed() as url:
        for n in (1000, 100_000 if FULL else 10_000):
            told = subprocess.run(
                [sys.executable, __file__, "stage", str(root), url, str(n)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            found[n] = json.loads(told.stdout.splitlines()[-1])
    few, many = found.values()
    return {"pipeline_rss_mb": many["rss_mb"], "rss_mb_by_prompts": {n: one["rss_mb"] for n, one in found.items()},
            "rss_growth_mb": round(many["rss_mb"] - few["rss_mb"], 1)}  # fmt: skip


def one_stage(root: Path, url: str, n: int) -> None:
    """Run the stage once over `n` prompts, in this process, and tell how large it grew."""
    config = _config("server", samples_per_prompt=1, server={"urls": [url]})
    sampler = ServerSampler(root / "given" / "model", config, RUNTIME)
    work = root / f"memory{n}"
    jsonl.write(_emptied(work) / "prompts.jsonl", (prompt for prompt in _written(n, 0)))
    began = time.perf_counter()
    _run(root, work, config, sampler)
    spent = time.perf_counter() - began
    # not ru_maxrss, which a process inherits from the one that started it; with the process that carries the requests
    status = [Path(f"/proc/{pid}/status").read_text() for pid in (os.getpid(), sampler.open().pid)]
    rss = sum(int(text.partition("VmHWM:")[2].split()[0]) for text in status) / 1024
    sampler.close()
    shutil.rmtree(work)
    print(json.dumps({"rss_mb": round(rss, 1), "prompts_per_s": round(n / spent, 1)}))


def in_turns(
    sides: Mapping[str, Callable[[list[Prompt]], float]], n: int = N, rounds: int = ROUNDS
) -> dict[str, float]:
    """The speed of each side over rounds in which all take the same prompts, after one round that is not counted."""
    for side in sides.values():
        side(_prompts(32, start=900_000))
    each = n // rounds
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        prompts = _prompts(each, start=turn * each)
        for name in sorted(sides, reverse=bool(turn % 2)):
            seen[name].append(sides[name](prompts))
    return {name: round(statistics.harmonic_mean(speeds), 1) for name, speeds in seen.items()}


def ratio(speeds: Mapping[str, float], bare: str = "bare") -> float:
    """Ours over another's."""
    return round(speeds["ours"] / speeds[bare], 3)


@dataclass(frozen=True)
class Ran:
    """One run of the stage, prompts file in, candidates file out."""

    wall_s: float
    cpu_s: float
    """Of this process."""
    tokens_per_s: float


def staged(root: Path, prompts: list[Prompt], config: GenerateStep, sampler: Sampler) -> Ran:
    """A whole run of the stage; writing the prompts beforehand and counting tokens afterwards is not part of it."""
    work = root / "turn"
    jsonl.write(_emptied(work) / "prompts.jsonl", prompts)
    began, busy = time.perf_counter(), time.process_time()
    _run(root, work, config, sampler)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - busy
    rows = (work / "out" / "candidates.jsonl").read_bytes().splitlines()
    tokens = sum(json.loads(row)["n_tokens"] for row in rows)
    shutil.rmtree(work)
    return Ran(wall_s, cpu_s, tokens / wall_s)


class Kept(Toolbox):
    """A toolbox whose engine is not stopped with the stage."""

    engine: Sampler

    def sampler(self, model: Path, config: Drawing | None = None) -> Sampler:
        """The engine that runs."""
        return _Open(self.engine)


class _Open:
    def __init__(self, engine: Sampler) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Leave it open."""


def _run(root: Path, work: Path, config: GenerateStep, sampler: Sampler) -> None:
    (work / "out").mkdir()
    tools = Kept("generate", seed=0, runtime=RUNTIME, work=work / "work", console=Console(quiet=True))
    tools.engine = sampler
    inputs = {"model": Artifact(root / "given", "m", "m" * 64), "data": Artifact(work, "d", "d" * 64, {"key": "d"})}
    generate.run(config, inputs, work / "out", tools)


async def posted(url: str, bodies: Iterable[bytes], at_once: int, key: str | None) -> int:
    """Tokens in the answers to all bodies, posted so many at once, with nothing written."""
    import aiohttp

    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    queue, tokens = iter(bodies), 0
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:

        async def work() -> None:
            nonlocal tokens
            for body in queue:
                async with session.post(url, data=body) as response:
                    made = json.loads(await response.read())["usage"]["completion_tokens"]
                    tokens += made

        await asyncio.gather(*(work() for _ in range(at_once)))
    return tokens


@contextmanager
def stubbed() -> Iterator[str]:
    """The URL of an endpoint in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", STUB], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def _config(engine: str, **knobs: Any) -> GenerateStep:
    fixed = {
        "engine": engine,
        "samples_per_prompt": SAMPLES,
        "max_tokens": TOKENS,
        "temperature": 1.0,
        "preflight": "off",
    }
    return GenerateStep.model_validate(fixed | knobs)


def _prompts(n: int, *, start: int) -> list[Prompt]:
    return list(_written(n, start))


def _written(n: int, start: int) -> Iterator[Prompt]:
    for i in range(start, start + n):
        words = " ".join(f"w{(i * 7 + j * j) % 97}" for j in range(3 + i % 11))
        yield Prompt(messages=(Message(role="user", content=f"Question {i}: where does {words} live?"),))


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _model(folder: Path) -> None:
    from align.models.load import save
    from align.models.scratch import new_model, train_tokenizer

    config = Scratch(vocabulary=1024, layers=4, width=128, heads=2, context=512, initializer_range=0.1)
    tokenizer = train_tokenizer(
        [one.messages[0].content for one in _prompts(400, start=0)], vocabulary=1024, context=512
    )
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, folder)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if sys.argv[1:2] == ["stage"]:
        one_stage(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main()
