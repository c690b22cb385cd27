"""Models that nobody trained here, measured side by side by one command."""

from __future__ import annotations

import csv
import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from align.configs import LoRA, RuntimeConfig, Scratch
from align.models.load import load_model, load_tokenizer, save, save_adapter
from align.models.machine import ready
from align.models.peft import lora_config
from align.models.reward import new_reward
from align.models.scratch import new_model, train_tokenizer
from tests.adapters.faulty import Faulty
from tests.adapters.judging_server import Judging, serving
from tests.cli.conftest import Align, told
from tests.e2e.test_tiny_run import align as run_align

TEXTS = ["Ada lives in Paris.", "Bob lives in Rome. Where does he live?", "Yes. No. I do not know, but I can ask."] * 20


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, an adapter of the first, and one that has no chat template."""
    ready(RuntimeConfig(device="cpu", dtype="float32", threads=1))
    place = tmp_path_factory.mktemp("models")
    config = Scratch(vocabulary=330, layers=2, width=32, heads=2, context=512, initializer_range=0.3)
    tokenizer = train_tokenizer(TEXTS, vocabulary=config.vocabulary, context=config.context)
    for seed, name in enumerate(("first", "second")):
        save(new_model(config, tokenizer, attention="sdpa", seed=seed), tokenizer, place / name)
    from peft import get_peft_model

    model = load_model(place / "first")
    adapted = get_peft_model(model, lora_config(LoRA(rank=4, alpha=8), model, "CAUSAL_LM"))
    torch.manual_seed(0)
    for name, weights in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.5)
    save_adapter(adapted, place / "mine")
    shutil.copytree(place / "first", place / "mute")
    (place / "mute" / "chat_template.jinja").unlink()
    assert load_tokenizer(place / "mute").chat_template is None
    shutil.copy(place / "first" / "config.json", place / "first" / "config.gguf")
    return place


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CrowS-Pairs and XSTest in their published formats, with rows of our own."""
    place = tmp_path_factory.mktemp("data")
    (place / "crows_pairs").mkdir()
    with open(place / "crows_pairs" / "crows_pairs_anonymized.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["", "sent_more", "sent_less", "stereo_antistereo", "bias_type", "annotations",
                         "anon_writer", "anon_annotators"])  # fmt: skip
        for i in range(24):
            pair = (f"Person {i} lives in Paris.", f"Person {i} lives in Rome.")
            writer.writerow([i, *pair, "stereo" if i % 3 else "antistereo", "age", "[]", "a0", "[]"])
    (place / "xstest").mkdir()
    with open(place / "xstest" / "xstest_prompts.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "prompt", "type", "label", "focus", "note"])
        for i in range(12):
            kind = "contrast_homonyms" if i % 2 else "homonyms"
            writer.writerow([i, f"How do I paint wall {i}?", kind, "unsafe" if i % 2 else "safe", "", ""])
    return place


def test_two_models_stand_side_by_side_with_intervals_a_report_and_exports(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs")
    table, foreign = tmp_path / "all.csv", tmp_path / "harness.json"
    found = told(
        align(
            "evaluate", models / "first", models / "second", *where, "--json", "--csv", table, "--harness-json", foreign
        )
    )
    first = next(row for row in found["rows"] if row["metric"] == "crows_pairs.stereotyped")
    assert set(first["models"]) == {"first", "second"}
    assert all(one["low"] <= one["value"] <= one["high"] for one in first["models"].values())
    assert {one["n"] for one in first["models"].values()} == {24}
    page = Path(found["report"]).read_text()
    assert "first" in page
    assert "second" in page
    rows = list(csv.DictReader(table.open()))
    assert {row["model"] for row in rows} == {"first", "second"}
    assert next(r for r in rows if r["metric"] == "stereotyped")["licence"] == "CC-BY-SA-4.0"
    results = json.loads(foreign.read_text())["models"]["first"]["results"]["crows_pairs"]
    assert results["stereotyped,none"] == first["models"]["first"]["value"]
    assert results["stereotyped_stderr,none"] > 0


def test_a_model_measured_once_is_not_measured_again(align: Align, models: Path, data: Path, tmp_path: Path) -> None:
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs")
    assert align("evaluate", models / "first", *where)[0] == 0
    code, out, _ = align("evaluate", models / "second", models / "first", *where)
    assert code == 0
    lines = {line.split()[2]: line.split()[3] for line in out.splitlines() if " s  " in line and "done" not in line}
    assert lines["evaluate/first/crows_pairs"] == "reuse"
    assert lines["evaluate/second/crows_pairs"] == "run"


def test_an_adapter_is_measured_on_the_model_it_was_trained_on_and_held_against_it(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"answer": "I cannot help with that." if i % 2 else "Paint it.", "refused": bool(i % 2)} for i in range(120)
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("evaluate", models / "mine", "--against", models / "first", "--data", data, "--store", tmp_path / "runs",
             "--instrument", "xstest", "--instrument", "crows_pairs",
             "--max-tokens", "4")  # fmt: skip  # fmt: skip
    code, out, _ = align(*asked)
    assert code == 5, "nobody has read this model's answers"
    assert "100 of people's labels of this model's answers are missing" in out
    code, out, _ = align(*asked, "--labels", labels)
    assert "labels" not in out
    assert code in (0, 3, 4)
    assert "gate against first" in out
    rows = {row["metric"]: row["models"] for row in json.loads(align(*asked, "--labels", labels, "--json")[1])["rows"]}
    both = rows["crows_pairs.likelihood_diff"]
    assert both["mine"]["value"] != both["first"]["value"], "the adapter was merged"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nowhere",), "nowhere: no such model"),
        (("org/name",), "a hub model needs its commit: org/name@<40 hex digits>"),
        (("MODELS/first", "MODELS/first"), "given twice"),
        (("MODELS/first", "--instrument", "crow_pairs"), "did you mean `crows_pairs`"),
        (("MODELS/first", "--instrument", "facts"), "facts: reads no published data"),
        (("MODELS/first", "--instrument", "bbq"), "no published files of bbq"),
        (("MODELS/first", "--in", "model=x"), "--in belongs to the stage alone"),
        (("MODELS/first", "--instrument", "crows_pairs", "--labels", "none.jsonl"), "none.jsonl: no such file"),
        (("MODELS/first/config.gguf", "--instrument", "crows_pairs"), "not a GGUF file"),
        (("MODELS",), "holds neither config.json nor adapter_config.json"),
        (("MODELS/mute", "--instrument", "crows_pairs"), "has no chat template"),
        (("MODELS/first", "--instrument", "wildguard"), "evaluate.benchmarks.wildguard: needs a served model"),
        (("MODELS/first", "--instrument", "wildguard", "--judge", "http://127.0.0.1:9"), "expected URL#NAME"),
        (("MODELS/first", "--instrument", "wildguard", "--judge", "http://127.0.0.1:9/v1#g"), "needs a `template`"),
        (("MODELS/first", "--instrument", "kl"), "kl: holds a model against the one it came from; give --against"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(
    align: Align, models: Path, data: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    given = [word.replace("MODELS", str(models)) for word in words]
    code, _, err = align("evaluate", *given, "--data", data, "--store", tmp_path / "runs")
    assert code == 2
    assert says in err
    assert err.count("\n") == 1


def test_a_template_of_ones_own_lets_a_mute_model_speak(align: Align, models: Path, data: Path, tmp_path: Path) -> None:
    template = models / "first" / "chat_template.jinja"
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs")
    assert align("evaluate", models / "mute", *where, "--chat-template", template)[0] == 0


def test_more_items_than_there_are_is_no_error_and_is_noted(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs", "--max-items", "5000")
    found = told(align("evaluate", models / "first", *where, "--json"))
    assert {row["models"]["first"]["n"] for row in found["rows"]} <= {24, 16, 8}
    notes = [
        note
        for manifest in (tmp_path / "runs").rglob("manifest.json")
        for note in json.loads(manifest.read_text())["notes"]
    ]
    assert any("leaves out none of 24" in note for note in notes)


def test_the_stage_alone_is_still_obeyed(align: Align, tmp_path: Path) -> None:
    code, _, err = align("evaluate", "--set", "instrument=facts", "--set", "model=base")
    assert code == 2
    assert "--out FOLDER is missing" in err


def test_the_list_says_what_each_instrument_has_met(align: Align) -> None:
    rows = {row["name"]: row for row in told(align("evaluate", "--list", "--json"))}
    assert "suites" in rows["bbq"]
    assert all(row["last_run"] for row in rows.values())
    code, out, _ = align("evaluate", "--list")
    assert code == 0
    assert "bbq" in out


def test_models_of_several_runs_stand_in_one_table_and_one_page(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs")
    for name in ("first", "second"):
        assert align("evaluate", models / name, *where)[0] == 0
    store = ("--store", tmp_path / "runs")
    rows = told(align("show", "--models", *store, "--json"))
    assert {model for row in rows for model in row["models"]} == {"first", "second"}
    code, out, _ = align("show", "--models", "second", *store)
    assert code == 0
    assert "crows_pairs.stereotyped" in out
    assert "first" not in out.split("plots:")[0]
    assert "second" in (tmp_path / "runs" / "reports" / "models.html").read_text()
    code, _, err = align("show", "--models", "third", *store)
    assert code == 2
    assert "third: nothing measured goes by this name" in err


def test_a_served_model_is_measured_by_its_answers_and_by_nothing_else(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    where = ("--data", data, "--store", tmp_path / "runs", "--max-tokens", "4")
    asked = ("--instrument", "xstest", "--instrument", "crows_pairs")
    with Faulty(models=("chatty",)) as served:
        found = told(align("evaluate", f"{served.url}#chatty", models / "first", *where, *asked, "--json"))
        assert {body["model"] for body in served.bodies} == {"chatty"}
        code, _, err = align("evaluate", f"{served.url}#other", *where, "--instrument", "xstest")
        assert code == 1
        assert "does not serve `other`; it serves chatty" in err
    rows = {row["metric"]: row["models"] for row in found["rows"]}
    assert set(rows["xstest.refused_safe"]) == {"chatty", "first"}
    assert set(rows["crows_pairs.stereotyped"]) == {"first"}
    code, _, err = align("evaluate", "http://127.0.0.1:9", *where, "--instrument", "xstest")
    assert code == 2
    assert "expected URL#NAME" in err


def test_a_served_classifier_reads_the_answers_by_the_text_of_its_card(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "card.txt").write_text("{prompt} => {response} => ")
    where = ("--data", data, "--store", tmp_path / "runs", "--max-tokens", "4", "--instrument", "wildguard")
    with serving(Judging()) as served:
        served.reads = lambda body: "Harmful request: no\nResponse refusal: yes\nHarmful response: no"
        judge = ("--judge", f"{served.url}#judge-1", "--judge-template", tmp_path / "card.txt")
        found = told(align("evaluate", models / "first", *where, *judge, "--json"))
        again = align("evaluate", models / "first", *where, *judge)
    rows = {row["metric"]: row["models"]["first"] for row in found["rows"]}
    assert (rows["wildguard.refused_safe"]["value"], rows["wildguard.refused_safe"]["n"]) == (1, 6)
    assert rows["wildguard.harmful"]["value"] == 0
    assert all(" => " in body["prompt"] for body in served.asked)
    assert again[0] == 0
    assert len(served.asked) == 12, "what was measured is not asked for again"


def test_how_far_a_tuned_model_has_gone_is_measured_against_the_one_it_came_from(
    align: Align, models: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "sft" / "prompts.jsonl"
    prompts.parent.mkdir()
    prompts.write_text("".join(json.dumps({"prompt": f"Where does Bob {i} live?"}) + "\n" for i in range(150)))
    where = ("--data", tmp_path, "--store", tmp_path / "runs", "--max-tokens", "6", "--instrument", "kl", "--json")
    found = json.loads(align("evaluate", models / "mine", "--against", models / "first", *where)[1])
    rows = {row["metric"]: row["models"] for row in found["rows"]}
    assert set(rows["kl.sequence"]) == {"mine"}, "the other is the reference itself"
    found_of = rows["kl.sequence"]["mine"]
    assert (found_of["n"], found_of["n_unscored"]) == (150, 0)
    # what an untrained model writes is no text: cut into tokens again it is another sequence, so no sign is certain
    assert found_of["high"] > 0
    assert abs(rows["kl.per_token"]["mine"]["value"]) < abs(found_of["value"])


def test_reward_models_stand_side_by_side_on_pairs_in_rewardbenchs_format(
    align: Align, models: Path, tmp_path: Path
) -> None:
    for seed, name in enumerate(("one", "two")):
        model, tokenizer = new_reward(models / "first", init_std=0.5, seed=seed)
        save(model, tokenizer, tmp_path / name)
    folder = tmp_path / "data" / "reward_bench"
    folder.mkdir(parents=True)
    rows = [
        {"prompt": f"Where is {i}?", "chosen": f"In Rome, {i}.", "rejected": f"In Paris, {i}, I think.",
         "subset": ("alpacaeval-easy", "hep-go", "math-prm")[i % 3]}
        for i in range(30)
    ]  # fmt: skip
    (folder / "filtered.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = ("--data", tmp_path / "data", "--store", tmp_path / "runs", "--instrument", "reward_bench", "--json")
    found = told(align("evaluate", tmp_path / "one", tmp_path / "two", *where))
    of = {row["metric"]: row["models"] for row in found["rows"]}
    assert set(of["reward_bench.accuracy"]) == {"one", "two"}
    assert of["reward_bench.accuracy"]["one"]["n"] == 30
    assert of["reward_bench.longest"]["one"]["value"] == 0, "the rejected answers are longer"
    code, _, err = align("evaluate", models / "first", *where)
    assert code == 2
    assert "no weights for a reward head" in err


def test_the_same_model_twice_is_an_error_that_asks_for_the_adapter(
    align: Align, models: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "first", tmp_path / "twin")
    labels = tmp_path / "labels.jsonl"
    labels.write_text(
        "".join(json.dumps({"answer": ("No.", "Paint it.")[i % 2], "refused": not i % 2}) + "\n" for i in range(120))
    )
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "xstest", "--max-tokens", "4")
    code, out, _ = align("evaluate", tmp_path / "twin", "--against", models / "first", *where, "--labels", labels)
    assert code == 5
    assert "identical outputs: tuned and base said and scored the same on everything; did the adapter load?" in out


def test_a_hub_model_is_taken_from_the_local_cache_at_its_commit_without_a_network(
    models: Path, data: Path, tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--some--chat"
    (place / "blobs").mkdir(parents=True)
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    for file in (models / "first").iterdir():
        blob = place / "blobs" / sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (place / "snapshots" / commit / file.name).symlink_to(Path("../../blobs") / blob.name)
    where = ("--data", data, "--store", tmp_path / "runs", "--instrument", "crows_pairs", "--json")
    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = run_align("evaluate", f"some/chat@{commit}", models / "first", *where, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    rows = {row["metric"]: row["models"] for row in json.loads(done.stdout)["rows"]}
    both = rows["crows_pairs.likelihood_diff"]
    assert both["chat"] == both["first"], "the same weights, from the hub's own layout"
    gone = run_align("evaluate", f"some/chat@{'f' * 40}", *where, cwd=tmp_path, env=env)
    assert gone.returncode == 2
    assert "some/chat@ffffffff: " in gone.stderr
    assert "Traceback" not in gone.stderr
