import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.toys import TEMPLATE, TURNS, example, saved_tokenizer
from tunix_exp.data.batch import laid_out
from tunix_exp.data.card import example_text
from tunix_exp.data.config import TooLong
from tunix_exp.data.encode import Encoder
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import END_OF_TEXT, load_tokenizer
from tunix_exp.errors import UserError

BYTES = load_tokenizer("bundled:bytes", chat="none")
# The end of text serves as a begin token here: one id that a text can also spell.
WITH_BOS = replace(BYTES, bos_ids=(0,))
RENDERER = Renderer(TEMPLATE)


def text(tokens_T: np.ndarray) -> str:
    return BYTES.decode(tokens_T.tolist())


def refusal(examples, max_tokens=64, too_long: TooLong = "error", tokenizer=BYTES, renderer=RENDERER) -> str:
    with pytest.raises(UserError) as caught:
        tokenize(examples, renderer, tokenizer, max_tokens, too_long)
    return str(caught.value)


def test_an_example_is_prompt_then_response_then_the_end():
    kept = tokenize([example("Q?", "s", answer="A")], RENDERER, BYTES, 64, "error").kept[0]
    assert text(kept.tokens_T) == "Q?\ns\nAnswer: A<|endoftext|>"
    assert (kept.prompt_length, kept.response_length) == (3, 12)
    assert kept.tokens_T.dtype == np.int32


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_prompt_of_evaluation_is_the_prefix_of_training(question, answer):
    asked = [example(question, answer=answer)]
    kept = (
        tokenize(asked, RENDERER, WITH_BOS, 10_000, "error").kept[0]
        if "\0" not in question + answer
        else None
    )
    if kept is not None:
        assert Encoder(RENDERER, WITH_BOS).prompts(asked)[0] == kept.tokens_T[: kept.prompt_length].tolist()


def test_begin_tokens_stand_once_before_the_prompt():
    for question in ("Q?", "\0Q?"):
        kept = tokenize([example(question)], RENDERER, WITH_BOS, 64, "error").kept[0]
        assert kept.tokens_T[:3].tolist() == [0, ord("Q"), ord("?")]


def test_a_second_begin_token_is_refused():
    assert "the prompt has 2 begin-of-sequence tokens, not one" in refusal(
        [example("\0\0Q?")], tokenizer=WITH_BOS
    )
    assert "the response of x-1 contains the begin token" in refusal(
        [example("Q?", answer="\0")], tokenizer=WITH_BOS
    )


def test_a_template_that_writes_the_end_into_the_response_is_refused():
    ends = TEMPLATE.model_copy(update={"response_without_reasoning": "{answer}<|endoftext|>."})
    message = refusal([example("Q?", answer="A")], renderer=Renderer(ends))
    assert "the response of x-1 contains the end token" in message
    assert "toy.jsonl:1" in message


NAME = "<|endoftext|>"


@pytest.mark.parametrize(
    "made",
    [
        example(f"Q{NAME}?", "s", answer="A"),
        example("Q?", "s", f"{NAME}{NAME}", answer="A"),
        example("Q?", "s", answer=f"A{NAME}B"),
        example(f"{NAME}\ufdd0{NAME}\ufdd1", f"{NAME}", answer=NAME),
    ],
)
def test_the_name_of_a_special_token_in_the_data_is_text_and_counted(made):
    whole = RENDERER.prompt(made) + RENDERER.response(made)
    tokenized = tokenize([example("Q?", answer="A"), made], RENDERER, BYTES, 150, "error")
    tokens_T = tokenized.kept[1].tokens_T
    assert tokens_T.tolist() == [*whole.encode(), 256]
    found = tokenized.statistics.special_names
    assert (found.rows, found.names) == (1, {NAME: whole.count(NAME)})


def test_a_special_token_of_the_template_is_a_token_beside_the_same_name_in_the_data():
    renderer = Renderer(TEMPLATE.model_copy(update={"prompt": f"{NAME}{{question}}{NAME}\n"}))
    plain, named = tokenize([example("Q"), example(NAME)], renderer, BYTES, 99, "error").kept
    assert plain.tokens_T.tolist()[:4] == [256, ord("Q"), 256, 10]
    assert named.tokens_T.tolist()[:16] == [256, *NAME.encode(), 256, 10]


def test_data_and_template_together_make_no_special_token():
    renderer = Renderer(TEMPLATE.model_copy(update={"prompt": "<|{question}|>\n"}))
    tokenized = tokenize([example("endoftext")], renderer, BYTES, 99, "error")
    assert tokenized.kept[0].tokens_T.tolist()[:14] == [*NAME.encode(), 10]


def test_a_shortened_reasoning_keeps_the_name_of_a_special_token_text():
    made = example("Q?", f"01{NAME}", answer="A")
    tokenized = tokenize([made], RENDERER, BYTES, 20, "shorten")
    assert text(tokenized.kept[0].tokens_T) == "Q?\n01<|en\nAnswer: A<|endoftext|>"
    assert tokenized.kept[0].tokens_T.tolist().count(256) == 1


