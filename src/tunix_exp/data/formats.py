"""Which fields of a row are its question, answer, or messages: by the name of a format, or by looking."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunix_exp.data.config import FieldsConfig, Format, RowFieldsConfig
from tunix_exp.errors import UserError
from tunix_exp.json_text import printable
from tunix_exp.schema import listed

# The names by which rows in public formats go, the field's own first.
QUESTIONS = ("question", "prompt", "instruction", "query", "problem", "input")
ANSWERS = ("answer", "response", "completion", "output", "solution", "final_answer", "target")
REASONINGS = ("reasoning", "steps", "rationale")
INPUTS = ("input", "context")
MESSAGES = ("messages", "conversations", "conversation")
_TEXT = "text"

# What each format calls its parts; a name that ends in `?` may be that of no field.
_PRESETS: dict[str, dict[str, tuple[str, ...]]] = {
    "question-answer": {"question": ("question",), "reasoning": ("reasoning?",), "answer": ("answer",)},
    "prompt-response": {"question": ("prompt",), "answer": ("response", "completion")},
    "alpaca": {"question": ("instruction",), "input": ("input?",), "answer": ("output",)},
    "messages": {"messages": ("messages",)},
    "sharegpt": {"messages": ("conversations", "conversation")},
    "text": {"text": (_TEXT,)},
}


class Resolved(NamedTuple):
    """The fields that are read, and those of them that were found by looking, by part."""

    fields: FieldsConfig
    guessed: dict[str, str]


def resolve(form: Format, fields: FieldsConfig, record: Mapping[str, Any], key: str, place: str) -> Resolved:
    """What is read, going by the first row where `form` is `auto`; fields that are named stay what they are.

    Where question and answer are both named, or messages or text are, nothing is looked for.

    Raises UserError, naming the keys of `key`, where two fields could be one part, or none.
    """
    is_text = isinstance(fields, RowFieldsConfig) and fields.text is not None
    if fields.messages or is_text or (fields.question and fields.answer):
        return Resolved(fields, {})
    names = [printable(str(name)) for name in record]
    found = _looked_up(fields, names, key, place) if form == "auto" else _preset(form, fields, names)
    named = {part: name for part, name in found.items() if getattr(fields, part) is None}
    guessed = named if form == "auto" else {}
    return Resolved(fields.model_copy(update=named), guessed)


def _preset(form: str, fields: FieldsConfig, names: Sequence[str]) -> dict[str, str]:
    """The first of a part's names that the row has, or the first."""
    found = {}
    for part, known in _PRESETS[form].items():
        has_marker = part == "reasoning" and fields.answer_marker is not None
        if not has_marker:
            found[part] = next((name for name in known if name.removesuffix("?") in names), known[0])
    return found


def _looked_up(fields: FieldsConfig, names: Sequence[str], key: str, place: str) -> dict[str, str]:
    conversation = [] if fields.question or fields.answer else [name for name in MESSAGES if name in names]
    pair = _pair(fields, names)
    is_pair = bool((fields.question or pair["question"]) and (fields.answer or pair["answer"]))
    if conversation and is_pair:
        asked = listed([*conversation, *pair["question"], *pair["answer"]])
        raise UserError(
            f"the row could be a conversation or a question with its answer: it has {asked}",
            where=f"{place} ({key}.format)",
            remedy=f"name what is meant: {key}.format=messages, "
            f"or {key}.fields.question=… and {key}.fields.answer=…",
        )
    if conversation:
        return {"messages": _only(conversation, "messages", key, place)}
    if is_pair:
        return {part: _only(known, part, key, place) for part, known in pair.items() if known}
    may_be_text = isinstance(fields, RowFieldsConfig)
    if may_be_text and _TEXT in names and not fields.question and not fields.answer:
        return {"text": _TEXT}
    lacking = [part for part in ("question", "answer") if not (getattr(fields, part) or pair[part])]
    raise UserError(
        f"no field of the row has a known name of its {listed(lacking)}; "
        f"the row has {', '.join(names) or 'no fields'}",
        where=f"{place} ({key}.fields)",
        remedy=f"name the row's own fields: {key}.fields.question=… {key}.fields.answer=…, "
        f"or {key}.fields.messages=… for conversations"
        + (f", or {key}.fields.text=… for plain text" if may_be_text else ""),
    )


def _pair(fields: FieldsConfig, names: Sequence[str]) -> dict[str, list[str]]:
    """The fields that could be each part which is not named."""
    named = {getattr(fields, part) for part in type(fields).model_fields}
    free = [name for name in names if name not in named]
    found = {
        "question": [name for name in QUESTIONS if name in free and not fields.question],
        "input": [],
        "answer": [name for name in ANSWERS if name in free and not fields.answer],
        "reasoning": [name for name in REASONINGS if name in free],
    }
    if "instruction" in (*found["question"], fields.question):
        # Alpaca's and Dolly's: what the instruction is about stands in a field of its own.
        found["input"] = [] if fields.input else [name for name in INPUTS if name in free]
        found["question"] = [name for name in found["question"] if name not in INPUTS]
    elif "input" in found["question"] and len(found["question"]) > 1:
        found["question"].remove("input")
        found["input"] = ["input"]
    if fields.reasoning or fields.answer_marker:
        found["reasoning"] = []
    return found


def _only(names: Sequence[str], part: str, key: str, place: str) -> str:
    if len(names) == 1:
        return names[0]
    raise UserError(
        f"{len(names)} fields of the row could be its {part}: {listed(names)}",
        where=f"{place} ({key}.fields.{part})",
        remedy=f"name the one that is meant: {key}.fields.{part}={names[0]}",
    )
