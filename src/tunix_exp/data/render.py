"""The only place that makes text of an example: training and evaluation both render here."""

from dataclasses import dataclass
from string import Formatter

from tunix_exp.data.config import TemplateConfig
from tunix_exp.data.example import Example
from tunix_exp.errors import UserError
from tunix_exp.models.chat import ChatTemplate
from tunix_exp.models.families.registry import chat_templates
from tunix_exp.schema import shown

_NEEDED = {
    "prompt": ("question",),
    "response": ("reasoning", "answer"),
    "response_without_reasoning": ("answer",),
}

Piece = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """A response cut where its reasoning stands; `before + reasoning + after` is the response."""

    before: str
    reasoning: str
    after: str


@dataclass(frozen=True, slots=True)
class Renderer:
    """Templates, taken apart once; braces in the data are text like any other."""

    template: TemplateConfig
    key: str = "data.template"

    def __post_init__(self) -> None:
        """Refuse a template that names what does not exist, or leaves out what must be there."""
        for name in _NEEDED:
            self._pieces(name)

    def prompt(self, example: Example) -> str:
        """What the model is given; evaluation's prompt is training's prompt."""
        text = self._fill("prompt", {"question": example.question})
        chat, system = self._chat, self.template.system
        if chat is None:
            return text
        self._refuse_markers(chat, f"{system or ''}{text}", example, "prompt", "question")
        return chat.prompt(text, system)

    def next_example(self) -> tuple[str, ...]:
        """With what the template would begin a next example, so that an answer has ended before it.

        With a chat template that is the beginning of a message. Else it is the last line that stands before
        the question: where that is a label that ends in a mark (`Question:`), anywhere; where it ends in a
        word, at the beginning of a line. Where nothing stands before the question there is none.
        """
        if self._chat is not None:
            return (self._chat.begin,)
        pieces = self._pieces("prompt")
        before = _join(pieces[: 1 + [name for _, name in pieces].index("question")], {"question": ""})
        label = next((line.strip() for line in reversed(before.splitlines()) if line.strip()), "")
        if not label:
            return ()
        return (f"\n{label}",) if label[-1].isalnum() else (label,)

    def response(self, example: Example) -> str:
        """What the model is to write after the prompt, without the end token."""
        parts = self.response_parts(example)
        text = parts.before + parts.reasoning + parts.after
        if self._chat is not None:
            self._refuse_markers(self._chat, text, example, "response", "reasoning and the answer")
        return text

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
    def _chat(self) -> ChatTemplate | None:
        return None if self.template.chat == "none" else chat_templates()[self.template.chat]

    def _refuse_markers(
        self, chat: ChatTemplate, text: str, example: Example, name: str, source: str
    ) -> None:
        """Refuse a text that would begin or end a message by itself: the model would learn, or obey, that."""
        if found := chat.markers_in(text):
            raise UserError(
                f"the {name} of {example.id} contains {' and '.join(found)}, "
                f"which {self.key}.chat={chat.name} writes itself",
                where=example.place,
                remedy=f"take it out of the {source}, or out of the texts of {self.key}",
            )

    def _fill(self, name: str, values: dict[str, str]) -> str:
        return _join(self._pieces(name), values)

    def _pieces(self, name: str) -> list[Piece]:
        """The template `name` as literal text and placeholders, alternating, each placeholder seen once."""
        text: str = getattr(self.template, name)
        where = f"{self.key}.{name}"
        needed = _NEEDED[name]
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
        return pieces


def _join(pieces: list[Piece], values: dict[str, str]) -> str:
    return "".join(literal + ("" if field is None else values[field]) for literal, field in pieces)