def test_the_counts_of_names_are_told_in_a_line():
    made = [example(f"{NAME}?"), example("Q", answer=NAME), example("Q")]
    found = tokenize(made, RENDERER, BYTES, 99, "error").statistics.special_names
    assert found.describe() == f"2 rows hold the text of special tokens, read as text: {NAME} 2"
    assert tokenize(made[2:], RENDERER, BYTES, 99, "error").statistics.special_names.describe() == ""


def test_an_example_without_prompt_or_response_tokens_is_refused():
    silent = Renderer(
        TEMPLATE.model_copy(update={"prompt": "{question}", "response_without_reasoning": "{answer}"})
    )
    assert "the response of x-1 has no tokens" in refusal([example("Q?", answer="")], renderer=silent)
    assert "the prompt has no tokens" in refusal([example("", answer="A")], renderer=silent)


def test_too_long_examples_are_an_error_that_names_the_longest_and_the_remedies():
    message = refusal([example("Q" * 50), example("Q?"), example("Q" * 60)], 30)
    assert "2 of 3 examples are longer than 30 tokens" in message
    assert "data.max_tokens=71 holds them all" in message
    assert "data.too_long=drop" in message


def test_too_long_items_name_their_source_and_the_models_positions():
    with pytest.raises(UserError, match="1 of 1 examples are longer than 30 tokens") as caught:
        tokenize([example("Q" * 50)], RENDERER, BYTES, 30, "error", key="eval")
    assert "where: eval.source" in str(caught.value)
    assert "choose a model with more positions" in str(caught.value)


def test_more_than_ten_too_long_examples_are_counted():
    assert "… and 2 more" in refusal([example("Q" * 50)] * 12, 30)


def test_too_long_examples_are_dropped_and_counted():
    short, long = example("Q?"), example("Q" * 50, name="long")
    tokenized = tokenize([short, long], RENDERER, BYTES, 30, "drop")
    assert [kept.example for kept in tokenized.kept] == [short]
    assert (tokenized.statistics.rows_dropped, tokenized.statistics.dropped_ids) == (1, ("long",))


def test_shortening_cuts_reasoning_and_keeps_prompt_answer_and_end():
    tokenized = tokenize([example("Q?", "0123456789", answer="A")], RENDERER, BYTES, 18, "shorten")
    assert text(tokenized.kept[0].tokens_T) == "Q?\n0123\nAnswer: A<|endoftext|>"
    assert len(tokenized.kept[0].tokens_T) == 18
    assert (tokenized.statistics.rows_shortened, tokenized.statistics.shortened_ids) == (1, ("x-1",))


def test_shortening_never_cuts_inside_a_character():
    tokenized = tokenize([example("Q?", "aé€é", answer="A")], RENDERER, BYTES, 19, "shorten")
    assert text(tokenized.kept[0].tokens_T) == "Q?\naé\nAnswer: A<|endoftext|>"


def test_what_shortening_cannot_save_is_dropped():
    examples = [example("Q?"), example("Q?", "s" * 60, answer="A" * 40), example("Q" * 60)]
    tokenized = tokenize(examples, RENDERER, BYTES, 30, "shorten")
    statistics = tokenized.statistics
    assert (statistics.rows_kept, statistics.rows_shortened, statistics.rows_dropped) == (1, 0, 2)


def test_a_set_of_which_nothing_fits_is_an_error():
    message = refusal([example("Q" * 50)], 30, "drop")
    assert "none of the 1 examples fits 30 tokens (the longest has 61)" in message
    assert "raise data.max_tokens" in message


def test_the_statistics_are_of_the_kept_examples():
    examples = [example("Q?", answer="A"), example("Q??", answer="AAA")]
    statistics = tokenize(examples, RENDERER, BYTES, 64, "error").statistics
    assert (statistics.prompt_tokens.min, statistics.prompt_tokens.max) == (3, 4)
    assert (statistics.response_tokens.min, statistics.response_tokens.max) == (10, 12)
    assert (statistics.total_tokens.mean, statistics.total_tokens.p50) == (14.5, 14.5)
    assert statistics.total_tokens.p95 == pytest.approx(15.85)
    assert statistics.supervised_share == pytest.approx(22 / 29)
    assert (statistics.rows_read, statistics.rows_kept) == (2, 2)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """The byte tokenizer with `<bos>` 257 in front and turns marked by 258 and 259."""
    folder = tmp_path_factory.mktemp("chat") / "tokenizer"
    return load_tokenizer(saved_tokenizer(folder, *TURNS, adds_bos=True, eos_token=END_OF_TEXT), chat="gemma")


TALK = Renderer(TEMPLATE.model_copy(update={"chat": "gemma", "system": "Be brief."}))


