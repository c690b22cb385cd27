from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.models.packing import Bundle, Group, Pack, bundle_rows, pack
from align.models.trees import (
    answer_logps,
    answer_sums,
    hidden_states,
    last_hidden,
    logps,
    supported,
    why_unsupported,
)
from tests.models.families import STRANGERS, family

GROUPS = [
    Group((5, 6, 7, 8, 9, 10, 11, 12, 13), ((20, 21, 22), (20, 23), (30, 31, 32, 33, 34, 35, 36, 37))),
    Group((40, 41), ((42, 43, 44), (45, 46, 47, 48, 49))),
    Group((50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60), ((61,),)),
]

tokens = st.lists(st.integers(0, 4), min_size=1, max_size=9).map(tuple)
groups_strategy = st.lists(st.builds(Group, tokens, st.lists(tokens, min_size=1, max_size=4).map(tuple)), max_size=6)


def alone(model: object, ids: tuple[int, ...], first: int) -> torch.Tensor:
    """Log-probability of each token from `first` on, by the model's own forward over that one sequence."""
    scores = model(input_ids=torch.tensor([ids])).logits[0, first - 1 : -1]  # type: ignore[operator]
    return torch.log_softmax(scores, -1).gather(-1, torch.tensor(ids[first:])[:, None])[:, 0]


@given(groups_strategy, st.integers(1, 40), st.integers(1, 12))
def test_every_answer_token_is_laid_out_once_with_the_context_it_had(
    groups: list[Group], budget: int, share: int
) -> None:
    seen = set()
    for row in pack(groups, budget, share=share):
        assert row.n_tokens <= budget or len({g for g, _ in row.names}) == 1
        for source, target, owner, column in zip(row.sources, row.targets, row.owners, row.columns, strict=True):
            g, k = row.names[owner]
            ids = groups[g].prompt + groups[g].answers[k]
            assert (row.tokens[source], row.positions[source], target) == (ids[column - 1], column - 1, ids[column])
            assert visible(row, source) == ids[:column]
            seen.add((g, k, column))
    wanted = {
        (g, k, len(group.prompt) + i)
        for g, group in enumerate(groups)
        for k, answer in enumerate(group.answers)
        for i in range(len(answer))
    }
    assert seen == wanted


def visible(row: Pack, place: int) -> tuple[int, ...]:
    """The tokens that a place of the flat row sees, by its segments."""
    segment = next(s for s in row.segments if s.first <= place < s.stop)
    return tuple(row.tokens[segment.before : segment.before_stop] + row.tokens[segment.first : place + 1])


@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8).map(tuple), min_size=1, max_size=7))
def test_rows_of_a_batch_keep_their_own_context_when_prefixes_are_found(rows: list[tuple[int, ...]]) -> None:
    predicted = [range(1, len(row)) for row in rows]
    bundles = bundle_rows(rows, predicted, share=1)
    row = Pack(bundles)
    assert sorted(row.names) == [(i, 0) for i in range(len(rows))]
    for source, owner, column in zip(row.sources, row.owners, row.columns, strict=True):
        assert visible(row, source) == rows[row.names[owner][0]][:column]


def test_a_shared_prompt_is_written_once_and_a_last_token_not_at_all() -> None:
    (row,) = pack([Group((1, 2, 3, 4, 5, 6, 7, 8), ((9, 10), (11, 12, 13)))], 100)
    assert row.tokens == [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 9]
    assert row.positions == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 8]


def test_a_prompt_shorter_than_the_threshold_is_not_shared() -> None:
    (row,) = pack([Group((1, 2, 3), ((9, 10), (11, 12, 13)))], 100, share=4)
    assert row.n_tokens == 4 + 5


def test_a_group_without_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="group 0 has 0 prompt tokens"):
        pack([Group((), ((1, 2),))], 100)


