"""What the bridge answers is what the harness's own `hf` backend answers, on the checkpoints of the goldens.

tests/goldens/make_harness.py wrote the requests and the answers.
"""

import dataclasses
import json
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import pytest
from flax import nnx
from lm_eval.api.instance import Instance

from tests.closeness import assert_close, model_roundings
from tests.data.chat_templates import IM, QWEN_2_5, chat_tokenizer
from tests.models.families.gemma.toys import gemma_config
from tests.models.toys import toy_config
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError
from tunix_exp.evaluation.harness.bridge import Bridge, Ending, ending, ending_tokens, filled_up
from tunix_exp.models import hf
from tunix_exp.models.architecture import abstract
from tunix_exp.models.families.registry import family_of

GOLDENS = Path(__file__).parents[2] / "goldens"
CONFIGS = {
    "gpt2": toy_config(
        vocab_size=128, num_positions=32, width=32, mlp_width=128, num_layers=2, num_heads=4
    ),
    "gemma": gemma_config(
        "gemma", vocab_size=128, num_positions=32, width=24, mlp_width=40, num_layers=2,
        num_heads=4, num_key_heads=2, head_width=16, query_pre_attn_scalar=16.0,
    ),
}  # fmt: skip
families = pytest.mark.parametrize("family", CONFIGS)


class Bar:
    def __init__(self):
        self.done = 0

    def __call__(self, n=1, **_):
        self.done += n


BARS = []


@contextmanager
def progress(total, what):
    BARS.append((total, Bar()))
    yield BARS[-1][1]


@cache
def bridge(family, batch_size=8, is_chat=False) -> Bridge:
    graphdef, shapes = nnx.split(
        abstract(CONFIGS[family], param_dtype=jnp.float32, compute_dtype=jnp.float32)
    )
    model = nnx.merge(graphdef, hf.read(GOLDENS / family, CONFIGS[family], shapes).params)
    tokenizer = load_tokenizer(str(GOLDENS / "harness" / family), chat="none")
    tokenizer = dataclasses.replace(tokenizer, chat=family_of(CONFIGS[family]).chat)
    return Bridge(
        model, tokenizer, batch_size=batch_size, max_new_tokens=None, is_chat=is_chat, progress=progress
    )


@cache
def expected(family):
    return json.loads((GOLDENS / "harness" / family / "expected.json").read_text())


def requests(kind, rows, task="golden"):
    return [
        Instance(request_type=kind, doc={}, arguments=tuple(row), idx=0, metadata=(task, n, 1))
        for n, row in enumerate(rows)
    ]


@families
def test_loglikelihoods_are_those_of_the_hf_backend(family):
    rows = expected(family)["loglikelihood"]
    found = bridge(family).loglikelihood(requests("loglikelihood", [row[:2] for row in rows]))
    roundings = model_roundings(CONFIGS[family], CONFIGS[family].num_positions)
    assert_close([one[0] for one in found], [row[2] for row in rows], roundings=roundings)
    assert [one[1] for one in found] == [row[3] for row in rows]
    assert {row[3] for row in rows} == {True, False}


@families
def test_a_rolling_window_gives_the_loglikelihoods_of_the_hf_backend(family):
    rows = expected(family)["loglikelihood_rolling"]
    found = bridge(family).loglikelihood_rolling(requests("loglikelihood_rolling", [row[:1] for row in rows]))
    # a window has 32 tokens: the longest text needs several
    roundings = model_roundings(CONFIGS[family], CONFIGS[family].num_positions)
    assert_close(found, [row[1] for row in rows], roundings=roundings)
    assert min(row[1] for row in rows) < -600


@families
def test_answers_are_those_of_the_hf_backend(family):
    rows = expected(family)["generate_until"]
    found = bridge(family).generate_until(requests("generate_until", [row[:2] for row in rows]))
    assert found == [row[2] for row in rows]
    # some end at a text, some at the limit
    assert len({len(text) for text in found}) > 2


def test_a_conversation_is_rendered_as_gemma_s_own_template_renders_it():
    for talk, opens, text in expected("gemma")["chat"]:
        assert "<bos>" + bridge("gemma").apply_chat_template(talk, opens) == text


def test_only_the_chat_template_writes_its_markers():
    asked = bridge("gemma", is_chat=True)
    marker, tokenizer = "<end_of_turn>", asked._tokenizer
    ids = asked.tok_encode(asked.apply_chat_template([{"role": "user", "content": f"a{marker}"}]))
    assert ids.count(tokenizer.backend.token_to_id(marker)) == 1
    assert tokenizer.decode(ids).count(marker) == 2


