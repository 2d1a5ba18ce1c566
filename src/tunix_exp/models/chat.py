"""Chat templates: how the messages of a conversation become the text that a model reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Message = tuple[str, str]  # role and text


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """One family's template, by the name that `data.template.chat` gives it.

    `begin` starts a message and `end` ends one, and with it a response: `markers` are these and all others
    that the template writes, each a single token. `write(system, messages, opens_answer)` gives the text of
    messages that alternate, from the user's on.
    """

    name: str
    begin: str
    end: str
    markers: tuple[str, ...]
    write: Callable[[str | None, Sequence[Message], bool], str]

    def prompt(self, content: str, system: str | None) -> str:
        """The user's message, and the beginning of the model's; white space around `content` is taken off."""
        before = [] if system is None else [("system", system)]
        return self.conversation([*before, ("user", content)], opens_answer=True)

    def markers_in(self, text: str) -> tuple[str, ...]:
        """The markers that the text itself contains, so that it would end a message or begin one."""
        return tuple(marker for marker in self.markers if marker in text)

    def conversation(self, messages: Sequence[Message], *, opens_answer: bool) -> str:
        """The text of (role, text): `user` and `assistant` alternating, a `system` text before them or none.

        The model's next message is begun at the end, or else the last one, its own, is left unfinished.
        """
        system, rest = None, list(messages)
        if rest and rest[0][0] == "system":
            system, rest = rest[0][1], rest[1:]
        due = [("user", "assistant")[place % 2] for place in range(len(rest))]
        if not rest or [role for role, _ in rest] != due or (due[-1] == "user") != opens_answer:
            raise ValueError(f"not a conversation: {', '.join(role for role, _ in messages)}")
        return self.write(system, rest, opens_answer)