def test_first_fit_puts_the_largest_first_and_cuts_no_group() -> None:
    groups = [Group((1,), (tuple(range(n)),)) for n in (3, 9, 5, 1)]
    # a prompt of one token and n answer tokens, of which the last is not written: 3, 9, 5 and 1
    assert [row.n_tokens for row in pack(groups, 10)] == [9 + 1, 5 + 3]
    assert sorted(name for row in pack(groups, 10) for name in row.names) == [(g, 0) for g in range(4)]


@pytest.mark.parametrize("share", [1, 1000])
@pytest.mark.parametrize("name", ["llama", "mistral_window", "gemma3", "gpt2", "gpt_oss"])
def test_answers_in_a_tree_have_the_log_probabilities_they_have_alone(name: str, share: int) -> None:
    model = family(name)
    found = answer_logps(model, GROUPS, 40, share=share)
    for g, group in enumerate(GROUPS):
        for k, answer in enumerate(group.answers):
            wanted = alone(model, group.prompt + answer, len(group.prompt))
            torch.testing.assert_close(found.tokens[g][k], wanted.float(), rtol=1e-5, atol=3e-5)
            assert found.sums[g][k] == pytest.approx(float(wanted.detach().sum()), abs=1e-3)


def test_gpt2_is_exact_to_float64() -> None:
    model = family("gpt2")
    (row,) = pack(GROUPS, 1000, share=1)
    sums = answer_sums(logps(model, row)["log_probs"], row)
    for (g, k), value in zip(row.names, sums, strict=True):
        group = GROUPS[g]
        wanted = alone(model, group.prompt + group.answers[k], len(group.prompt)).sum()
        assert float(value) == pytest.approx(float(wanted), rel=1e-13)


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_a_family_that_does_not_ask_the_interface_is_found(name: str) -> None:
    model = family(name)
    assert not supported(model)
    assert why_unsupported(model)


def test_the_model_is_as_it_was_after_a_tree_pass() -> None:
    model = family("llama")
    before = model.config._attn_implementation
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = model(input_ids=ids).logits
    answer_logps(model, GROUPS)
    assert model.config._attn_implementation == before
    assert torch.equal(model(input_ids=ids).logits, plain)


def test_a_failed_tree_pass_leaves_the_model_as_it_was() -> None:
    model = family("llama")
    before = model.config._attn_implementation
    with pytest.raises(IndexError):
        answer_logps(model, [Group((5, 6), ((4000, 4001),))])
    assert model.config._attn_implementation == before


def test_the_last_hidden_state_of_an_answer_is_that_of_the_answer_alone() -> None:
    model = family("llama")
    for row in pack(GROUPS, 40, share=1, keep_last=True):
        found = last_hidden(model, row)
        for (g, k), state in zip(row.names, found, strict=True):
            ids = torch.tensor([GROUPS[g].prompt + GROUPS[g].answers[k]])
            torch.testing.assert_close(state, model.model(input_ids=ids).last_hidden_state[0, -1], rtol=1e-5, atol=1e-5)


def test_a_pack_without_last_tokens_has_no_ends() -> None:
    (row,) = pack(GROUPS, 1000)
    with pytest.raises(ValueError, match="keep_last=True"):
        last_hidden(family("llama"), row)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_layer_runs_again_over_the_tree_it_ran_over_before(reentrant: bool) -> None:
    model = family("llama").train()
    first, second = pack(GROUPS[:1], 1000, share=1) + pack(GROUPS[1:], 1000, share=1)
    grads = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model.zero_grad()
        # both trees are run before either goes back: the second must not stand in for the first
        loss = sum(hidden_states(model, row).tanh().sum() for row in (first, second))
        loss.backward()
        grads.append([p.grad.clone() for p in model.model.parameters()])
    for plain, checkpointed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, checkpointed, rtol=1e-12, atol=1e-12)


def test_identical_rows_share_all_but_a_token() -> None:
    (bundle,) = bundle_rows([(1, 2, 3, 4), (1, 2, 3, 4)], [range(1, 4)] * 2, share=1)
    assert bundle == Bundle(((1, 2, 3, 4),) * 2, (range(1, 4),) * 2, 3, ((0, 0), (1, 0)))
