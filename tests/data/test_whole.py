from dataclasses import replace
from functools import cache

import pytest

from tests.data.chat_templates import FAMILIES, IM, QWEN_3, chat_tokenizer
from tests.data.toys import TEMPLATE, example
from tunix_exp.data.card import example_text
from tunix_exp.data.config import Learn
from tunix_exp.data.encode import Encoder
from tunix_exp.data.example import Example
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import Tokenizer, load_tokenizer
from tunix_exp.errors import UserError

OWN = TEMPLATE.model_copy(update={"chat": "tokenizer"})
Q, A, Q2, A2 = ("user", "Q1?"), ("assistant", "A1"), ("user", " Né?"), ("assistant", "A2.")
SYSTEM = ("system", "Be brief.")


@pytest.fixture(scope="module")
def tokenizer_of(tmp_path_factory):
    @cache
    def load(template: str, tokens: tuple[str, ...], adds_bos: bool = False, date: str | None = None):
        folder = tmp_path_factory.mktemp("own") / "tokenizer"
        reference = chat_tokenizer(folder, template, tokens, adds_bos=adds_bos)
        return load_tokenizer(reference, chat="tokenizer", date=date)

    return load


def pretrained(tokenizer: Tokenizer):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer.folder)


def applied(tokenizer: Tokenizer, messages, *, opens_answer: bool) -> list[int]:
    """What transformers makes of the messages."""
    dicts = [{"role": role, "content": content} for role, content in messages]
    made = pretrained(tokenizer).apply_chat_template(
        dicts, tokenize=True, add_generation_prompt=opens_answer, return_dict=True
    )
    return made["input_ids"]


def talk(*messages: tuple[str, str]) -> Example:
    return replace(example(messages[-2][1], answer=messages[-1][1]), messages=messages)


def renderer_of(tokenizer: Tokenizer, **changes) -> Renderer:
    return Renderer(OWN.model_copy(update=changes), own=tokenizer.own_chat)


def tokens_of(tokenizer: Tokenizer, made: Example, learn: Learn = "last_turn", most: int = 999, **changes):
    return tokenize([made], renderer_of(tokenizer, **changes), tokenizer, most, "shorten", learn=learn).kept[
        0
    ]


