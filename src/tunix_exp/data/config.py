"""The data group: where training examples come from and how they become text and tokens."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from tunix_exp.models.families.registry import chat_templates
from tunix_exp.references import ReferenceText
from tunix_exp.schema import MOST_TOKENS, Config, Name, Rows, Text, contradiction

# Parts that a row may do without.
OPTIONAL = ("id", "reasoning", "section", "category", "difficulty")


class FieldsConfig(Config):
    """The names that a row's parts go by in the source; `null` where the source has no such part.

    A dot reaches into an object: `meta.category`. A name that ends in `?` may be that of no field: when
    none of the rows has it, it is as if it were `null`, and the run says so. With an `answer_marker` the
    answer field holds the worked text, the marker, and the answer; `reasoning` is then `null`.
    """

    id: Name | None
    question: Name
    reasoning: Name | None
    answer: Name
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


if TYPE_CHECKING:
    Chat = str
else:
    Chat = Literal[("none", *chat_templates())]


class TemplateConfig(Config):
    """The text of an example; `{question}`, `{reasoning}` and `{answer}` are filled in.

    `chat` names the chat template that an instruction-tuned model knows; `system` is its system text.
    """

    chat: Chat
    system: Text | None
    prompt: Text
    response: Text
    response_without_reasoning: Text
    step_separator: Text

    @model_validator(mode="after")
    def _a_system_text_has_a_chat_template(self) -> "TemplateConfig":
        if self.system is not None and self.chat == "none":
            both = {"system": self.system, "chat": self.chat}
            named = " or ".join(f"chat={name}" for name in chat_templates())
            says = f"a system text needs a chat template; set {named}, or write the text into `prompt`"
            raise ValueError(contradiction(both, says))
        if self.system is not None and not self.system.strip():
            raise ValueError("`system` is blank: write a text or null")
        return self


class DataConfig(Config):
    """The training set; evaluation renders its items with the same template."""

    name: Name
    source: ReferenceText
    fields: FieldsConfig
    template: TemplateConfig
    max_tokens: (
        Annotated[int, Field(ge=8, le=MOST_TOKENS)] | None
    )  # null: what the data needs and the model allows
    too_long: Literal["error", "drop", "shorten"]
    max_rows: Rows | None
    allow_eval_overlap: bool
