import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.toys import toy_model
from tunix_exp.errors import UserError
from tunix_exp.evaluation import generate as module
from tunix_exp.evaluation.generate import BLOCK_ROWS, Generation, bucket, generate

NEW = 5
SIZES = {"num_positions": 40}


def model(seed=0, **changes):
    return toy_model(seed=seed, **(SIZES | changes))


def prompts(count, seed=0, longest=20):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 31, rng.integers(1, longest)).tolist() for _ in range(count)]


def run(model, prompts, **changes):
    settings = {"max_new_tokens": NEW, "eos_ids": (), "pad_id": 0, "batch_size": 8}
    return generate(model, prompts, **(settings | changes))


@nnx.jit
def next_token(model, tokens_BT, length):
    one_BT = (jnp.arange(tokens_BT.shape[1])[None] < length).astype(jnp.int32)
    x_BTD, _ = model.hidden(tokens_BT, jnp.arange(tokens_BT.shape[1])[None], one_BT)
    return model.logits(x_BTD)[0, length - 1].argmax()


def without_cache(model, prompt, new):
    """The same continuation by whole forwards over the unpadded (right-filled) prompt."""
    tokens = list(prompt)
    for _ in range(new):
        filled = jnp.asarray([tokens + [0] * (30 - len(tokens))])
        tokens.append(int(next_token(model, filled, len(tokens))))
    return tuple(tokens[len(prompt) :])


@pytest.mark.parametrize("layer_loop", ["unroll", "scan"])
def test_tokens_are_those_of_whole_forwards_without_cache_and_padding(layer_loop):
    asked = prompts(6)
    answers = run(model(layer_loop=layer_loop), asked)
    expected = [without_cache(model(layer_loop=layer_loop), prompt, NEW) for prompt in asked]
    assert [answer.tokens for answer in answers] == expected
    assert len(set(expected)) > 1
    assert {answer.stop_reason for answer in answers} == {"length"}


def test_every_batch_size_and_order_gives_the_same_tokens():
    asked = prompts(2 * BLOCK_ROWS + 3)
    expected = run(model(), asked)
    for batch_size in (1, 7, BLOCK_ROWS, BLOCK_ROWS + 1, 100):
        assert run(model(), asked, batch_size=batch_size) == expected
    order = np.random.default_rng(5).permutation(len(asked))
    shuffled = run(model(), [asked[i] for i in order])
    assert shuffled == [expected[i] for i in order]


def test_every_batch_size_and_order_makes_the_same_calls(monkeypatch):
    """Equal calls are equal bits: what the device is given does not depend on either."""
    asked = prompts(2 * BLOCK_ROWS + 3)
    calls = []
    real = module._answer

    def recorded(graphdef, params, eos_E, tokens_RP, segment_ids_RP, **settings):
        calls.append((tokens_RP.tobytes(), segment_ids_RP.tobytes()))
        return real(graphdef, params, eos_E, tokens_RP, segment_ids_RP, **settings)

    monkeypatch.setattr(module, "_answer", recorded)
    run(model(), asked)
    expected = calls.copy()
    for batch_size, given in ((1, asked), (100, asked), (8, asked[::-1])):
        calls.clear()
        run(model(), given, batch_size=batch_size)
        assert calls == expected
    assert len(expected) >= 3


def test_an_answer_does_not_depend_on_the_other_prompts():
    asked = prompts(BLOCK_ROWS + 4)
    together = run(model(), asked)
    assert [run(model(), [prompt])[0] for prompt in asked] == together


def test_the_end_of_sequence_stops_a_row_and_is_not_among_its_tokens():
    asked = prompts(6)
    whole = run(model(), asked)
    eos = whole[0].tokens[2]
    expected = []
    for answer in whole:
        at = answer.tokens.index(eos) if eos in answer.tokens else NEW
        expected.append(Generation(answer.tokens[:at], "eos" if at < NEW else "length"))
    assert run(model(), asked, eos_ids=(eos,)) == expected
    assert run(model(), asked, eos_ids=(30, eos, 29))[0].stop_reason == "eos"
    assert {answer.stop_reason for answer in expected} == {"eos", "length"}


def test_one_new_token_can_be_asked_for():
    asked = prompts(3)
    assert [a.tokens for a in run(model(), asked, max_new_tokens=1)] == [
        a.tokens[:1] for a in run(model(), asked)
    ]


def test_no_prompt_gives_no_answer():
    assert run(model(), []) == []


def test_two_models_of_one_config_share_their_programs():
    run(model(seed=0), prompts(3, longest=8))
    before = module._answer._cache_size()
    first, second = (run(model(seed=seed), prompts(3, longest=8)) for seed in (0, 1))
    assert module._answer._cache_size() == before
    assert first != second


def test_progress_is_told_after_every_batch():
    told = []
    run(model(), prompts(BLOCK_ROWS + 4, longest=8), batch_size=1, on_batch=told.append)
    assert told == [BLOCK_ROWS, BLOCK_ROWS + 4]
    told.clear()
    run(model(), prompts(BLOCK_ROWS + 4, longest=8), batch_size=2 * BLOCK_ROWS, on_batch=told.append)
    assert told == [BLOCK_ROWS + 4]


@pytest.mark.parametrize(
    ("length", "expected"), [(1, 16), (16, 16), (17, 24), (24, 24), (25, 32), (33, 48), (49, 64), (65, 96)]
)
def test_few_buckets_hold_every_length(length, expected):
    assert bucket(length) == expected


def test_a_prompt_that_fits_exactly_is_answered():
    assert len(run(model(), [[1] * 35])[0].tokens) == 5


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ([1] * 36, r"prompt 1 has 36 tokens, with 5 new ones 41; the model has 40 positions"),
        ([], "prompt 1 is empty"),
        ([31], r"prompt 1 has a token outside 0 … 30, the model's vocabulary: 31"),
        ([-1], r"prompt 1 has a token outside 0 … 30, the model's vocabulary: -1"),
    ],
)
def test_a_prompt_that_cannot_be_answered_is_named(bad, what):
    with pytest.raises(UserError, match=what) as raised:
        run(model(), [[1], bad])
    assert "eval.max_new_tokens" in str(raised.value)


def test_all_bad_prompts_are_named_at_once():
    with pytest.raises(UserError, match=r"prompt 0 is empty\nprompt 2 is empty"):
        run(model(), [[], [1], []])
