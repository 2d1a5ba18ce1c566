import pytest

from tunix_exp.models.chat import ChatTemplate
from tunix_exp.models.families.registry import chat_templates

USER = ("user", " 1 + 1?\n")


@pytest.mark.parametrize("chat", chat_templates().values(), ids=chat_templates())
@pytest.mark.parametrize(
    ("messages", "opens_answer"),
    [([USER, USER], True), ([USER], False), ([("system", "x")], True), ([USER, ("assistant", "2")], True)],
)
def test_messages_that_do_not_alternate_are_no_conversation(chat: ChatTemplate, messages, opens_answer):
    with pytest.raises(ValueError, match="not a conversation: "):
        chat.conversation(messages, opens_answer=opens_answer)


@pytest.mark.parametrize("chat", chat_templates().values(), ids=chat_templates())
def test_a_template_writes_the_markers_that_it_names_and_begins_every_message_with_its_own(chat):
    text = chat.conversation([USER, ("assistant", "2"), USER], opens_answer=True)
    assert set(chat.markers_in(text)) == set(chat.markers) >= {chat.begin, chat.end}
    assert (text.count(chat.begin), text.count(chat.end)) == (4, 3)
    assert chat.markers_in("1 + 1?") == ()


@pytest.mark.parametrize("chat", chat_templates().values(), ids=chat_templates())
def test_a_conversation_goes_on_where_its_last_answer_ended(chat: ChatTemplate):
    talk = [("system", "x"), USER, ("assistant", "2"), USER, ("assistant", " 3 ")]
    begun = chat.conversation(talk[:2], opens_answer=True)
    answered = chat.conversation(talk[:3], opens_answer=False)
    assert answered == f"{begun}2"
    again = chat.conversation(talk[:4], opens_answer=True)
    assert again.startswith(answered + chat.end)
    assert chat.conversation(talk, opens_answer=False) == f"{again}3"
