"""The tuned model as a folder that transformers and vLLM load."""

from __future__ import annotations

import shutil
from pathlib import Path

from align.configs import ExportConfig
from align.errors import ModelError
from align.models.apart import distance, made_up_rows, predicted
from align.models.load import load_model, load_tokenizer, save
from align.ports import Workshop
from align.training import loop


def export(config: ExportConfig, model: Path, out: Path, workshop: Workshop) -> None:
    """Write `model/` in the number format asked for, and see that it reads back; or `adapter/`.

    `model` is the folder of a training artifact's `model/`; its `adapter/`, if any, stands beside it.
    """
    loop.ready(workshop.runtime)
    if config.form == "adapter":
        adapter = model.parent / "adapter"
        if not adapter.is_dir():
            raise ModelError(
                "export.form: adapter: this model was tuned in full and has no adapter; "
                "use `form: merged`, or tune with lora"
            )
        shutil.copytree(adapter, out / "adapter")
        for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            if (model / name).exists():
                shutil.copyfile(model / name, out / "adapter" / name)
        return
    whole = load_model(model, dtype=config.dtype)
    if config.dtype != "float32":
        rows = made_up_rows(whole)
        measured = load_model(model, dtype="float32")
        exact = [predicted(measured, ids) for ids in rows]
        del measured
        kl = distance(exact, [predicted(whole, ids) for ids in rows])["kl"]
        workshop.note(
            f"rounded to {config.dtype}: {kl:.1e} nats a token from the model that was measured (on made-up text); "
            "what a small learning rate taught may be less than that"
        )
    save(whole, load_tokenizer(model), out / "model")
    again = load_model(out / "model", dtype="auto")
    for name, tensor in whole.state_dict().items():
        if not tensor.equal(again.state_dict()[name]):
            raise ModelError(f"{out / 'model'}: {name} does not read back as it was written; is the disk sound?")