def test_the_tokenizer_s_own_chat_template_writes_a_task_s_prompt_as_transformers_does(tmp_path):
    from transformers import AutoTokenizer

    folder = chat_tokenizer(tmp_path / "own", QWEN_2_5, IM, adds_bos=True)
    tokenizer = load_tokenizer(folder, chat="tokenizer")
    asked = Bridge(
        bridge("gemma")._model, tokenizer, batch_size=8, max_new_tokens=None, is_chat=True, progress=progress
    )
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    due = AutoTokenizer.from_pretrained(folder).apply_chat_template(talk, add_generation_prompt=True)
    assert asked.tok_encode(asked.apply_chat_template(talk)) == due["input_ids"]


def test_a_task_s_text_makes_no_special_token_without_a_chat_template():
    asked = bridge("gemma")
    text = "a<end_of_turn> <eos> b"
    special = {token_id for token_id, token in asked._tokenizer.backend.get_added_tokens_decoder().items()}
    ids = asked.tok_encode(text, add_special_tokens=False)
    assert not special & set(ids)
    assert special & set(asked._tokenizer.encode(text))
    assert asked._tokenizer.decode(ids) == text


@families
def test_an_answer_is_the_same_to_the_bit_whatever_it_is_asked_together_with(family):
    rows = [row[:2] for row in expected(family)["loglikelihood"]]
    together = bridge(family).loglikelihood(requests("loglikelihood", rows))
    alone = [bridge(family, 1).loglikelihood(requests("loglikelihood", [row]))[0] for row in rows[::7]]
    assert alone == together[::7]
    backwards = bridge(family, 64).loglikelihood(requests("loglikelihood", rows[::-1]))
    assert backwards[::-1] == together


def test_requests_of_many_lengths_compile_few_programs():
    from tunix_exp.evaluation.loglikelihood import _scores

    asked = bridge("gpt2")
    rows = [("x" * n, "y") for n in range(1, 31)]
    asked.loglikelihood(requests("loglikelihood", rows))
    graphdef, _ = nnx.split(asked._model)
    # widths 16, 24 and 32
    assert _scores(graphdef)._cache_size() == 3


def test_progress_counts_every_request_and_what_was_cut_is_counted_by_task():
    asked, text = bridge("gpt2", 1), "x" * 40
    asked.cut.clear()
    BARS.clear()
    asked.loglikelihood(
        requests("loglikelihood", [(text, "y")], "long")
        + requests("loglikelihood", [("x", "y")] * 3, "short")
    )
    asked.generate_until(requests("generate_until", [(text, {"until": [], "max_gen_toks": 4})], "long"))
    assert [(total, bar.done) for total, bar in BARS] == [(4, 4), (1, 1)]
    assert asked.cut == {"long": 2}


def test_no_answer_is_longer_than_the_cap_and_none_gets_more_than_its_task_allows():
    asks = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}
    assert [ending(asks, "toy", cap=cap).max_new_tokens for cap in (None, 3, 20)] == [8, 3, 8]
    assert ending({"until": "."}, "toy", cap=None) == Ending((".",), 256)


def test_an_answer_can_stop_at_every_token_that_begins_with_an_ending():
    tokenizer = bridge("gpt2")._tokenizer
    found = [tokenizer.decode([id_]) for id_ in ending_tokens(tokenizer, ["th", "\n", ""])]
    assert sorted(found) == ["\n", "th", "the"]
    assert ending_tokens(tokenizer, [""]) == ending_tokens(tokenizer, []) == ()
    assert filled_up((5,)) == (5,) * 8
    assert filled_up(tuple(range(9))) == (*range(9), *(0,) * 7)


@pytest.mark.parametrize(
    "asks", [{"do_sample": True}, {"temperature": 0.7}, {"num_beams": 4}, {"repetition_penalty": 1.2}]
)
def test_any_but_greedy_answers_are_refused(asks):
    with pytest.raises(UserError, match=r"(?s)the task toy asks for .*answers are greedy"):
        ending({"until": ["\n"], **asks}, "toy", cap=None)


def test_what_does_not_fit_the_model_is_refused_by_its_task():
    asked = bridge("gpt2")
    with pytest.raises(UserError, match=r"(?s)the task long asks for 'yyyy.*1 to 32 tokens"):
        asked.loglikelihood(requests("loglikelihood", [("x", "y" * 33)], "long"))
    with pytest.raises(UserError, match=r"the task blank asks for 'y' after .*: 3 tokens after 0"):
        asked.loglikelihood(requests("loglikelihood", [("\n\n", "y")], "blank"))
    with pytest.raises(UserError, match=r"(?s)lets an answer have 32 tokens.*eval.max_new_tokens=N"):
        asked.generate_until(requests("generate_until", [("x", {"max_gen_toks": 32})], "roomy"))
