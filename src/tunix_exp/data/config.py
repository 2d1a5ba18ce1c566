"""The data group: where training examples come from and how they become text and tokens."""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tunix_exp.models.families.registry import chat_templates
from tunix_exp.references import ReferenceText
from tunix_exp.schema import MOST_TOKENS, Config, Epochs, Name, Rows, Steps, Text, Written, contradiction

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
    system: Written | None
    date: Annotated[str, AfterValidator(_day)] | None
    prompt: Written
    response: Written
    response_without_reasoning: Written
    step_separator: Written

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


_Values = dict[Name, Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]]
Only = _Values | Annotated[tuple[_Values, ...], Field(strict=False, min_length=1)]
"""Values by field: rows that have another value there are left out. Of several such, a row has to fit one."""


class SourceConfig(Config):
    """Rows of one source: what `data` says of a set alone, and `data.mix` of each of several."""

    source: ReferenceText
    format: Format
    fields: RowFieldsConfig
    only: Only | None
    max_rows: Rows | None


class MixedConfig(SourceConfig):
    """One set of several: rows are drawn in proportion to the weights, or the sets come in turn, each for so
    many steps, or for the steps of so many passes through its rows.
    """

    weight: Annotated[float, Field(gt=0, le=1e9)] | None
    steps: Steps | None
    epochs: Epochs | None

    @model_validator(mode="after")
    def _drawn_in_one_way(self) -> "MixedConfig":
        said = {"weight": self.weight, "steps": self.steps, "epochs": self.epochs}
        given = {key: value for key, value in said.items() if value is not None}
        if not given:
            raise ValueError(
                "the set has neither a weight, by which it is mixed with the others, nor steps or epochs, for"
                " which it comes in its turn: give it one of them"
            )
        if len(given) > 1:
            raise ValueError(
                contradiction(given, "a set has one of weight, steps and epochs; leave out the rest")
            )
        return self

    @property
    def is_stage(self) -> bool:
        """Whether the set comes in its turn."""
        return self.weight is None


SetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]


class DataConfig(Config):
    """The training set; evaluation renders its items with the same template.

    With `mix` there are several, by name: `source` is then null. What one of them leaves out of `format`,
    `fields`, `only` and `max_rows` is as it stands here.
    """

    name: Name
    source: ReferenceText | None
    mix: Annotated[dict[SetName, MixedConfig], Field(min_length=2, max_length=100)] | None
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

    @model_validator(mode="before")
    @classmethod
    def _a_set_has_what_it_leaves_out(cls, value: Any) -> Any:
        """Each set of `mix` with the keys of `data` that it does not have itself."""
        if not isinstance(value, Mapping) or not isinstance(value.get("mix"), Mapping):
            return value
        return {**value, "mix": {name: _filled(one, value) for name, one in value["mix"].items()}}

    @model_validator(mode="after")
    def _one_set_or_several(self) -> "DataConfig":
        if (self.source is None) == (self.mix is None):
            both = {"source": self.source, "mix": self.mix}
            says = "one of them is the training data; name a source, or several sets in mix with source=null"
            raise ValueError(contradiction(both, says))
        return self

    @model_validator(mode="after")
    def _weights_or_stages(self) -> "DataConfig":
        if len({one.is_stage for one in (self.mix or {}).values()}) > 1:
            raise ValueError(
                "some sets of data.mix have weights and some are stages: give all of them a weight, by which"
                " they are mixed, or each of them steps or epochs, for which they come in turn"
            )
        return self

    @property
    def stages(self) -> dict[str, MixedConfig]:
        """The sets that come in turn, by name; empty where rows are not drawn in stages."""
        return {name: one for name, one in (self.mix or {}).items() if one.is_stage}

    @property
    def steps_of_stages(self) -> tuple[int, ...] | None:
        """The steps of each stage; `None` where some are counted in passes through rows yet to be read."""
        steps = tuple(one.steps for one in self.stages.values() if one.steps is not None)
        return steps if len(steps) == len(self.stages) else None

    @property
    def sets(self) -> "Mapping[str, DataConfig | SourceConfig]":
        """The sources by the names of their sets; a lone one has none."""
        return {"": self} if self.mix is None else self.mix


def _filled(one: Any, group: Mapping[str, Any]) -> Any:
    if not isinstance(one, Mapping):
        return one
    shared = {key: group[key] for key in ("format", "only", "max_rows") if key in group}
    shared |= dict.fromkeys(("weight", "steps", "epochs"))
    fields = group.get("fields")
    own = one.get("fields", {})
    if isinstance(fields, Mapping) and isinstance(own, Mapping):
        shared["fields"] = fields
        one = {**one, "fields": {**fields, **own}}
    return {**shared, **one}
