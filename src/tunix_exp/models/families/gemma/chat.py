"""The chat template of Gemma's instruction-tuned models.

A system text has no message of its own: it opens the first of the user's (Gemma 3's own chat template).
"""

from collections.abc import Sequence

from tunix_exp.models.chat import ChatTemplate, Message

_BEGIN, _END = "<start_of_turn>", "<end_of_turn>"


def _written(system: str | None, messages: Sequence[Message], opens_answer: bool) -> str:
    opening = "" if system is None else f"{system}\n\n"
    text = ""
    for place, (role, content) in enumerate(messages):
        name = "user" if role == "user" else "model"
        text += f"{_BEGIN}{name}\n{'' if place else opening}{content.strip()}{_END}\n"
    return f"{text}{_BEGIN}model\n" if opens_answer else text.removesuffix(f"{_END}\n")


CHAT = ChatTemplate("gemma", begin=_BEGIN, end=_END, markers=(_BEGIN, _END), write=_written)
