from dataclasses import replace

import pytest

from tests.data.toys import TEMPLATE, example
from tunix_exp.data.example import Example
from tunix_exp.data.render import Renderer
from tunix_exp.errors import UserError


def refusal(**changes) -> str:
    with pytest.raises(UserError) as caught:
        Renderer(TEMPLATE.model_copy(update=changes))
    return str(caught.value)


def test_prompt_and_response_follow_the_template():
    renderer = Renderer(TEMPLATE)
    asked = example("Q?", "one", "two", answer="A")
    assert renderer.prompt(asked) == "Q?\n"
    assert renderer.response(asked) == "one\ntwo\nAnswer: A"


def test_an_example_without_steps_has_a_response_without_reasoning():
    assert Renderer(TEMPLATE).response(example("Q?", answer="A")) == "Answer: A"


def test_braces_in_the_data_survive():
    asked = example("{question} {x} {{", "{answer}", answer="{reasoning}}")
    renderer = Renderer(TEMPLATE)
    assert renderer.prompt(asked) == "{question} {x} {{\n"
    assert renderer.response(asked) == "{answer}\nAnswer: {reasoning}}"


def test_a_doubled_brace_in_a_template_is_one_brace():
    template = TEMPLATE.model_copy(update={"response": "{reasoning} \\boxed{{{answer}}}"})
    assert Renderer(template).response(example("Q?", "one", answer="A")) == "one \\boxed{A}"


@pytest.mark.parametrize(
    ("response", "before", "after"),
    [
        ("{reasoning}|{answer}.", "", "|A."),
        ("{answer}|{reasoning}.", "A|", "."),
        ("<{reasoning}{answer}>", "<", "A>"),
    ],
)
def test_a_response_is_cut_where_its_reasoning_stands(response, before, after):
    renderer = Renderer(TEMPLATE.model_copy(update={"response": response}))
    asked = example("Q?", "one", "two", answer="A")
    parts = renderer.response_parts(asked)
    assert (parts.before, parts.reasoning, parts.after) == (before, "one\ntwo", after)
    assert renderer.response(asked) == f"{before}one\ntwo{after}"


def test_an_unknown_placeholder_is_named_with_the_known_ones():
    message = refusal(prompt="{questoin}")
    assert "has an unknown placeholder {questoin}" in message
    assert "data.template.prompt" in message
    assert "use {question} and no other" in message


def test_a_placeholder_with_a_format_is_refused():
    assert "has an unknown placeholder {question!r:>8}" in refusal(prompt="{question!r:>8}")


def test_a_lacking_or_repeated_placeholder_is_refused():
    assert "lacks {question}" in refusal(prompt="Q:")
    assert "repeats {answer}" in refusal(response_without_reasoning="{answer} {answer}")
    assert "lacks {reasoning}" in refusal(response="{answer}")


def test_a_lone_brace_is_refused():
    message = refusal(prompt="{question} }")
    assert "has a brace without its partner" in message
    assert "write a literal brace twice" in message


CHAT = TEMPLATE.model_copy(update={"chat": "gemma"})


def test_a_chat_puts_the_prompt_into_the_user_s_turn_and_opens_the_model_s():
    prompt = Renderer(CHAT).prompt(example("Q?"))
    assert prompt == "<start_of_turn>user\nQ?<end_of_turn>\n<start_of_turn>model\n"


def test_a_chat_leaves_the_response_as_it_is():
    asked = example("Q?", "one", answer="A")
    assert Renderer(CHAT).response(asked) == Renderer(TEMPLATE).response(asked)


def test_a_system_text_opens_the_user_s_turn_braces_and_all():
    template = CHAT.model_copy(update={"system": "Be {brief}.", "prompt": "Question: {question}"})
    assert Renderer(template).prompt(example("Q?")) == (
        "<start_of_turn>user\nBe {brief}.\n\nQuestion: Q?<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("marker", ["<start_of_turn>", "<end_of_turn>"])
@pytest.mark.parametrize("name", ["prompt", "response", "response_without_reasoning"])
def test_a_template_that_writes_a_marker_of_the_chat_itself_is_refused(marker, name):
    with pytest.raises(UserError) as caught:
        Renderer(CHAT.model_copy(update={name: f"{getattr(CHAT, name)}{marker}"}))
    message = str(caught.value)
    assert f"the template contains {marker}, which data.template.chat=gemma writes itself" in message
    assert f"where: data.template.{name}" in message
    assert "take it out of the template" in message


TALK = (("system", "Be brief."), ("user", " Q1?"), ("assistant", "A1 "), ("user", "Q2?"), ("assistant", "A2"))


def talk(*roles: str) -> Example:
    messages = tuple((role, f"{role} says") for role in roles)
    return replace(example(messages[-2][1], answer=messages[-1][1]), messages=messages)


def test_a_conversation_is_cut_at_each_answer_of_the_assistant():
    made = replace(example("Q2?", answer="A2"), messages=TALK)
    first, second = Renderer(CHAT).turns(made)
    assert first == (
        "<start_of_turn>user\nBe brief.\n\nQ1?<end_of_turn>\n<start_of_turn>model\n", "A1"
    )  # fmt: skip
    assert second == ("\n<start_of_turn>user\nQ2?<end_of_turn>\n<start_of_turn>model\n", "A2")
    whole = first.prompt + first.response + "<end_of_turn>" + second.prompt
    assert Renderer(CHAT).prompt(made) == whole


def test_a_conversation_s_own_system_text_comes_before_the_config_s():
    renderer = Renderer(CHAT.model_copy(update={"system": "Config."}))
    assert "Be brief." in renderer.prompt(replace(example(), messages=TALK))
    assert "Config." not in renderer.prompt(replace(example(), messages=TALK))
    assert "Config." in renderer.prompt(replace(example(), messages=TALK[1:]))


def test_without_a_chat_template_one_question_and_its_answer_are_prompt_and_response():
    made = talk("user", "assistant")
    assert Renderer(TEMPLATE).turns(made) == [("user says\n", "Answer: assistant says")]


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        (("system", "user", "assistant"), "no role `system`"),
        (("user", "assistant", "user", "assistant"), "no role `user` after `assistant`"),
    ],
)
def test_without_a_chat_template_other_conversations_are_refused_with_row_and_remedy(roles, says):
    with pytest.raises(UserError) as caught:
        Renderer(TEMPLATE).turns(talk(*roles))
    message = str(caught.value)
    assert f"data.template.chat=none has {says}" in message
    assert "toy.jsonl:1" in message
    assert "set data.template.chat=tokenizer, or a family's: gemma" in message


def test_a_family_s_template_refuses_roles_that_do_not_alternate():
    with pytest.raises(UserError) as caught:
        Renderer(CHAT).turns(talk("user", "user", "assistant"))
    assert (
        "message 2 of x-1 is of the role `user`, where data.template.chat=gemma expects `assistant`"
        in str(caught.value)
    )


def test_without_a_chat_a_marker_is_text_like_any_other():
    assert Renderer(TEMPLATE).prompt(example("<end_of_turn>")) == "<end_of_turn>\n"
