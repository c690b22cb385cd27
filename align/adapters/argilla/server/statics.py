"""Argilla's pages as they are served: what a model wrote stays in its string, and no other host is asked."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from .database import Refused

RECORD = "JSON.stringify(this.sdkRecord)"
SAFE = RECORD + "".join(
    f'.replace(/{mark}/g,"\\\\u{code}")'
    for mark, code in (("<", "003c"), (r"\$", "0024"), ("#", "0023"), ("&", "0026"))
)
"""The page pastes a record into a script by `String.replace`: `</script>` would end it, `$&` would be filled in."""
N_RECORDS = 8
FONTS = ("@import url(https://fonts.googleapis.com/css2?family=Inter:wght@300;400;500;600;700;800&display=swap);",
         "@import url(https://fonts.googleapis.com/css2?family=Roboto+Condensed&display=swap);")  # fmt: skip


def place(folder: Path) -> None:
    """Where Argilla, which copies its pages at every start and never deletes them, is to put the copy."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    tempfile.tempdir = str(folder)
    # packed twins that it never serves: two thirds of the files, and most of the seconds of a start on a busy disk
    stock, packed = shutil.copytree, shutil.ignore_patterns("*.br", "*.gz")

    def copytree(source: Any, target: Any, *more: Any, **named: Any) -> Any:
        return stock(source, target, *more, **(named if more else {"ignore": packed, **named}))  # it calls itself

    vars(shutil)["copytree"] = copytree


def harden(folder: Path) -> None:
    """Change the copy below `folder`; Refused where it is not the pages that this was written for."""
    n_records = n_fonts = 0
    for path in folder.rglob("*"):
        if path.suffix not in (".js", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        changed = text.replace(RECORD, SAFE)
        n_records += text.count(RECORD)
        for font in FONTS:
            n_fonts += changed.count(font)
            changed = changed.replace(font, "")
        if changed != text:
            path.write_text(changed, encoding="utf-8")
    if (n_records, n_fonts) != (N_RECORDS, len(FONTS)):
        raise Refused(
            f"Argilla's pages are not those of 2.8.0: {n_records} places of {N_RECORDS} to make safe and {n_fonts} of "
            f"{len(FONTS)} fonts found; build the environment again: align argilla install --again"
        )
