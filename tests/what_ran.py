"""After a test run: what was meant to run did run. Reads the JUnit file that pytest wrote; a silent skip is a failure.

$ python tests/what_ran.py .cache/junit.xml
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
MAY_SKIP = ("needs a GPU",)
"""Reasons for which a test may be skipped anywhere."""
MAY_SKIP_WITHOUT_SHARED = ("shared/data",)
"""Reasons that hold only where the public data does not lie beside the checkout."""


def problems(junit: Path) -> list[str]:
    """Each test module that ran nothing, and each skip without a reason that may stand."""
    ran: Counter[str] = Counter()
    found = []
    for case in ET.parse(junit).getroot().iter("testcase"):
        module = case.get("classname", "").split(".Test")[0]
        skipped = case.find("skipped")
        if skipped is None:
            ran[module] += 1
            continue
        why = skipped.get("message", "")
        allowed = MAY_SKIP + (() if SHARED.is_dir() else MAY_SKIP_WITHOUT_SHARED)
        if not any(reason in why for reason in allowed):
            found.append(f"{module}::{case.get('name')}: skipped: {why}")
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not ran[module] and has_quick_test(path.read_text(encoding="utf-8")):
            found.append(f"{module}: not one test of it ran")
    return found


def has_quick_test(text: str) -> bool:
    """Whether a module of tests has one that every change must pass: neither it nor the module is marked otherwise."""
    kept_out = ("pytest.mark.slow", "pytest.mark.gpu")
    for node in ast.parse(text).body:
        marks = ast.unparse(node) if isinstance(node, ast.Assign) else ""
        if marks.startswith("pytestmark") and any(mark in marks for mark in kept_out):
            return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not any(ast.unparse(mark) in kept_out for mark in node.decorator_list)
        for node in ast.walk(ast.parse(text))
    )


if __name__ == "__main__":
    said = problems(Path(sys.argv[1]))
    print("\n".join(said) or "everything that was meant to run has run")
    raise SystemExit(bool(said))
