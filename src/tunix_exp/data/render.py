"""The only place that makes text of an example: training and evaluation both render here."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import NamedTuple

from tunix_exp.data.config import TemplateConfig
from tunix_exp.data.example import Example
from tunix_exp.data.jinja_chat import JinjaChat
from tunix_exp.errors import UserError
from tunix_exp.models.chat import ChatTemplate, Message
from tunix_exp.models.families.registry import chat_templates
from tunix_exp.schema import shown

_NEEDED = {
    "prompt": ("question",),
    "response": ("reasoning", "answer"),
    "response_without_reasoning": ("answer",),
}

Piece = tuple[str, str | None]


class Turn(NamedTuple):
    """What is read before an answer of the assistant, since its last one, and the answer without its end."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """A response cut where its reasoning stands; `before + reasoning + after` is the response."""

    before: str
    reasoning: str
    after: str


@dataclass(frozen=True, slots=True)
class Renderer:
    """Templates, taken apart once; braces in the data are text like any other.

    `own` is the tokenizer's chat template, which `chat=tokenizer` renders with.
    """

    template: TemplateConfig
    key: str = "data.template"
    own: JinjaChat | None = None

    def __post_init__(self) -> None:
        """Refuse a template that names what does not exist, or leaves out what must be there."""
        for name in _NEEDED:
            literals = "\n".join(literal for literal, _ in self._pieces(name))
            if self._chat is not None and (found := self._chat.markers_in(literals)):
                raise UserError(
                    f"the template contains {' and '.join(found)}, which {self.key}.chat={self._chat.name}"
                    " writes itself",
                    where=f"{self.key}.{name}",
                    remedy="take it out of the template",
                )

    def prompt(self, example: Example) -> str:
        """What the model is given; evaluation's prompt is training's prompt."""
        chat, messages = self._chat, self.messages(example)
        return messages[0][1] if chat is None else chat.conversation(messages[:-1], opens_answer=True)

    def messages(self, example: Example) -> list[Message]:
        """The example as (role, text), the assistant's answer last.

        A question and its answer are a message each, after the system text; a conversation has its own, and
        its own system text where it has one. Without a chat template they are prompt and response as they
        stand. Raises UserError for a conversation that the template does not know.
        """
        roles = [role for role, _ in example.messages]
        if self._chat is None and roles and roles != ["user", "assistant"]:
            odd = roles[1] if roles[:1] == ["user"] else roles[0]
            if roles[:2] == ["user", "assistant"]:
                odd = f"{roles[2]}` after `assistant"
            raise UserError(
                f"{self.key}.chat=none has no role `{odd}`: it renders one message of the user"
                f" and one of the assistant, and {example.id} has {_counted(roles)}",
                where=example.place,
                remedy=f"set {self.key}.chat=tokenizer, or a family's: {', '.join(chat_templates())}",
            )
        if self._chat is None or not roles:
            messages = [
                ("user", self._fill("prompt", {"question": example.question})),
                ("assistant", self.response(example)),
            ]
        else:
            messages = list(example.messages)
        if self._chat is not None and self.template.system is not None and roles[:1] != ["system"]:
            messages.insert(0, ("system", self.template.system))
        if isinstance(self._chat, ChatTemplate):
            self._refuse_order(messages, example)
        return messages

    def turns(self, example: Example) -> list[Turn]:
        """Each answer of the assistant with what is read before it, for the example's whole text.

        Not of the tokenizer's own chat template, which writes a conversation as a whole.
        """
        return self.turns_of(self.messages(example), example)

    def turns_of(self, messages: list[Message], example: Example) -> list[Turn]:
        """The same, of the example's `messages`."""
        chat = self._chat
        if chat is None:
            return [Turn(messages[0][1], messages[1][1])]
        assert isinstance(chat, ChatTemplate)
        found: list[Turn] = []
        before = ""
        for place, (role, content) in enumerate(messages):
            if role != "assistant":
                continue
            whole = chat.conversation(messages[:place], opens_answer=True)
            prompt = whole.removeprefix(before)
            if example.messages:
                answered = chat.conversation(messages[: place + 1], opens_answer=False)
                content = answered.removeprefix(whole)
                before = answered + chat.end
            found.append(Turn(prompt, content))
        return found

    def next_example(self) -> tuple[str, ...]:
        """With what the template would begin a next example, so that an answer has ended before it.

        With a chat template that is the beginning of a message. Else it is the last line that stands before
        the question: where that is a label that ends in a mark (`Question:`), anywhere; where it ends in a
        word, at the beginning of a line. Where nothing stands before the question there is none.
        """
        if self._chat is not None:
            return () if self._chat.begin is None else (self._chat.begin,)
        pieces = self._pieces("prompt")
        before = _join(pieces[: 1 + [name for _, name in pieces].index("question")], {"question": ""})
        label = next((line.strip() for line in reversed(before.splitlines()) if line.strip()), "")
        if not label:
            return ()
        return (f"\n{label}",) if label[-1].isalnum() else (label,)

    def response(self, example: Example) -> str:
        """What the model is to write after the prompt, without the end token."""
        if example.messages and self._chat is not None:
            return example.messages[-1][1]
        parts = self.response_parts(example)
        return parts.before + parts.reasoning + parts.after

    def response_parts(self, example: Example) -> ResponseParts:
        """The response, cut so that its reasoning can be shortened; empty reasoning where there is none."""
        if not example.steps:
            filled = self._fill("response_without_reasoning", {"answer": example.answer})
            return ResponseParts("", "", filled)
        pieces = self._pieces("response")
        place = next(index for index, (_, name) in enumerate(pieces) if name == "reasoning")
        values = {"answer": example.answer, "reasoning": ""}
        return ResponseParts(
            before=_join(pieces[: place + 1], values),
            reasoning=self.template.step_separator.join(example.steps),
            after=_join(pieces[place + 1 :], values),
        )

    @property
    def _chat(self) -> ChatTemplate | JinjaChat | None:
        match self.template.chat:
            case "none":
                return None
            case "tokenizer":
                return self.own
            case family:
                return chat_templates()[family]

    def _refuse_order(self, messages: list[Message], example: Example) -> None:
        """Refuse roles other than a system text, or none, then user and assistant in turn."""
        first = int(messages[0][0] == "system")
        due = [("user", "assistant")[place % 2] for place in range(len(messages) - first)]
        for place, ((role, _), expected) in enumerate(zip(messages[first:], due, strict=True), first + 1):
            if role != expected:
                raise UserError(
                    f"message {place} of {example.id} is of the role `{role}`, where"
                    f" {self.key}.chat={self.template.chat} expects `{expected}`",
                    where=example.place,
                    remedy="after a system message, or none, user and assistant must alternate",
                )

    def _fill(self, name: str, values: dict[str, str]) -> str:
        return _join(self._pieces(name), values)

    def _pieces(self, name: str) -> tuple[Piece, ...]:
        return _taken_apart(getattr(self.template, name), f"{self.key}.{name}", _NEEDED[name])


