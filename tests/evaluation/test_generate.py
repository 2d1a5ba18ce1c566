import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.closeness import assert_clear, model_roundings
from tests.models.families.gemma.toys import gemma_model
from tests.models.lora_toys import toy_of
from tests.models.toys import broken_model, toy_config, toy_model
from tunix_exp.errors import NonFinite, UserError
from tunix_exp.evaluation import generate as module
from tunix_exp.evaluation import unpacked as unpacked_module
from tunix_exp.evaluation.generate import Generation, compile_answer, generate
from tunix_exp.evaluation.rounds import FEWEST_ROWS, MOST_ROWS, Rows, bucket, rows_of
from tunix_exp.evaluation.unpacked import unpacked
from tunix_exp.models.loss import first_best
from tunix_exp.models.sharding import placed_shapes
from tunix_exp.training.compiles import CompileCount

NEW = 5
MOST = MOST_ROWS["cpu"]
SIZES = {"num_positions": 40}
FORWARD = model_roundings(toy_config(), 40)


def model(seed=0, **changes):
    return toy_model(seed=seed, **(SIZES | changes))


def prompts(count, seed=0, longest=20):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 31, rng.integers(1, longest)).tolist() for _ in range(count)]


def run(model, prompts, **changes):
    settings = {"max_new_tokens": NEW, "eos_ids": (), "pad_id": 0, "batch_size": 8}
    return generate(model, prompts, **(settings | changes))


@nnx.jit
def next_logits(model, tokens_BT, length):
    one_BT = (jnp.arange(tokens_BT.shape[1])[None] < length).astype(jnp.int32)
    x_BTD, _ = model.hidden(tokens_BT, jnp.arange(tokens_BT.shape[1])[None], one_BT)
    return model.logits(x_BTD)[0, length - 1]


def without_cache(model, prompt, new):
    """The same continuation by whole forwards over the unpadded (right-filled) prompt."""
    tokens = list(prompt)
    for _ in range(new):
        filled = jnp.asarray([tokens + [0] * (30 - len(tokens))])
        logits_V = next_logits(model, filled, len(tokens))
        assert_clear(logits_V, roundings=FORWARD)
        tokens.append(int(logits_V.argmax()))
    return tuple(tokens[len(prompt) :])


def a_model(family, layer_loop, **changes):
    """Of the Gemmas, whose windows hold 3 tokens, layers of both kinds."""
    if family == "gpt2":
        return model(layer_loop=layer_loop)
    return gemma_model(family, num_layers=4, layer_loop=layer_loop, **SIZES, **changes)


@pytest.mark.parametrize(
    ("family", "layer_loop"),
    [("gpt2", "unroll"), ("gpt2", "scan"), ("gemma2", "scan"), ("gemma3", "unroll"), ("gemma3", "scan")],
)
def test_tokens_are_those_of_whole_forwards_without_cache_and_padding(family, layer_loop):
    asked = prompts(6)
    answers = run(a_model(family, layer_loop), asked)
    expected = [without_cache(a_model(family, layer_loop), prompt, NEW) for prompt in asked]
    assert [answer.tokens for answer in answers] == expected
    assert len(set(expected)) > 1
    assert {answer.stop_reason for answer in answers} == {"length"}


def test_a_window_leaves_every_batch_size_and_order_the_same_tokens():
    asked = prompts(MOST + 3)
    gemma = a_model("gemma3", "scan")
    expected = run(gemma, asked)
    assert run(gemma, asked[::-1], batch_size=1) == expected[::-1]
    assert [run(gemma, [prompt])[0] for prompt in asked[:3]] == expected[:3]


def test_every_batch_size_and_order_gives_the_same_tokens():
    asked = prompts(2 * MOST + 3)
    expected = run(model(), asked)
    for batch_size in (1, 7, MOST, MOST + 1, 100):
        assert run(model(), asked, batch_size=batch_size) == expected
    order = np.random.default_rng(5).permutation(len(asked))
    shuffled = run(model(), [asked[i] for i in order])
    assert shuffled == [expected[i] for i in order]


def test_every_batch_size_and_order_makes_the_same_calls(monkeypatch):
    """Equal calls are equal bits: what the device is given does not depend on either."""
    asked = prompts(2 * MOST + 3)
    calls = []
    real = module._program

    def recording(*shapes, **settings):
        program, empty = real(*shapes, **settings)

        def recorded(params, answers, eos_E, prompts, enough):
            # Each prompt by its tokens, as its number says where it was given.
            calls.append((*(np.asarray(part).tobytes() for part in prompts[:2]), int(enough)))
            return program(params, answers, eos_E, prompts, enough)

        return recorded, empty

    monkeypatch.setattr(module, "_program", recording)
    run(model(), asked)
    expected = calls.copy()
    for batch_size, given in ((1, asked), (100, asked), (8, asked[::-1])):
        calls.clear()
        run(model(), given, batch_size=batch_size)
        assert calls == expected
    assert len(expected) >= 3


def test_an_answer_does_not_depend_on_the_other_prompts():
    asked = prompts(MOST + 4)
    together = run(model(), asked)
    assert [run(model(), [prompt])[0] for prompt in asked] == together


def test_rows_that_end_early_make_room_and_every_answer_is_as_if_it_were_asked_alone():
    """What a row kept of an answer before, in a window or a recurrence, leaves no trace in the next one."""
    one = toy_of("recurrent_gemma", **SIZES)
    asked = prompts(3 * MOST, longest=16)
    settings = {"max_new_tokens": 12, "eos_ids": (0, 7, 14, 21, 28)}
    answers = run(one, asked, **settings)
    assert len({len(answer.tokens) for answer in answers}) > 3
    assert [run(one, [prompt], **settings)[0] for prompt in asked[::5]] == answers[::5]


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


