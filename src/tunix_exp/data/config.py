"""The data group: where training examples come from and how they become text and tokens."""

import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tunix_exp.models.families.registry import chat_templates
from tunix_exp.references import ReferenceText
from tunix_exp.schema import MOST_TOKENS, Config, Name, Rows, Text, contradiction

ItemFormat = Literal["auto", "question-answer", "prompt-response", "alpaca", "messages", "sharegpt"]
Format = ItemFormat | Literal["text"]
# The one answer; every message of the assistant; the last of them; every token.
Learn = Literal["response", "assistant_turns", "last_turn", "all_tokens"]
TooLong = Literal["error", "drop", "shorten"]


class FieldsConfig(Config):
    """The names of a row's parts in the source; `null` where the format says, or there is no such part.

    A row is a question with its answer, and `input` what the question is about, where that stands in a
    field of its own; or the `messages` of a conversation. A dot reaches into an object: `meta.category`. A
    name that ends in `?` may be that of no field: when none of the rows has it, it is as if it were `null`,
    and the run says so. With an `answer_marker` the answer field holds the worked text, the marker, and the
    answer; `reasoning` is then `null`.
    """

    id: Name | None
    question: Name | None
    input: Name | None
    reasoning: Name | None
    answer: Name | None
    messages: Name | None
    answer_marker: Text | None
    strip_calculator_marks: bool
    section: Name | None
    category: Name | None
    difficulty: Name | None

    @model_validator(mode="after")
    def _one_source_of_reasoning(self) -> "FieldsConfig":
        if self.answer_marker is not None and self.reasoning is not None:
            both = {"reasoning": self.reasoning, "answer_marker": self.answer_marker}
            says = "the text before the marker is the reasoning; set one of them to null"
            raise ValueError(contradiction(both, says))
        if self.answer_marker == "":
            raise ValueError("`answer_marker` is empty: write the mark (GSM8K's is ####) or null")
        return self

    @model_validator(mode="after")
    def _one_kind_of_row(self) -> "FieldsConfig":
        kinds = (("messages",), ("text",), ("question", "input", "reasoning", "answer"))
        named = [{part: getattr(self, part, None) for part in kind} for kind in kinds]
        named = [{part: name for part, name in kind.items() if name is not None} for kind in named]
        found = [kind for kind in named if kind]
        if len(found) > 1:
            says = "a row is a question with its answer, a conversation, or a text; set the others to null"
            raise ValueError(contradiction({**found[0], **found[1]}, says))
        return self


class RowFieldsConfig(FieldsConfig):
    """As of an item; or a row is a `text`, of which every token is learnt."""

    text: Name | None


if TYPE_CHECKING:
    Chat = str
else:
    Chat = Literal[("none", "tokenizer", *chat_templates())]


def _day(value: str) -> str:
    try:
        day = datetime.date.fromisoformat(value)
    except ValueError:
        raise ValueError("write the day as 2025-01-31") from None
    if day.isoformat() != value:
        raise ValueError(f"write the day as {day.isoformat()}")
    return value


class TemplateConfig(Config):
    """The text of an example; `{question}`, `{reasoning}` and `{answer}` are filled in.

    `chat` names the chat template that an instruction-tuned model knows: a family's, or `tokenizer`, the one
    in the tokenizer's own files; `system` is its system text, and `date` today to one that writes the date.
    """

    chat: Chat
    system: Text | None
    date: Annotated[str, AfterValidator(_day)] | None
    prompt: Text
    response: Text
    response_without_reasoning: Text
    step_separator: Text

    @model_validator(mode="after")
    def _a_system_text_has_a_chat_template(self) -> "TemplateConfig":
        if self.system is not None and self.chat == "none":
            both = {"system": self.system, "chat": self.chat}
            named = " or ".join(f"chat={name}" for name in ("tokenizer", *chat_templates()))
            says = f"a system text needs a chat template; set {named}, or write the text into `prompt`"
            raise ValueError(contradiction(both, says))
        if self.system is not None and not self.system.strip():
            raise ValueError("`system` is blank: write a text or null")
        return self

    @model_validator(mode="after")
    def _a_date_has_a_template_that_may_write_it(self) -> "TemplateConfig":
        if self.date is not None and self.chat != "tokenizer":
            both = {"date": self.date, "chat": self.chat}
            says = "only the tokenizer's own chat template writes a date; set date=null, or chat=tokenizer"
            raise ValueError(contradiction(both, says))
        return self


Only = dict[Name, Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]]
"""Values by field: rows that have another value there are left out."""


class DataConfig(Config):
    """The training set; evaluation renders its items with the same template."""

    name: Name
    source: ReferenceText
    format: Format
    fields: RowFieldsConfig
    only: Only | None
    template: TemplateConfig
    learn: Learn
    max_tokens: (
        Annotated[int, Field(ge=8, le=MOST_TOKENS)] | None
    )  # null: what the data needs and the model allows
    too_long: TooLong
    max_rows: Rows | None
    allow_eval_overlap: bool
