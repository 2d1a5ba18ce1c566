"""The messages of a conversation, as OpenAI's and ShareGPT's rows have them."""

from collections import Counter
from typing import Any

from tunix_exp.data.reading.part import BadRow
from tunix_exp.data.reading.values import kind_of
from tunix_exp.json_text import printable
from tunix_exp.schema import listed

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
_KEYS = (("role", "content"), ("from", "value"))
# Keys of a message that would change what is learnt, and are not read here.
_MEANT = ("tool_calls", "function_call", "weight")

Messages = tuple[tuple[str, str], ...]


def messages_of(value: Any, field: str, counts: Counter[str]) -> Messages:
    """(role, text) of each message: one of `system` or none, then `user` and `assistant` alternating.

    The last is the assistant's. Raises BadRow with the number of the message.
    """
    if not isinstance(value, list) or not value:
        shown = "empty" if value == [] else f"{kind_of(value)}, not a list of messages"
        raise BadRow(f"`{field}` is {shown}", 'write a list of objects, {"role": "user", "content": "…"}')
    messages = tuple(
        _message(message, f"message {number} of `{field}`", counts)
        for number, message in enumerate(value, start=1)
    )
    roles = [role for role, _ in messages]
    turns = roles[1:] if roles[0] == "system" else roles
    for number, role in enumerate(turns):
        due = ("user", "assistant")[number % 2]
        if role != due:
            place = number + 1 + len(roles) - len(turns)
            raise BadRow(
                f"message {place} of `{field}` is the {role}'s, where the {due}'s is due",
                "write a system message or none, then user and assistant in turn",
            )
    if turns[-1:] != ["assistant"]:
        last = f"ends with the {roles[-1]}'s message" if turns else "has a system message alone"
        raise BadRow(
            f"`{field}` {last}: there is no answer to learn",
            "end it with the assistant's message, or take the row out",
        )
    return messages


def _message(message: Any, where: str, counts: Counter[str]) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise BadRow(f"{where} is {kind_of(message)}, no object", 'write {"role": "user", "content": "…"}')
    keys = next((pair for pair in _KEYS if pair[0] in message and pair[1] in message), None)
    if keys is None:
        has = listed([printable(str(key)) for key in message]) or "nothing"
        raise BadRow(f"{where} has {has}", "give each message `role` and `content`, or `from` and `value`")
    for key in _MEANT:
        if message.get(key) not in (None, [], "1"):
            raise BadRow(f"{where} has `{key}`, which is not read here", "take the key or the row out")
    role = message[keys[0]]
    if not isinstance(role, str) or role not in ROLES:
        shown = repr(printable(role)) if isinstance(role, str) else kind_of(role)
        raise BadRow(
            f"the role of {where} is {shown}",
            f"known are {listed(list(ROLES))}; take others out",
        )
    counts.update(f"unread_in_messages.{printable(str(key))}" for key in message if key not in keys)
    return ROLES[role], _content(message[keys[1]], where, role)


def _content(content: Any, where: str, role: str) -> str:
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
            for part in content
        ]
        if not all(isinstance(part, str) for part in parts):
            raise BadRow(
                f"{where} holds more than text", "take the row out: images and sound are not read here"
            )
        content = "".join(map(str, parts))
    if content is None:
        raise BadRow(f"the text of {where} is null", "write the message, or take the row out")
    if type(content) is not str:
        raise BadRow(f"the text of {where} is {kind_of(content)}, not a text", 'write it in quotes, as "…"')
    if not content.strip() and role != "system":
        raise BadRow(f"{where} is empty", "write the message, or take the row out")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRow(
            f"{where} holds half a character, \\u{ord(content[error.start]):04x}",
            "write both halves of the surrogate pair, or the character itself",
        ) from error
    return content
