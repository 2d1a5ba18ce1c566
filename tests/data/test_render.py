import pytest

from tests.data.toys import TEMPLATE, example
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
def test_a_text_that_contains_a_marker_of_the_template_is_refused_with_its_place(marker):
    with pytest.raises(UserError) as caught:
        Renderer(CHAT).prompt(example(f"Q?{marker}"))
    assert f"the prompt of x-1 contains {marker}, which data.template.chat=gemma writes itself" in str(
        caught.value
    )
    assert "where: toy.jsonl:1" in str(caught.value)
    assert "take it out of the question, or out of the texts of data.template" in str(caught.value)
    with pytest.raises(UserError, match=f"the prompt of x-1 contains {marker}"):
        Renderer(CHAT.model_copy(update={"system": marker})).prompt(example("Q?"))
    for bad in (example("Q?", marker), example("Q?", answer=marker)):
        with pytest.raises(UserError, match=f"the response of x-1 contains {marker}"):
            Renderer(CHAT).response(bad)


def test_without_a_chat_a_marker_is_text_like_any_other():
    assert Renderer(TEMPLATE).prompt(example("<end_of_turn>")) == "<end_of_turn>\n"
