"""The turns of a conversation as Gemma's instruction-tuned models know them.

A system text has no turn of its own: it opens the first of the user's (Gemma 3's own chat template).
"""

START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"


def asked(content: str, system: str | None) -> str:
    """The user's turn, and the beginning of the model's; white space around `content` is taken off."""
    opening = "" if system is None else f"{system}\n\n"
    return f"{START_OF_TURN}user\n{opening}{content.strip()}{END_OF_TURN}\n{START_OF_TURN}model\n"


def markers_in(text: str) -> tuple[str, ...]:
    """The markers that the text spells itself, so that it would end a turn or begin one."""
    return tuple(marker for marker in (START_OF_TURN, END_OF_TURN) if marker in text)
