import pytest

from tunix_exp.data.turns import asked, conversation

USER = ("user", " 1 + 1?\n")


def test_a_question_is_a_conversation_of_one_turn():
    whole = "<start_of_turn>user\nBe brief.\n\n1 + 1?<end_of_turn>\n<start_of_turn>model\n"
    assert asked(USER[1], "Be brief.") == whole
    assert conversation([("system", "Be brief."), USER], opens_answer=True) == whole


def test_the_model_s_own_last_turn_is_left_open_for_it_to_go_on():
    text = conversation([USER, ("assistant", "It is ")], opens_answer=False)
    assert text == "<start_of_turn>user\n1 + 1?<end_of_turn>\n<start_of_turn>model\nIt is"


@pytest.mark.parametrize(
    ("messages", "opens_answer"),
    [([USER, USER], True), ([USER], False), ([("system", "x")], True), ([USER, ("assistant", "2")], True)],
)
def test_turns_that_do_not_alternate_are_no_conversation(messages, opens_answer):
    with pytest.raises(ValueError, match="not a conversation: "):
        conversation(messages, opens_answer=opens_answer)
