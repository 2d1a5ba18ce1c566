import pytest
from pydantic import ValidationError

from tests.data.toys import TEMPLATE, fields
from tunix_exp.data.config import TemplateConfig


def test_reasoning_has_one_source():
    with pytest.raises(ValidationError, match=r"`reasoning=.*` and `answer_marker=.*` cannot be combined"):
        fields(reasoning="r", answer_marker="####")


def test_an_empty_marker_is_refused():
    with pytest.raises(ValidationError, match="`answer_marker` is empty"):
        fields(answer_marker="")


def template(**changes):
    return TemplateConfig(**(TEMPLATE.model_dump() | changes))


def test_a_system_text_needs_the_turns_of_a_chat():
    assert template(chat="gemma", system="Be brief.").system == "Be brief."
    with pytest.raises(
        ValidationError, match=r"`system=.*` and `chat=none` cannot be combined: .* chat=gemma"
    ):
        template(system="Be brief.")


def test_a_blank_system_text_is_refused():
    with pytest.raises(ValidationError, match="`system` is blank: write a text or null"):
        template(chat="gemma", system=" ")


def test_a_line_end_that_the_shell_did_not_make_is_refused():
    for name in ("prompt", "response", "response_without_reasoning", "step_separator"):
        with pytest.raises(ValidationError, match=r"no line end; bash makes one .* as \$'KEY="):
            template(**{name: r"{question}\nA: {reasoning} {answer}"})
    latex = r"{question} \neq \nu: "
    assert template(prompt=latex).prompt == latex


def test_a_date_is_a_day_for_the_tokenizer_s_own_chat_template():
    assert template(chat="tokenizer", date="2025-01-31").date == "2025-01-31"
    for wrong in ("31.1.2025", "2025-02-30", ""):
        with pytest.raises(ValidationError, match="write the day as 2025-01-31"):
            template(chat="tokenizer", date=wrong)
    with pytest.raises(ValidationError, match="write the day as 2025-01-31"):
        template(chat="tokenizer", date="20250131")
    with pytest.raises(ValidationError, match=r"`date=2025-01-31` and `chat=gemma` cannot be combined: .*"):
        template(chat="gemma", date="2025-01-31")
