"""The check after a test run: a test that did not run is found, a slow one is not asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.what_ran import ROOT, has_quick_test, problems

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "tests").rglob("test_*.py"))
]
VLLM = [name for name in MODULES if ".vllm." in name]


def junit(root: Path, cases: dict[str, str]) -> Path:
    """A report in which each module ran one test, or says why not."""
    rows = [f'<testcase classname="{name}" name="test_x">{inside}</testcase>' for name, inside in cases.items()]
    path = root / "junit.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(rows)}</testsuite></testsuites>")
    return path


def test_where_everything_ran_nothing_is_said(tmp_path: Path) -> None:
    assert problems(junit(tmp_path, dict.fromkeys(MODULES, ""))) == []


def test_tests_of_a_real_engine_that_were_skipped_or_never_begun_are_problems(tmp_path: Path) -> None:
    assert len(VLLM) >= 3
    ran = dict.fromkeys(MODULES, "")
    skipped = dict.fromkeys(VLLM, '<skipped message="vllm is not installed"/>')
    found = problems(junit(tmp_path, ran | skipped))
    assert [one for one in found if "skipped: vllm is not installed" in one] == [
        f"{name}::test_x: skipped: vllm is not installed" for name in VLLM
    ]
    found = problems(junit(tmp_path, {name: "" for name in MODULES if name not in VLLM}))
    assert found == [
        f"{name}: not one test of it ran"
        for name in VLLM
        if name.rpartition(".")[2] not in ("test_cluster",)  # in the slow tier alone
    ]


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        ("def test_a(): ...", True),
        ("@pytest.mark.slow\ndef test_a(): ...", False),
        ("@pytest.mark.slow\ndef test_a(): ...\ndef test_b(): ...", True),
        ("pytestmark = pytest.mark.slow\ndef test_a(): ...", False),
        ("@pytest.mark.gpu\ndef test_a(): ...", False),
        ("class TestIt:\n    def test_a(self): ...", True),
        ("def helper(): ...", False),
    ],
)
def test_which_modules_must_have_run(text: str, quick: bool) -> None:
    assert has_quick_test(text) is quick