@functools.cache
def _taken_apart(text: str, where: str, needed: tuple[str, ...]) -> tuple[Piece, ...]:
    """The template as literal text and placeholders, alternating, each placeholder seen once."""
    placeholders = " and ".join(f"{{{field}}}" for field in needed)
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UserError(
            f"the template {shown(text)} has a brace without its partner",
            where=where,
            remedy="write a literal brace twice: {{ or }}",
        ) from error
    pieces: list[Piece] = []
    found: list[str] = []
    for literal, field, spec, conversion in parsed:
        pieces.append((literal, field))
        if field is None:
            continue
        if field not in needed or spec or conversion:
            placeholder = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise UserError(
                f"the template {shown(text)} has an unknown placeholder {{{placeholder}}}",
                where=where,
                remedy=f"use {placeholders} and no other; write a literal brace twice: {{{{ or }}}}",
            )
        found.append(field)
    for field in needed:
        if found.count(field) != 1:
            how_often = "lacks" if field not in found else "repeats"
            raise UserError(
                f"the template {shown(text)} {how_often} {{{field}}}",
                where=where,
                remedy=f"put {placeholders} into it, once",
            )
    return tuple(pieces)


def _counted(roles: list[str]) -> str:
    count = Counter(roles)
    return ", ".join(f"{number} of {role}" for role, number in count.items())


def _join(pieces: Sequence[Piece], values: dict[str, str]) -> str:
    return "".join(literal + ("" if field is None else values[field]) for literal, field in pieces)