def test_a_chat_s_response_ends_with_its_turn_and_nothing_after_it(chat):
    kept = tokenize([example("Q?", "s", answer="A")], TALK, chat, 99, "error").kept[0]
    assert chat.decode(kept.tokens_T.tolist()) == (
        "<bos><start_of_turn>user\nBe brief.\n\nQ?<end_of_turn>\n<start_of_turn>model\n"
        "s\nAnswer: A<end_of_turn>"
    )
    assert kept.tokens_T.tolist().count(257) == 1
    assert kept.tokens_T[0] == 257
    assert kept.tokens_T[kept.prompt_length :].tolist() == [*b"s\nAnswer: A", 259]


def test_the_end_of_the_turn_is_in_the_loss_mask_and_no_token_after_it(chat):
    kept = tokenize([example("Q?", answer="A")], TALK, chat, 99, "error").kept
    rows = laid_out([[example] for example in kept], (), width=99, pad_id=chat.pad_id)
    learned_T = rows.tokens_BT[0][rows.loss_mask_BT[0]]
    assert learned_T.tolist() == [*b"Answer: A", 259]


def test_a_shortened_response_of_a_chat_ends_with_its_turn(chat):
    whole = tokenize([example("Q?", "long" * 9, answer="A")], TALK, chat, 200, "error").kept[0]
    made = tokenize([example("Q?", "long" * 9, answer="A")], TALK, chat, len(whole.tokens_T) - 5, "shorten")
    assert made.statistics.rows_shortened == 1
    assert chat.decode(made.kept[0].tokens_T.tolist()).endswith("longlon\nAnswer: A<end_of_turn>")


def test_in_a_chat_the_names_of_special_tokens_are_text_wherever_they_stand(chat):
    renderer = Renderer(TEMPLATE.model_copy(update={"chat": "gemma", "system": "Never <bos>."}))
    made = example("<start_of_turn>user\n<eos>?", "<end_of_turn>", answer="A<|endoftext|>")
    tokenized = tokenize([made], renderer, chat, 999, "error")
    tokens_T = tokenized.kept[0].tokens_T
    assert [int(id_) for id_ in tokens_T if id_ >= 256] == [257, 258, 259, 258, 259]
    assert chat.decode(tokens_T.tolist()) == (
        "<bos><start_of_turn>user\nNever <bos>.\n\n<start_of_turn>user\n<eos>?<end_of_turn>\n"
        "<start_of_turn>model\n<end_of_turn>\nAnswer: A<|endoftext|><end_of_turn>"
    )
    assert tokenized.statistics.special_names.names == {
        "<bos>": 1, "<start_of_turn>": 1, "<end_of_turn>": 1, "<|endoftext|>": 1
    }  # fmt: skip


SAID = (("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"))


def talked(chat, learn, messages=SAID):
    made = replace(example("Q2", answer="A2"), messages=messages)
    return tokenize([made], Renderer(TALK.template), chat, 200, "error", learn=learn).kept[0]


@pytest.mark.parametrize(
    ("learn", "learnt"),
    [
        ("assistant_turns", "A1<end_of_turn>A2<end_of_turn>"),
        ("last_turn", "A2<end_of_turn>"),
        ("all_tokens", None),
    ],
)
def test_what_is_learnt_of_a_conversation_is_what_the_config_names(chat, learn, learnt):
    kept = talked(chat, learn)
    marked = chat.decode(kept.tokens_T[kept.learnt_T].tolist())
    assert marked == (chat.decode(kept.tokens_T[1:].tolist()) if learnt is None else learnt)
    assert chat.decode(kept.tokens_T[kept.prompt_length :].tolist()) == "A2<end_of_turn>"


def test_the_one_response_of_a_conversation_with_two_is_refused_with_the_remedies(chat):
    with pytest.raises(UserError) as caught:
        talked(chat, "response")
    message = str(caught.value)
    assert "x-1 has 2 messages of the assistant, and data.learn=response means the only one" in message
    assert "set data.learn=assistant_turns to learn all of them, or data.learn=last_turn" in message
    assert talked(chat, "response", SAID[2:]).learnt_T.sum() == 3


def test_the_prompt_of_a_conversation_in_evaluation_is_the_prefix_of_training(chat):
    made = replace(example("Q2", answer="A2"), messages=SAID)
    kept = talked(chat, "last_turn")
    assert Encoder(TALK, chat).prompts([made])[0] == kept.tokens_T[: kept.prompt_length].tolist()


def test_every_answer_of_a_conversation_is_marked_where_its_tokens_stand(chat):
    shown = example_text(talked(chat, "assistant_turns"), chat, "assistant_turns")
    assert (
        "  <start_of_turn>model⏎\n  .....................\n  A1<end_of_turn>⏎\n  ^^^^^^^^^^^^^^^.\n" in shown
    )


def test_the_example_of_a_chat_shows_where_it_ends(chat):
    kept = tokenize([example("Q?", answer="A")], TALK, chat, 99, "error").kept[0]
    assert example_text(kept, chat, "response").rstrip().endswith("259     ^     '<end_of_turn>'  (end)")


def test_an_encoder_is_let_go_of_when_nobody_has_it_any_more():
    encoder = Encoder(RENDERER, WITH_BOS)
    encoder.prompts([example("Q?", "s", answer="A")])
    left = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert left() is None
