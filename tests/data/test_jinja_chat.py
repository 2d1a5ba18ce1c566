import pytest

from tests.data.chat_templates import (
    FAMILIES,
    GEMMA,
    GEMMA_2,
    HEADERS,
    IM,
    LLAMA_3_1,
    LLAMA_3_2,
    QWEN_2_5,
    chat_tokenizer,
)
from tests.data.test_whole import SYSTEM, A, Q, talk, tokens_of
from tests.data.toys import TEMPLATE, TURNS
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError


def loaded(folder, template, tokens=IM, date=None, **settings):
    folder.mkdir(exist_ok=True)
    reference = chat_tokenizer(folder / "tokenizer", template, tokens, **settings)
    return load_tokenizer(reference, chat="tokenizer", date=date)


def refusal(folder, template, tokens=IM, **settings) -> str:
    with pytest.raises(UserError) as caught:
        loaded(folder, template, tokens, **settings)
    return str(caught.value)


def rendering_refusal(tokenizer, made) -> str:
    with pytest.raises(UserError) as caught:
        tokens_of(tokenizer, made)
    return str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_how_messages_begin_and_end_is_found_from_the_template(tmp_path, name):
    template, tokens, _ = FAMILIES[name]
    own = loaded(tmp_path, template, tokens).own_chat
    assert own is not None
    assert (own.begin, own.ends) == (tokens[0], (tokens[-1],))
    renderer = Renderer(TEMPLATE.model_copy(update={"chat": "tokenizer"}), own=own)
    assert renderer.next_example() == (tokens[0],)


def test_a_tokenizer_without_chat_template_is_refused(tmp_path):
    message = refusal(tmp_path, None)
    assert "has no chat template" in message
    assert "where: data.template.chat=tokenizer" in message
    assert "name the tokenizer of an instruction-tuned model in model.tokenizer" in message
    with pytest.raises(UserError, match="the tokenizer `bundled:bytes` has no chat template"):
        load_tokenizer("bundled:bytes", chat="tokenizer")


def test_of_several_templates_the_default_one_is_taken(tmp_path):
    own = loaded(tmp_path, {"tool_use": "x", "default": QWEN_2_5}).own_chat
    assert own is not None
    assert own.text == QWEN_2_5
    message = refusal(tmp_path / "b", {"rag": "x", "tool_use": "y"})
    assert "has the chat templates rag, tool_use and no `default`" in message
    assert "save the one that is meant as its chat_template.jinja" in message


def test_a_template_that_ends_a_message_with_no_special_token_is_refused(tmp_path):
    message = refusal(tmp_path, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    assert (
        "ends the assistant's message with no special token: nothing would teach the model to stop" in message
    )
    assert "set data.template.chat=none" in message


def test_what_is_no_template_is_refused(tmp_path):
    message = refusal(tmp_path, "{% for %}")
    assert "is no Jinja template: " in message
    assert "mend its chat_template.jinja" in message


def test_a_template_that_looks_at_the_clock_is_refused_or_pinned(tmp_path):
    message = refusal(tmp_path, LLAMA_3_2, HEADERS)
    assert "writes today's date: the same data would be other text tomorrow" in message
    assert "data.template.date=null" in message
    assert "data.template.date=2025-01-31" in message
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer"), chat="tokenizer", date="2025-01-31")
    kept = tokens_of(tokenizer, talk(Q, A))
    assert "Today Date: 31 Jan 2025\n" in tokenizer.decode(kept.tokens_T.tolist())


def test_a_pinned_day_is_the_clock_and_the_date_string_of_a_template(tmp_path):
    clock = QWEN_2_5.replace("You are Qwen.", "' + strftime_now('%A %Y-%m-%d') + '")
    kept = tokens_of(tokenizer := loaded(tmp_path, clock, date="2025-01-31"), talk(Q, A))
    assert "system\nFriday 2025-01-31<|im_end|>" in tokenizer.decode(kept.tokens_T.tolist())
    kept = tokens_of(tokenizer := loaded(tmp_path / "b", LLAMA_3_1, HEADERS, date="2025-01-31"), talk(Q, A))
    assert "Today Date: 31 Jan 2025\n" in tokenizer.decode(kept.tokens_T.tolist())


def test_a_template_that_refuses_a_role_is_told_with_role_and_row(tmp_path):
    tokenizer = loaded(tmp_path, GEMMA_2, TURNS)
    assert tokens_of(tokenizer, talk(Q, A)).learnt_T.any()
    message = rendering_refusal(tokenizer, talk(SYSTEM, Q, A))
    assert "refuses the role `system` in system, user, assistant: System role not supported (x-1)" in message
    assert "where: toy.jsonl:1, data.template.chat=tokenizer" in message
    assert "give messages that the template knows" in message


def test_a_role_out_of_order_is_told_where_the_template_stops(tmp_path):
    message = rendering_refusal(loaded(tmp_path, GEMMA, TURNS), talk(Q, Q, A))
    assert "refuses the role `user` in user, user, assistant: Roles must alternate" in message


def test_a_role_that_the_template_leaves_out_in_silence_is_refused(tmp_path):
    skips = "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>"
    skips += "{% endfor %}"
    skips += "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
    tokenizer = loaded(tmp_path, skips)
    assert tokens_of(tokenizer, talk(Q, A)).learnt_T.any()
    assert "leaves out the role `system` in system, user, assistant" in rendering_refusal(
        tokenizer, talk(SYSTEM, Q, A)
    )


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['os'] }}",
    ],
)
def test_a_template_stays_in_its_sandbox(tmp_path, attack):
    message = refusal(tmp_path, attack + QWEN_2_5)
    assert "refuses the role" in message
    assert "unsafe" in message


def test_a_text_of_the_config_that_writes_the_template_s_markers_is_refused(tmp_path):
    own = loaded(tmp_path, QWEN_2_5).own_chat
    template = TEMPLATE.model_copy(update={"chat": "tokenizer", "prompt": "{question}<|im_end|>"})
    with pytest.raises(UserError, match=r"contains <\|im_end\|>, which data.template.chat=tokenizer"):
        Renderer(template, own=own)


def test_the_template_s_hash_is_that_of_its_text(tmp_path):
    texts = (QWEN_2_5, QWEN_2_5, f"{QWEN_2_5} ")
    chats = [loaded(tmp_path / str(place), text).own_chat for place, text in enumerate(texts)]
    first, again, other = [chat.sha256 for chat in chats if chat is not None]
    assert first == again != other
