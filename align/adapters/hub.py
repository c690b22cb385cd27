"""The Hugging Face hub: rows of a data set at one revision, and a folder pushed to a repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from align.errors import BackendError


def rows(name: str, revision: str, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
    """The rows of one split of a hub data set, in its order; no code of the repository is run."""
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, subset, split=split, revision=revision)
    except Exception as error:  # the library raises a dozen kinds, from its own to those of the connection
        raise BackendError(f"{name}@{revision[:12]}: split `{split}` cannot be loaded: {_line(error)}") from error
    for row in loaded:
        yield dict(row)


def push(folder: Path, repository: str, *, private: bool, token: str) -> str:
    """Upload a folder as one commit; the address of that commit. A repository that is missing is made."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message="Model exported by align")
    except Exception as error:
        said = _line(error).replace(token, "…")
        raise BackendError(
            f"{repository}: cannot be pushed to: {said}; what was exported is whole: run again"
        ) from None
    return str(done.commit_url)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
