"""A conversation that is rendered and encoded as a whole: where its answers stand among the ids."""

from collections.abc import Sequence
from typing import NamedTuple

from tunix_exp.data.example import Example
from tunix_exp.data.jinja_chat import JinjaChat, NotRendered
from tunix_exp.errors import UserError
from tunix_exp.models.chat import Message

_ELSE = "choose another template with data.template.chat"


class Answer(NamedTuple):
    """A message of the assistant, counted from 1, and the text that evaluation would give it to follow."""

    number: int
    content: str
    prompt: str
    is_last: bool


class Whole(NamedTuple):
    """A conversation's text, and those of its answers that are asked for."""

    text: str
    answers: tuple[Answer, ...]


def rendered(chat: JinjaChat, messages: Sequence[Message], example: Example, *, every_turn: bool) -> Whole:
    """The messages as the template writes them, and the last answer or every one.

    Raises UserError that names template, role and row where the template does not render them.
    """
    last = len(messages) - 1
    places = [place for place, (role, _) in enumerate(messages) if role == "assistant"]
    try:
        text = chat.written(messages, opens_answer=False)
        answers = tuple(
            Answer(
                place + 1,
                messages[place][1],
                chat.written(messages[:place], opens_answer=True),
                place == last,
            )
            for place in places
            if every_turn or place == last
        )
    except NotRendered as error:
        raise UserError(
            f"{error.what} ({example.id})", where=f"{example.place}, {chat.key}", remedy=error.remedy
        ) from error
    for answer in answers:
        _refuse_other_text(chat, text, answer, example)
    return Whole(text, answers)


def spans(
    chat: JinjaChat, whole: Whole, ids: list[int], prompts: Sequence[list[int]], example: Example
) -> tuple[tuple[int, int], ...]:
    """From where to where each answer goes in `ids`, with the token that ends it.

    Raises UserError where `prompts`, the ids of what evaluation gives, are not those that training sees.
    """
    ends = {chat.specials.ids[name] for name in chat.ends}
    found: list[tuple[int, int]] = []
    for answer, prompt in zip(whole.answers, prompts, strict=True):
        start = len(prompt)
        if ids[:start] != prompt:
            raise UserError(
                f"the tokens before {_named(answer, example)} are others with the answer behind them: the"
                " prompt of evaluation would not be training's",
                where=f"{example.place}, {chat.key}",
                remedy=_remedy(answer, "begin the answer without white space"),
            )
        end = next((place for place in range(start, len(ids)) if ids[place] in ends), start)
        if end == start:
            raise UserError(
                f"{_named(answer, example)} has no tokens",
                where=f"{example.place}, {chat.key}",
                remedy="check the answer, data.template.response and the chat template",
            )
        found.append((start, end + 1))
    return tuple(found)


def _refuse_other_text(chat: JinjaChat, text: str, answer: Answer, example: Example) -> None:
    if not text.startswith(answer.prompt):
        raise UserError(
            f"the chat template of `{chat.reference}` writes what comes before {_named(answer, example)}"
            " otherwise than it does for a prompt: the prompt of evaluation would not be training's",
            where=f"{example.place}, {chat.key}",
            remedy=_remedy(answer, _ELSE),
        )
    begun = text[len(answer.prompt) :]
    ends = [place for name in chat.ends if (place := begun.find(name)) >= 0]
    if "".join(answer.content.split()) not in "".join(begun[: min(ends, default=0)].split()):
        raise UserError(
            f"the chat template of `{chat.reference}` leaves out a part of {_named(answer, example)}",
            where=f"{example.place}, {chat.key}",
            remedy=_remedy(answer, _ELSE),
        )


def _named(answer: Answer, example: Example) -> str:
    return f"message {answer.number} (`assistant`) of {example.id}"


def _remedy(answer: Answer, otherwise: str) -> str:
    return otherwise if answer.is_last else "set data.learn=last_turn: the last answer alone is learnt"
