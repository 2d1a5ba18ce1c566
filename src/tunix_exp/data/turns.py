"""The turns of a conversation as Gemma's instruction-tuned models know them.

A system text has no turn of its own: it opens the first of the user's (Gemma 3's own chat template).
"""

from collections.abc import Sequence

START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"


def asked(content: str, system: str | None) -> str:
    """The user's turn, and the beginning of the model's; white space around `content` is taken off."""
    before = [] if system is None else [("system", system)]
    return conversation([*before, ("user", content)], opens_answer=True)


def markers_in(text: str) -> tuple[str, ...]:
    """The markers that the text spells itself, so that it would end a turn or begin one."""
    return tuple(marker for marker in (START_OF_TURN, END_OF_TURN) if marker in text)


def conversation(messages: Sequence[tuple[str, str]], *, opens_answer: bool) -> str:
    """The turns of (role, text): `user` and `assistant` by turns, a `system` text before them or none.

    The model's next turn is opened at the end, or else the last message, its own, is left unfinished.
    """
    system, turns = None, list(messages)
    if turns and turns[0][0] == "system":
        system, turns = turns[0][1], turns[1:]
    due = [("user", "assistant")[place % 2] for place in range(len(turns))]
    if not turns or [role for role, _ in turns] != due or (due[-1] == "user") != opens_answer:
        raise ValueError(f"not a conversation: {', '.join(role for role, _ in messages)}")
    opening = "" if system is None else f"{system}\n\n"
    text = ""
    for place, (role, content) in enumerate(turns):
        name = "user" if role == "user" else "model"
        text += f"{START_OF_TURN}{name}\n{'' if place else opening}{content.strip()}{END_OF_TURN}\n"
    return f"{text}{START_OF_TURN}model\n" if opens_answer else text.removesuffix(f"{END_OF_TURN}\n")