def learnt(tokenizer: Tokenizer, kept) -> str:
    return tokenizer.decode(kept.tokens_T[kept.learnt_T].tolist())


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("messages", [(Q, A), (SYSTEM, Q, A), (Q, A, Q2, A2), (SYSTEM, Q, A, Q2, A2)])
def test_a_conversation_and_its_prompt_are_those_of_apply_chat_template(tokenizer_of, name, messages):
    tokenizer = tokenizer_of(*FAMILIES[name])
    kept = tokens_of(tokenizer, talk(*messages))
    assert kept.tokens_T.tolist() == applied(tokenizer, messages, opens_answer=False)
    prompt = applied(tokenizer, messages[:-1], opens_answer=True)
    assert kept.tokens_T[: kept.prompt_length].tolist() == prompt
    assert Encoder(renderer_of(tokenizer), tokenizer).prompts([talk(*messages)]) == [prompt]
    assert kept.tokens_T.tolist().count(257) == (name in ("Gemma", "Llama 3", "Llama 3.1"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_question_and_its_answer_are_a_message_each(tokenizer_of, name):
    tokenizer = tokenizer_of(*FAMILIES[name])
    kept = tokens_of(
        tokenizer, example("Q?", "s", answer="A"), system="Be brief.", prompt="Solve: {question}"
    )
    messages = (SYSTEM, ("user", "Solve: Q?"), ("assistant", "s\nAnswer: A"))
    assert kept.tokens_T.tolist() == applied(tokenizer, messages, opens_answer=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_answer_is_learnt_with_the_token_that_ends_it_and_nothing_else(tokenizer_of, name):
    tokenizer = tokenizer_of(*FAMILIES[name])
    end = FAMILIES[name][1][-1]
    made = talk(SYSTEM, Q, A, Q2, A2)
    thought = "<think>\n\n</think>\n\n" if name == "Qwen 3" else ""
    last = f"{thought}A2.{end}"
    assert learnt(tokenizer, tokens_of(tokenizer, made, "assistant_turns")) == f"A1{end}{last}"
    assert learnt(tokenizer, tokens_of(tokenizer, made, "last_turn")) == last
    everything = tokens_of(tokenizer, made, "all_tokens")
    assert not everything.learnt_T[0]
    assert everything.learnt_T[1:].all()
    assert tokenizer.decode([tokenizer.end_id]) == end
    assert tokenizer.stop_ids[0] == tokenizer.end_id


PRINTED = {
    "Gemma": (
        "  <bos><start_of_turn>user⏎\n  .........................\n"
        "  Q1?<end_of_turn>⏎\n  .................\n"
        "  <start_of_turn>model⏎\n  .....................\n"
        "  A1<end_of_turn>⏎\n  ^^^^^^^^^^^^^^^.\n"
    ),
    "Llama 3": (
        "  <bos><|start_header_id|>user<|end_header_id|>⏎\n  ..............................................\n"
        "  ⏎\n  .\n"
        "  Q1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎\n"
        "  ...........................................................\n"
        "  ⏎\n  .\n"
        "  A1<|eot_id|>\n  ^^^^^^^^^^^^\n"
    ),
    "Llama 3.1": (
        "  ⏎\n  .\n"
        "  <|eot_id|><|start_header_id|>user<|end_header_id|>⏎\n"
        "  ...................................................\n"
        "  ⏎\n  .\n"
        "  Q1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>⏎\n"
        "  ...........................................................\n"
        "  ⏎\n  .\n"
        "  A1<|eot_id|>\n  ^^^^^^^^^^^^\n"
    ),
    "Qwen 2.5": (
        "  <|im_start|>system⏎\n  ...................\n"
        "  You are Qwen.<|im_end|>⏎\n  ........................\n"
        "  <|im_start|>user⏎\n  .................\n"
        "  Q1?<|im_end|>⏎\n  ..............\n"
        "  <|im_start|>assistant⏎\n  ......................\n"
        "  A1<|im_end|>⏎\n  ^^^^^^^^^^^^.\n"
    ),
    "Qwen 3": (
        "  <|im_start|>assistant⏎\n  ......................\n"
        "  <think>⏎\n  ^^^^^^^^\n"
        "  ⏎\n  ^\n"
        "  </think>⏎\n  ^^^^^^^^^\n"
        "  ⏎\n  ^\n"
        "  A1<|im_end|>⏎\n  ^^^^^^^^^^^^.\n"
    ),
    "SmolLM2": (
        "  You are SmolLM.<|im_end|>⏎\n  ..........................\n"
        "  <|im_start|>user⏎\n  .................\n"
        "  Q1?<|im_end|>⏎\n  ..............\n"
        "  <|im_start|>assistant⏎\n  ......................\n"
        "  A1<|im_end|>⏎\n  ^^^^^^^^^^^^.\n"
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_printed_example_marks_the_answer_and_its_end(tokenizer_of, name):
    tokenizer = tokenizer_of(*FAMILIES[name])
    shown = example_text(tokens_of(tokenizer, talk(Q, A)), tokenizer, "response")
    assert PRINTED[name] in shown


@pytest.mark.parametrize("name", FAMILIES)
def test_names_of_special_tokens_in_messages_are_text(tokenizer_of, name):
    tokenizer = tokenizer_of(*FAMILIES[name])
    plain = tokens_of(tokenizer, talk(SYSTEM, Q, A))
    names = "".join(FAMILIES[name][1])
    made = talk((SYSTEM[0], f"Be {names} brief."), (Q[0], f"Q{names}?"), (A[0], f"A{names}1"))
    kept = tokens_of(tokenizer, made)
    assert [i for i in kept.tokens_T if i >= 256] == [i for i in plain.tokens_T if i >= 256]
    assert learnt(tokenizer, kept).endswith(f"A{names}1{FAMILIES[name][1][-1]}")
    counted = tokenize([made], renderer_of(tokenizer), tokenizer, 999, "error").statistics.special_names
    assert counted.names == dict.fromkeys(sorted(FAMILIES[name][1]), 3)


def test_a_shortened_answer_is_rendered_again_and_ends_as_it_did(tokenizer_of):
    tokenizer = tokenizer_of(*FAMILIES["Qwen 2.5"])
    made = example("Q?", "0123456é89", answer="A")
    whole = tokens_of(tokenizer, made)
    kept = tokens_of(tokenizer, made, most=len(whole.tokens_T) - 3)
    assert learnt(tokenizer, kept) == "0123456\nAnswer: A<|im_end|>"
    assert kept.tokens_T[: kept.prompt_length].tolist() == whole.tokens_T[: whole.prompt_length].tolist()


def test_an_earlier_answer_that_the_template_cuts_is_refused_with_role_row_and_remedy(tokenizer_of):
    tokenizer = tokenizer_of(QWEN_3, IM)
    first, last = (("assistant", f"<think>\n{thought}\n</think>\n\nA") for thought in ("Hm.", "So."))
    made = talk(Q, first, Q2, last)
    with pytest.raises(UserError) as caught:
        tokens_of(tokenizer, made, "assistant_turns")
    message = str(caught.value)
    assert "leaves out a part of message 2 (`assistant`) of x-1" in message
    assert "toy.jsonl:1, data.template.chat=tokenizer" in message
    assert "set data.learn=last_turn" in message
    kept = tokens_of(tokenizer, made, "last_turn")
    assert learnt(tokenizer, kept) == "<think>\nSo.\n</think>\n\nA<|im_end|>"


OPENS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}:{{ message.content }}<|im_end|>{% endfor %}"
)


def test_a_prompt_that_training_does_not_see_is_refused(tokenizer_of):
    other = tokenizer_of(OPENS + "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}", IM)
    with pytest.raises(UserError, match=r"writes what comes before message 2 .* otherwise") as caught:
        tokens_of(other, talk(Q, A))
    assert "choose another template with data.template.chat" in str(caught.value)


def test_a_prompt_whose_last_token_goes_on_into_the_answer_is_refused(tmp_path):
    import tokenizers

    tokenizer = load_tokenizer(
        chat_tokenizer(
            tmp_path / "t", OPENS + "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}", IM
        ),
        chat="tokenizer",
    )
    assert tokens_of(tokenizer, talk(Q, ("assistant", " A")))
    tokenizer.backend.add_tokens([tokenizers.AddedToken(": ", normalized=False)])
    with pytest.raises(UserError, match=r"the tokens before message 2 .* of x-1 are others") as caught:
        tokens_of(tokenizer, talk(Q, ("assistant", " A")))
    assert "begin the answer without white space" in str(caught.value)


def test_an_answer_without_tokens_is_refused(tokenizer_of):
    tokenizer = tokenizer_of(*FAMILIES["Qwen 2.5"])
    with pytest.raises(UserError, match=r"message 3 .* has no tokens"):
        tokens_of(tokenizer, example("Q?", answer=""), system="x", response_without_reasoning="{answer}")