def test_the_loop_reads_matrices_in_the_compute_dtype_and_vectors_as_they_are_held():
    read = unpacked(*nnx.split(a_model("gemma3", "scan", compute_dtype=jnp.bfloat16)))
    kinds = {(leaf.ndim > 1, leaf.dtype.name) for leaf in jax.tree.leaves(read)}
    assert kinds == {(True, "bfloat16"), (False, "float32")}


def test_one_new_token_can_be_asked_for():
    asked = prompts(3)
    assert [a.tokens for a in run(model(), asked, max_new_tokens=1)] == [
        a.tokens[:1] for a in run(model(), asked)
    ]


def test_no_prompt_gives_no_answer():
    assert run(model(), []) == []


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [
        ([], FEWEST_ROWS),
        ([5] * FEWEST_ROWS, FEWEST_ROWS),
        ([5] * (FEWEST_ROWS + 1), 2 * FEWEST_ROWS),
        ([5] * FEWEST_ROWS + [30] * FEWEST_ROWS, FEWEST_ROWS),
        ([5] * MOST, MOST),
    ],
)
def test_a_call_has_as_many_rows_as_the_fullest_bucket_fills(lengths, rows):
    assert rows_of(lengths, "cpu", None) == Rows(rows, rows)


def test_of_more_prompts_than_rows_a_few_are_read_together_and_on_a_mesh_one_for_each_part():
    assert rows_of([5] * (MOST + 1), "cpu", None) == Rows(MOST, MOST // 8)
    for parts, read in ((1, 8), (4, 8), (32, 32), (48, 8)):  # 48 do not divide the rows
        mesh = SimpleNamespace(shape={"data": 1, "fsdp": parts, "tensor": 2})
        assert rows_of([5] * 1000, "tpu", mesh) == Rows(64, read)


def test_a_hundred_items_compile_once_a_bucket_and_a_hundred_others_not_at_all():
    few = model(num_layers=1, num_positions=39)  # a model of its own: nothing is compiled for it yet
    items = prompts(100, seed=1)
    compiles = CompileCount()
    run(few, items)
    buckets = {bucket(len(prompt)) for prompt in items}
    assert compiles.count == 2 * len(buckets) == 4  # a round, and rows to begin with
    others = prompts(100, seed=2)
    run(few, others)
    run(few, others[::-1], batch_size=1)
    assert compiles.count == 4


def test_two_models_of_one_config_share_their_programs_and_are_traced_once(monkeypatch):
    run(model(seed=0), prompts(3, longest=8))
    before = module._compiled.cache_info().misses
    monkeypatch.setattr(type(model()), "hidden", None)  # whoever traces the model again fails
    monkeypatch.setattr(unpacked_module, "unstacked", None)
    first, second = (run(model(seed=seed), prompts(3, longest=8)) for seed in (0, 1))
    assert module._compiled.cache_info().misses == before
    assert first != second


def test_progress_is_told_after_every_batch():
    told = []
    run(model(), prompts(MOST + 4, longest=8), batch_size=1, on_batch=told.append)
    assert told == [MOST, MOST + 4]
    told.clear()
    run(model(), prompts(MOST + 4, longest=8), batch_size=2 * MOST, on_batch=told.append)
    assert told == [MOST + 4]


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


def loop_body(program):
    """The instructions of the loop over tokens of a compiled program's text: what each makes, how and for
    what."""
    name = re.search(r' while\(.*body=%([\w.\-]+), metadata={op_name="jit\(one_round\)/while"', program)[1]
    body = re.search(rf"^%{re.escape(name)} .*?^}}", program, re.S | re.M)[0]
    made = r'^  (?:ROOT )?%[\w.\-]+ = (\w+\[[\d,]*\])\S* ([\w\-]+)\((?:.*op_name="([^"]*)")?'
    return re.findall(made, body, re.M)


def test_a_token_copies_neither_the_cache_nor_a_weight():
    gemma = gemma_model("gemma2", width=48, mlp_width=80, layer_loop="scan", vocab_size=997, **SIZES)
    graphdef, params = nnx.split(gemma)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1, 1), ("data", "fsdp", "tensor"))
    params = placed_shapes(params, mesh)
    compiled, _ = compile_answer(graphdef, params, mesh, prompt_lengths=[9], n_eos=1, max_new_tokens=NEW)
    kept = {"f32[8,2,20,8]", "f32[8,2,3,8]"}
    weights = {"f32[48,80]", "f32[80,48]", "f32[997,48]", "f32[48,997]", "f32[3,48,80]", "f32[3,80,48]"}
    body = [one for one in loop_body(compiled.as_text()) if one[0] in kept | weights]
    assert {shape for shape, _, _ in body} >= kept
    made = [one for one in body if one[1] not in ("parameter", "get-tuple-element")]
    assert all(purpose.endswith("/scatter") for _, _, purpose in made), made  # in place
    copied = re.findall(r"= (\w+\[[\d,]*\])\S* copy\(", compiled.as_text())
    assert not kept.intersection(copied)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused_and_never_become_a_token(value):
    broken = broken_model(value, **SIZES)
    with pytest.raises(NonFinite, match=r"(?s)logits of prompt \d, new token 0, are NaN.*model\.weights"):
        run(broken, prompts(3))


def test_one_logit_that_is_no_number_makes_the_row_say_nothing():
    rows = jnp.float32(
        [[1, 3, 3, 2], [1, jnp.nan, 3, 2], [1, 3, jnp.inf, 2], [-jnp.inf] * 4, [-jnp.inf, 2, 1, 0]]
    )
    assert first_best(rows).tolist() == [1, 4, 4, 4, 1]
