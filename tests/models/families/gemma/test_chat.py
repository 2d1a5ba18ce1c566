from tunix_exp.models.families.gemma.chat import CHAT

USER = ("user", " 1 + 1?\n")


def test_a_question_is_a_conversation_of_one_message():
    whole = "<start_of_turn>user\nBe brief.\n\n1 + 1?<end_of_turn>\n<start_of_turn>model\n"
    assert CHAT.prompt(USER[1], "Be brief.") == whole
    assert CHAT.conversation([("system", "Be brief."), USER], opens_answer=True) == whole


def test_the_model_s_own_last_message_is_left_open_for_it_to_go_on():
    text = CHAT.conversation([USER, ("assistant", "It is ")], opens_answer=False)
    assert text == "<start_of_turn>user\n1 + 1?<end_of_turn>\n<start_of_turn>model\nIt is"
