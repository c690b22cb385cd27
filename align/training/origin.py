"""A base model that exists already: from a folder, the hub, or a GGUF file, into a folder of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.configs import ModelConfig
from align.errors import ModelError
from align.models.adapters import merge, refuse_other_base
from align.models.chat import Chat
from align.models.folder import inspect_folder
from align.models.load import end_ids, every_token_has_a_vector, load_model, load_tokenizer, save
from align.ports import Workshop
from align.records import Message
from align.store import jsonl
from align.training import loop


def take(config: ModelConfig, out: Path, workshop: Workshop) -> None:
    """Write `model/`, an empty `log.jsonl`, and `summary.json`.

    The weights keep the number format they came in, or become float32 where an adapter is folded in.
    """
    needs_template = config.chat_template is None
    if config.folder is not None:
        # looked at before torch is even imported
        inspect_folder(Path(config.folder), needs_chat_template=needs_template)
    loop.ready(workshop.runtime)
    adapters = [Path(adapter) for adapter in (config.adapter, *config.adapters) if adapter is not None]
    if config.name is not None and config.revision is not None:
        for adapter in adapters:
            refuse_other_base(adapter, config.name, config.revision)
    summary: dict[str, Any] = {}
    if config.gguf is not None:
        from align.models.gguf import import_gguf

        with workshop.progress("reading the GGUF file"):
            model, tokenizer, quantised = import_gguf(Path(config.gguf))
        summary = {"origin": "gguf", "quantisation": quantised}
        workshop.note(
            f"imported from GGUF ({quantised}): its values are de-quantised, not those published before quantisation"
        )
    else:
        if config.folder is not None:
            folder, summary = Path(config.folder), {"origin": "folder"}
        else:
            assert config.name
            assert config.revision, "the recipe's check asks for both"
            folder = snapshot(config.name, config.revision, offline=workshop.runtime.offline)
            summary = {"origin": "hub", "name": config.name, "revision": config.revision}
            inspect_folder(folder, needs_chat_template=needs_template)
        # an adapter folded into half precision would for the most part be rounded away
        model, tokenizer = load_model(folder, dtype="float32" if adapters else "auto"), load_tokenizer(folder)
        every_token_has_a_vector(model, tokenizer, folder)
    for adapter in adapters:
        model = merge(model, adapter)
        summary["adapter"] = "merged" if config.adapter else f"{len(config.adapters)} merged, in their order"
    if config.chat_template is not None:
        tokenizer.chat_template = template(Path(config.chat_template))
    ends = end_ids(model, tokenizer)
    new = Chat(tokenizer, ends).unknown_end()
    if new is not None:
        ends = sorted({*ends, new})
        model.generation_config.eos_token_id = ends
        workshop.note(
            f"the chat template closes an answer with {tokenizer.convert_ids_to_tokens(new)}, which the model did "
            "not know as an end: generation now stops there"
        )
    # a template that cannot be trained on is refused here, before any work
    Chat(tokenizer, ends).encode(TRIAL)
    summary["parameters"] = sum(p.numel() for p in model.parameters())
    summary["dtype"] = str(model.dtype).removeprefix("torch.")
    save(model, tokenizer, out / "model")
    jsonl.write(out / "log.jsonl", [])
    loop.write_summary(out, summary)


TRIAL = (Message(role="user", content="Is it so?"), Message(role="assistant", content="Yes."))


def template(path: Path) -> str:
    """The text of a Jinja file."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a chat template: {error}") from error


def snapshot(name: str, revision: str, *, offline: bool) -> Path:
    """The local copy of a hub model at one commit: weights, settings and tokenizer, no code and no pickles."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                # told that it is offline, the hub's library does not trust a cache that an older version of it made
                local_files_only=offline or constants.HF_HUB_OFFLINE,
                allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"],
            )
        )
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name}@{revision[:8]}: not in the local cache, and the hub cannot be reached; fetch it once with network"
        ) from error
    except (HfHubHTTPError, ValueError, OSError) as error:
        raise ModelError(
            f"{name}@{revision[:8]}: cannot be fetched from the hub: {str(error).splitlines()[0]}"
        ) from error
