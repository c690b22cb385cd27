"""What a disk may refuse, as one line that says what to do."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NoReturn

from align.errors import StoreError, UsageError

FULL_BELOW_BYTES = 2**16
UNWRITABLE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR)


def raise_unwritable(
    error: OSError,
    root: Path,
    *,
    says: str = "the store cannot be written",
    remedy: str = "choose another with --store",
) -> None:
    """StoreError for a full disk, UsageError for a place below `root` that may not be written; others pass."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise_full(root, error)
    if error.errno == errno.EFBIG:
        raise StoreError(
            f"{error.filename or root}: a file reached the largest size that this process may write; "
            "what was sealed is whole: raise the limit (ulimit -f) and run again"
        ) from error
    if error.errno == errno.EIO:
        raise StoreError(
            f"{error.filename or root}: the disk failed ({error.strerror}); what was sealed is whole"
        ) from error
    if error.errno in UNWRITABLE and _concerns(error, root):
        raise UsageError(f"{error.filename or root}: {says} ({error.strerror}); {remedy}") from error


def raise_full(root: Path, error: Exception) -> NoReturn:
    """StoreError with the bytes that are left."""
    raise StoreError(
        f"{root}: the disk is full ({_free(root):,} bytes free); what was sealed is whole: free space and run again"
    ) from error


def is_full(root: Path) -> bool:
    """Is there no room left even for a page?"""
    return _free(root) < FULL_BELOW_BYTES


def _free(root: Path) -> int:
    return shutil.disk_usage(next(path for path in (root, *root.absolute().parents) if path.exists())).free


def folder_at(path: Path, root: Path) -> None:
    """Make the folder; UsageError where the store at `root` cannot stand there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        why = "a file stands in its place" if error.errno == errno.EEXIST else error.strerror
        raise UsageError(f"{root}: the store cannot be written ({why}); choose another with --store") from error


def _concerns(error: OSError, root: Path) -> bool:
    """Is the error about the store, and not about a file that a stage reads elsewhere?"""
    if not isinstance(error.filename, (str, os.PathLike)):
        return error.filename is None
    place, root = Path(error.filename).absolute(), root.absolute()
    return place.is_relative_to(root) or root.is_relative_to(place)
