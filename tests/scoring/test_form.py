import pytest

from tunix_exp.scoring.form import Form, form_of

TAGS = Form("<reasoning>{reasoning}</reasoning><answer>{answer}</answer>", "<answer>{answer}</answer>")
PLAIN = Form("{reasoning}\nAnswer: {answer}", "Answer: {answer}")


@pytest.mark.parametrize(
    "output",
    [
        "<reasoning>2 + 2\n= 4</reasoning><answer>4</answer>",
        "<reasoning></reasoning><answer>4</answer>\n",
        "<answer>4</answer>",
    ],
)
def test_an_answer_in_its_tags_is_well_formed_right_or_wrong(output):
    assert TAGS.fits(output)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "4",
        "<reasoning>2 + 2</reasoning><answer>4",
        "<reasoning>2 + 2</reasoning><answer> </answer>",
        "<reasoning>2 + 2</reasoning>\n<answer>4</answer>",
        "<reasoning>a</reasoning><reasoning>b</reasoning><answer>4</answer>",
        "<reasoning>2</reasoning><answer>4</answer><answer>5</answer>",
        "<answer>4</answer><reasoning>2 + 2</reasoning>",
        "Sure! <reasoning>2 + 2</reasoning><answer>4</answer>",
        "<reasoning>2 + 2</reasoning><answer>4</answer> Done.",
    ],
)
def test_anything_else_is_not(output):
    assert not TAGS.fits(output)


def test_the_form_is_that_of_the_template():
    assert PLAIN.fits("2 + 2 = 4\nAnswer: 4")
    assert PLAIN.fits("Answer: 4")
    assert not PLAIN.fits("2 + 2 = 4")
    assert not PLAIN.fits("so\nAnswer: 4\nAnswer: 5")


@pytest.mark.parametrize(
    ("parts", "has_form"),
    [
        (("question", "answer"), True),
        (("question", "reasoning", "answer", "id"), True),
        (("id", "messages"), False),
        (("text",), False),
    ],
)
def test_conversations_and_documents_have_no_form(parts, has_form):
    fields = dict.fromkeys(parts, "field")
    found = form_of(PLAIN.response, PLAIN.response_without_reasoning, fields)
    assert found == (PLAIN if has_form else None)


def test_literal_braces_of_a_template_are_braces():
    assert Form('{{"why": "{reasoning}", "answer": "{answer}"}}', "{answer}").fits(
        '{"why": "so", "answer": "4"}'
    )
