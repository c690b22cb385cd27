"""The house is as its README says: the map, the floors, the commands; nothing large, nothing of one machine's."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from align import recipe as recipes
from align.cli import _parser
from align.plan import plan

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
LARGEST_BYTES = 2**20


def files() -> list[Path]:
    """What a clone holds and what is about to be in it."""
    asked = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return [path for name in told.splitlines() if (path := ROOT / name).is_file()]


def test_the_readmes_map_names_what_is_there_and_nothing_else() -> None:
    drawn = next(text for kind, text in FENCES if kind == "text" and text.startswith("align/\n"))
    rooms = set(re.findall(r"^[├└]── (\S+)", drawn, re.M))
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "align").iterdir()
        if path.name not in ("__pycache__", "py.typed")
    }
    assert rooms == there
    beside = set(re.findall(r"^(\w+/) ", drawn, re.M))
    assert beside == {"recipes/", "data_schemas/", "tests/", "benchmarks/"}
    assert all((ROOT / name).is_dir() for name in beside)


def test_the_commands_of_the_readme_can_be_said() -> None:
    commands = [line.split("#")[0] for kind, text in FENCES if kind == "sh" for line in text.splitlines()]
    said = [shlex.split(line)[1:] for line in commands if line.startswith("align ")]
    assert len(said) >= 5
    for words in said:
        _parser().parse_args(words)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in commands:
        if line.startswith("make "):
            assert shlex.split(line)[1] in targets, line


def test_what_the_readme_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README) + re.findall(r"\b(recipes/[\w.-]+\.(?:yaml|md))", README):
        assert (ROOT / target).exists(), target


def test_the_floors_hold() -> None:
    told = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stdout
    assert "0 broken" in told.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_says_what_it_claims_loads_and_plans(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    recipe = recipes.load(path)
    assert recipe.title
    assert plan(recipe)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in files()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in ("align", "benchmarks")
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not silent


def test_no_module_is_a_drawer_for_whatever_is_left() -> None:
    assert not [path for path in files() if path.stem in ("utils", "helpers", "common", "misc", "util")]


def test_nothing_in_the_repository_is_large() -> None:
    assert not [str(path) for path in files() if path.stat().st_size > LARGEST_BYTES]


# Written in pieces, so that this file may be looked through too.
ELSEWHERES = "|".join(
    (r"(?<![\w*])/work" + "/", r"/ro" + r"ot/", r"/mn" + "t/", r"/tmp/[a-z]", r"shared/do" + "cs", "pypi" + r"\.org",
     "python" + "hosted", r"download\.py" + r"torch\.org", "anaconda" + r"\.org", r"\bsub" + "agent",
     r"\bcoding ag" + "ent", r"\bissue " + r"#?\d", "issues " + "show", r"\bcl" + "aude")
)  # fmt: skip


def test_nothing_speaks_of_the_place_or_the_way_in_which_it_was_written() -> None:
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in re.finditer(ELSEWHERES, text, re.I)]
    assert not found


def test_what_can_be_run_is_executable_or_has_a_make_target() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_readme_holds_no_placeholder() -> None:
    assert not re.findall(
        r"\b[A-Z]{3,}_[A-Z_]{3,}\b", README.replace("TORCH_INDEX", "").replace("ARGILLA_API_KEY", "")
    ), "a placeholder is left"
