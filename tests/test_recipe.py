"""Recipes: what may be written in one, and the one line that says what is wrong with the rest."""

# One line a case: the recipe, and what is said of it.
# ruff: noqa: E501

from __future__ import annotations

import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from align import recipe as recipes
from align.configs import Recipe
from align.errors import RecipeError
from align.plan import plan

BASE = "model: {scratch: {}}\ndata: {testbed: {}}\n"
RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))

Load = Callable[..., Recipe]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a recipe from text or bytes, written to `r.yaml`."""

    def read(text: str | bytes, *sets: str) -> Recipe:
        path = tmp_path / "r.yaml"
        path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return recipes.load(path, sets)

    return read


def refused(load: Load, text: str | bytes, *sets: str) -> str:
    """The one line with which a recipe is refused, its folder left out."""
    with pytest.raises(RecipeError) as caught:
        load(text, *sets)
    said = str(caught.value)
    assert "\n" not in said
    return re.sub(r"\S*/r\.yaml", "r.yaml", said)


# ---- what YAML 1.2 means


@pytest.mark.parametrize("written", ["5e-7", "5E-7", "5.0e-7", "0.0000005", "+5e-7", ".5e-6"])
def test_a_learning_rate_is_a_number_however_it_is_written(load: Load, written: str) -> None:
    found = load(BASE + f"dpo: {{learning_rate: {written}}}\n").dpo.learning_rate
    assert type(found) is float
    assert found == 5e-7


def test_one_times_ten_to_the_minus_four_is_a_number_without_a_dot(load: Load) -> None:
    assert load(BASE + "dpo: {learning_rate: 1e-4}\n").dpo.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("written", "meant"), [("no", "no"), ("off", "off"), ("2020-01-01", "2020-01-01"), ("~", None)]
)
def test_words_of_older_yaml_stay_words(load: Load, written: str, meant: str | None) -> None:
    assert load(BASE + f"title: {written}\n").title == meant


@pytest.mark.parametrize(("written", "meant"), [("010", 10), ("0x10", 16), ("0o10", 8), ("1_000", 1000)])
def test_whole_numbers_have_their_yaml_1_2_meaning(load: Load, written: str, meant: int) -> None:
    assert load(BASE + f"seed: {written}\n").seed == meant


def test_an_alias_repeats_what_it_names(load: Load) -> None:
    loaded = load("model: {scratch: {steps: &n 7}}\ndata: {testbed: {prompts: *n}}\n")
    assert loaded.data.testbed is not None
    assert loaded.data.testbed.prompts == 7


@pytest.mark.parametrize("encoded", [b"\xef\xbb\xbf" + BASE.encode(), BASE.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_windows_line_ends_are_read(load: Load, encoded: bytes) -> None:
    assert load(encoded) == load(BASE)


def test_the_order_of_keys_and_comments_change_nothing_that_is_keyed(load: Load) -> None:
    one = load(BASE + "dpo: {beta: 0.2, epochs: 2}\nseed: 3\n")
    other = load("# said first\nseed: 3\ndpo:\n  epochs: 2  # twice\n  beta: 2e-1\n" + BASE)
    assert one.keyed() == other.keyed()


def test_a_recipe_is_named_for_its_file_unless_it_says_otherwise(load: Load) -> None:
    assert load(BASE).name == "r"
    assert load(BASE + "name: other\n").name == "other"


def test_files_are_looked_for_beside_the_recipe(load: Load, tmp_path: Path) -> None:
    loaded = load("model: {folder: m}\ndata: {preferences: [{path: ../d.jsonl}]}\n")
    assert loaded.model.folder == str(tmp_path / "m")
    assert Path(str(loaded.data.preferences[0].path)).resolve() == (tmp_path.parent / "d.jsonl").resolve()


# ---- what is refused, and how

REFUSED = {
    "unknown knob": (BASE + "dpo:\n  learning_rat: 1e-6\n",
                     "r.yaml:4: dpo.learning_rat: no such knob; did you mean `learning_rate`?"),
    "unknown section": (BASE + "dop: {}\n", "r.yaml:3: dop: no such knob; did you mean `dpo`?"),
    "unknown knob of a part": (BASE + "sft: {lora: {rnk: 3}}\n", "r.yaml:3: sft.lora.rnk: no such knob; did you mean `rank`?"),
    "unknown knob in a list": ("model: {scratch: {}}\ndata:\n  preferences:\n  - path: a\n  - pth: b\n",
                               "r.yaml:5: data.preferences.1.pth: no such knob; did you mean `path`?"),
    "a key of older YAML that is true": (BASE + "on: 3\n", "r.yaml:3: on: no such knob; there are: name, title,"),
    "a key given twice": (BASE + "dpo:\n  beta: 0.1\n  epochs: 1\n  beta: 0.2\n",
                          "r.yaml:6: dpo.beta: given twice, first on line 4"),
    "not a number": (BASE + "dpo: {beta: nan}\n", "r.yaml:3: dpo.beta: 'nan' found, expected"),
    "NaN": (BASE + "dpo: {beta: .nan}\n", "r.yaml:3: dpo.beta: nan found, expected a finite number"),
    "infinite": (BASE + "dpo: {beta: .inf}\n", "r.yaml:3: dpo.beta: inf found, expected a finite number"),
    "overflow": (BASE + "dpo: {beta: 1e999}\n", "r.yaml:3: dpo.beta: inf found, expected a finite number"),
    "below its range": (BASE + "dpo: {beta: -0.1}\n", "r.yaml:3: dpo.beta: -0.1 found, expected greater than 0"),
    "zero": (BASE + "dpo: {beta: 0}\n", "r.yaml:3: dpo.beta: 0 found, expected greater than 0"),
    "decimal comma": (BASE + 'dpo: {beta: "0,1"}\n', "r.yaml:3: dpo.beta: '0,1' found, expected a valid number"),
    "truth for a number": (BASE + "dpo: {beta: true}\n", "r.yaml:3: dpo.beta: true found, expected a number"),
    "a fraction for a count": (BASE + "dpo: {batch_size: 3.5}\n", "r.yaml:3: dpo.batch_size: 3.5 found, expected a valid integer"),
    "sexagesimal": (BASE + "seed: 1:30\n", "r.yaml:3: seed: '1:30' found, expected a valid integer"),
    "a version that lost its zero": (BASE + "title: 3.10\n", "r.yaml:3: title: 3.1 found, expected a valid string; put it in quotes"),
    "a list for a section": (BASE + "dpo: [1]\n", "r.yaml:3: dpo: a list found, expected knobs"),
    "a name that is not there": (BASE + "evaluate: {models: [bse]}\n", "r.yaml:3: evaluate.models.0: 'bse' found, expected 'base', 'sft' or 'tuned'"),
    "one of several kinds": (BASE + "dpo: {lora: {targets: 3}}\n", "r.yaml:3: dpo.lora.targets: 3 found, expected"),
    "smoothing that the loss ignores": (BASE + "dpo:\n  label_smoothing: .1\n", "r.yaml:4: dpo.label_smoothing: `sigmoid` would ignore it; use loss: robust"),
    "smoothing by one half": (BASE + "dpo: {loss: robust, label_smoothing: 0.5}\n", "r.yaml:3: dpo.label_smoothing: 0.5 found, expected less than 0.5"),
    "a batch that does not divide": (BASE + "sft: {batch_size: 10, micro_batch_size: 4}\n", "r.yaml:3: sft.micro_batch_size: 4 does not divide batch_size 10"),
    "no model": ("data: {testbed: {}}\n", "r.yaml:1: model: missing"),
    "two models": ("model: {folder: a, gguf: b}\ndata: {testbed: {}}\n", "r.yaml:1: model: give exactly one of name, folder, gguf, scratch, served; found folder and gguf"),
    "a hub model without a revision": ("model: {name: a/b}\ndata: {testbed: {}}\n", "r.yaml:1: model.name: a hub model needs `revision`"),
    "a branch for a revision": ("model: {name: a/b, revision: main}\ndata: {testbed: {}}\n", "r.yaml:1: model.revision: 'main' found, expected a commit: 40 hex digits"),
    "no data": ("model: {scratch: {}}\ndata: {}\n", "r.yaml:2: data: no data: give testbed, or files under"),
    "a path with a NUL": ('model: {folder: "a\\0b"}\ndata: {testbed: {}}\n', "r.yaml:1: model.folder: 'a\\x00b' found, expected the path"),
    "nobody's home": ("model: {folder: ~nobody-at-all/m}\ndata: {testbed: {}}\n", "r.yaml:1: model.folder: '~nobody-at-all/m' found, expected a path"),
    "a name that is a path": (BASE + "name: ../up\n", "r.yaml:3: name: '../up' found, expected a name of letters, digits,"),
    "a section with nothing in it": (BASE + "dpo:\n", "r.yaml:3: dpo: nothing found, expected knobs"),
    "a knob with nothing behind it": (BASE + "dpo: {beta: }\n", "r.yaml:3: dpo.beta: nothing found, expected a valid number"),
    "a word for a list": (BASE + "evaluate: {instruments: facts}\n", "r.yaml:3: evaluate.instruments: 'facts' found, expected a list"),
    "a word for yes or no": (BASE + "runtime: {offline: maybe}\n", "r.yaml:3: runtime.offline: 'maybe' found, expected true or false"),
    "a tag that runs code": (BASE + "title: !!python/object/apply:os.system [touch canary]\n", "r.yaml:3: the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed"),
    "a tag that builds bytes": (BASE + "title: !!binary aGk=\n", "r.yaml:3: the tag !binary is not allowed"),
    "a merge key": ("model: &m {scratch: {}}\ndata: {<<: *m}\n", "r.yaml:2: a key must be a plain word"),
    "a key that is a list": (BASE + "? [a]\n: 4\n", "r.yaml:3: a key must be a plain word"),
    "a tab": ("model:\n\tscratch: {}\n", "r.yaml:2: not YAML: found character '\\t'"),
    "unclosed": ("model: {scratch: {}\n", "r.yaml:2: not YAML: expected"),
    "two documents": (BASE + "---\na: 1\n", "r.yaml:3: not YAML: but found another document"),
    "a control character": (BASE + "title: \x01\n", "r.yaml: not YAML: unacceptable character #x0001"),
    "a NUL byte": (BASE + "title: \0\n", "r.yaml: not YAML: unacceptable character #x0000"),
    "nothing": ("", "r.yaml: nothing found, expected a mapping of stages"),
    "a word": ("hello\n", "r.yaml: 'hello' found, expected a mapping"),
    "an alias of itself": ("a: &a [*a]\n", "r.yaml:1: too large once its aliases are written out"),
    "200 deep": ("a: " + "[" * 200 + "]" * 200 + "\n", "r.yaml:1: nested more than 50 deep"),
    "a method that is not built": (BASE + "method: ppo\n", "r.yaml:3: method: 'ppo' found, expected 'dpo', 'kto' or 'rlhf'"),
    "a token by its value": (BASE + "export: {token: abcdefgh}\n", "r.yaml:3: export.token: a secret is given as ${env:NAME}"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_recipe_is_refused_in_one_line_with_its_place(
    load: Load, text: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(load, text).startswith(expected)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(("encoding", "byte"), [("utf-16", 0), ("latin-1", 7)])
def test_another_encoding_is_named_with_the_byte(load: Load, encoding: str, byte: int) -> None:
    assert refused(load, "title: é\n".encode(encoding)).startswith(f"r.yaml: not UTF-8 at byte {byte}")


def test_of_several_mistakes_the_first_is_explained_and_the_places_of_the_others_are_said(load: Load) -> None:
    said = refused(load, BASE + "dpo: {beta: 0, epochs: 0}\nsft: {lr: 1}\n")
    assert said == "r.yaml:4: sft.lr: no such knob; did you mean `lora`? (also: dpo.epochs, dpo.beta)"
    many = refused(load, BASE + "dpo: {a: 0, b: 0, c: 0, d: 0, e: 0, f: 0}\n")
    assert many.endswith("(also: dpo.b, dpo.c, dpo.d and 2 more)")


def test_the_branches_that_a_knob_was_tried_for_are_one_mistake(load: Load) -> None:
    assert "also" not in refused(load, BASE + "dpo: {lora: {targets: 3}}\n")


LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [LAUGHS, LAUGHS.replace(", *a" * 5, ""), "a: " + "x" * 2**21, "a: [" + "1," * 100_000 + "1]\n", "\n" * 260_000],
)
def test_a_recipe_made_to_be_too_large_is_refused_within_a_second(load: Load, text: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert re.search("too large|aliases|nothing found|more than 262,144 bytes", refused(load, text))
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(RecipeError, match="more than 262,144 bytes"):
        recipes.load("/dev/zero")


def test_a_missing_recipe_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"gone\.yaml: no such file"):
        recipes.load(tmp_path / "gone.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        recipes.load(tmp_path)


# ---- secrets

SECRETS = (
    "hf_" + "a" * 34, "sk-" + "b" * 32, "AKIA" + "C" * 16, "ghp_" + "d" * 36, "argilla.apikey",
    "https://someone:word@host.example/x", "Bearer abcdefghijklmnop", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.s",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_refused_wherever_it_stands_and_never_repeated(load: Load, secret: str) -> None:
    for text, sets in ((BASE + f"title: 'x {secret}'\n", ()), (BASE, (f"title='{secret}'",))):
        said = refused(load, text, *sets)
        assert "title: a secret stands in the recipe; write ${env:NAME}" in said
        assert secret not in said


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALIGN_TEST_TOKEN", raising=False)
    with pytest.raises(RecipeError, match="the environment variable ALIGN_TEST_TOKEN is not set"):
        recipes.secret("${env:ALIGN_TEST_TOKEN}")
    monkeypatch.setenv("ALIGN_TEST_TOKEN", "canary")
    assert recipes.secret("${env:ALIGN_TEST_TOKEN}") == "canary"


def test_the_value_of_a_secret_never_enters_a_recipe(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-9d2")
    loaded = load(BASE + "export: {push_to: me/mine, token: '${env:MY_TOKEN}'}\n")
    assert "canary-9d2" not in loaded.model_dump_json()
    assert "MY_TOKEN" not in str(loaded.keyed())


# ---- --set


def test_set_turns_one_knob_and_leaves_the_rest(load: Load) -> None:
    loaded = load(BASE + "dpo: {beta: 0.3, epochs: 2}\n", "dpo.beta=2e-1", "sft.lora.rank=4")
    assert (loaded.dpo.beta, loaded.dpo.epochs) == (0.2, 2)
    assert loaded.sft is not None
    assert loaded.sft.lora is not None
    assert loaded.sft.lora.rank == 4


def test_set_reaches_into_lists_and_takes_whole_values(load: Load) -> None:
    text = "model: {scratch: {}}\ndata: {testbed: {}, preferences: [{path: a}, {path: b}]}\n"
    loaded = load(text, "data.preferences.1.role=test", "evaluate.instruments=[facts, refusal]")
    assert [file.role for file in loaded.data.preferences] == ["split", "test"]
    assert loaded.evaluate.instruments == ("facts", "refusal")


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("dpo.betta=1", "--set dpo.betta: no such knob; did you mean `beta`?"),
        ("dpo.beta=-1", "--set dpo.beta: -1 found, expected greater than 0"),
        ("dpo.lora={rnk: 1}", "--set dpo.lora.rnk: no such knob; did you mean `rank`?"),
        ("dpo.beta", "--set dpo.beta: expected a.b=value"),
        ("=1", "--set =1: expected a.b=value"),
        ("dpo..beta=1", "--set dpo..beta=1: expected a.b=value"),
        ("seed.x=1", "--set seed.x: `seed` holds 1, and no knobs below it"),
        ("data.preferences.5.path=x", "--set data.preferences.5.path: `data.preferences` is a list of 1"),
        ("data.preferences.5=x", "--set data.preferences.5: no such place in a list of 1"),
        ("dpo.beta=[", "--set dpo.beta:1: not YAML:"),
    ],
)
def test_a_bad_set_is_refused_in_one_line(load: Load, assignment: str, expected: str) -> None:
    text = "seed: 1\nmodel: {scratch: {}}\ndata: {testbed: {}, preferences: [{path: a}]}\n"
    assert refused(load, text, assignment).startswith(expected)


# ---- what a plan can say before any work

UNMET = {
    "nothing to pretrain on": ("model: {scratch: {}}\ndata: {preferences: [{path: a}]}\n", "model.scratch: there is no text"),
    "no demonstrations": ("model: {folder: m}\ndata: {preferences: [{path: a}]}\nsft: {}\n", "sft: there are no demonstrations"),
    "no preferences": ("model: {folder: m}\ndata: {demonstrations: [{path: a}]}\nsft: {}\n", "dpo: there are no preferences"),
    "simulated people without a world": ("model: {folder: m}\ndata: {prompts: [{path: a}]}\n", "label.desk: `simulated` annotators"),
    "a file desk without a file": (BASE + "label: {desk: file}\n", "label.judgments: missing"),
    "an instrument that is not there": (BASE + "evaluate: {instruments: [fact]}\n", "fact"),
    "an instrument that needs the world": ("model: {folder: m}\ndata: {preferences: [{path: a}]}\nevaluate: {instruments: [facts]}\n",
                                           "evaluate.instruments: `facts` reads the testbed's truth"),
    "a margin without its instrument": (BASE + "gate: {margins: [{metric: facts.accuracy, at_least: 0.5}]}\n",
                                        "gate.margins: facts.accuracy needs `facts` among evaluate.instruments"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), UNMET.values(), ids=UNMET.keys())
def test_a_recipe_whose_inputs_cannot_be_met_is_refused_at_plan_time(load: Load, text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        plan(load(text))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_plans_with_its_data_or_without(path: Path) -> None:
    steps = plan(recipes.load(path))
    assert steps[-1].name == "export"
    assert len({step.name for step in steps}) == len(steps)


def test_each_step_stands_after_what_it_reads(load: Load) -> None:
    made: set[str] = set()
    for step in plan(load(BASE + "sft: {}\nevaluate: {instruments: [facts, refusal]}\n")):
        assert set(step.inputs.values()) <= made
        made.add(step.name)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("{desk: judge}", r"label\.judge: missing|judge: missing; `desk: judge` needs at least judge\.urls"),
        ("{judge: {urls: [], model: m}}", r"label\.judge\.urls: a list of 0 found, expected at least 1"),
        (
            "{judge: {urls: ['ftp://x'], model: m}}",
            r"urls\.0: 'ftp://x' found, expected an http:// or https:// address",
        ),
        ("{judge: {urls: ['http://u:p@h/v1'], model: m}}", r"a secret stands in the recipe"),
        ("{judge: {urls: ['http://h/v1'], model: m, key: plain}}", r"judge\.key: a secret is given as \$\{env:NAME\}"),
        ("{repeat_share: 2}", r"label\.repeat_share: 2 found, expected less than or equal to 1"),
        ("{relabel: {share: 0}}", r"label\.relabel\.share: 0 found, expected greater than 0"),
    ],
)
def test_a_desk_that_cannot_be_is_refused_by_its_knob(tmp_path: Path, label: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"model: {{scratch: {{}}}}\ndata: {{testbed: {{}}}}\nlabel: {label}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        recipes.load(file)
