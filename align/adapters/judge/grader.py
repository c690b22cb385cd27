"""A served model that reads one conversation at a time and says something of it: a classifier, or a grader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from align.adapters.judge.endpoint import Endpoint, Stopped, Unwilling, is_local
from align.configs import JudgeConfig
from align.errors import BackendError
from align.records import Message


class JudgeGrader:
    """Asks an OpenAI-compatible endpoint; what it asks is asked once and answered in order."""

    def __init__(self, config: JudgeConfig, *, offline: bool = False, note: Callable[[str], None] = lambda _: None):
        self.config, self._offline, self._note = config, offline, note

    def replies(self, chats: Sequence[Sequence[Message] | str]) -> Iterator[str | None]:
        """Each chat's reply, as they come; None for one that the endpoint refuses or that is cut off.

        A text is gone on with as it stands. BackendError where the endpoint fails however often it is asked.
        """
        config = self.config
        endpoint = Endpoint(
            config.urls, model=config.model, key=config.key, timeout_s=config.timeout_s, attempts=config.attempts,
            until=time.monotonic() + config.deadline_s,
        )  # fmt: skip
        far = [url for url in endpoint.urls if not is_local(url)]
        if far and self._offline:
            raise BackendError("judge: runtime.offline forbids the network; serve the judge on this machine")
        if any(url.startswith("http://") for url in far):
            self._note("the judge was asked over plain http: others on the way could read and change what was said")
        failures: list[BackendError] = []
        with closing(endpoint), ThreadPoolExecutor(config.concurrency) as pool:
            if chats:
                endpoint.check()

            def ask(turn: int) -> str | None:
                try:
                    reply = endpoint.ask(self._body(chats[turn]), turn=turn)
                except (Unwilling, Stopped):
                    return None
                except BackendError as error:
                    # nobody else need wait for an endpoint that has failed
                    failures.append(error)
                    endpoint.stop.set()
                    return None
                return None if reply.finished == "length" else reply.text

            for reply in pool.map(ask, range(len(chats))):
                # what stopped because of a failure is not unreadable: it was never heard
                if failures:
                    raise failures[0]
                yield reply

    def _body(self, chat: Sequence[Message] | str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.config.model,
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
        }
        if isinstance(chat, str):
            # a text that says itself how it opens must not be opened again
            return body | {"prompt": chat} | ({"add_special_tokens": False} if chat.startswith("<s>") else {})
        body["messages"] = [{"role": message.role, "content": message.content} for message in chat]
        if self.config.chat_template_kwargs:
            body["chat_template_kwargs"] = dict(self.config.chat_template_kwargs)
        return body
