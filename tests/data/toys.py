"""Toy configs and examples."""

from pathlib import Path
from typing import Any

from tunix_exp.data.config import DataConfig, FieldsConfig, TemplateConfig
from tunix_exp.data.example import Example

FIELDS = {
    "id": None,
    "question": "q",
    "reasoning": None,
    "answer": "a",
    "answer_marker": None,
    "strip_calculator_marks": False,
    "section": None,
    "category": None,
    "difficulty": None,
}
TEMPLATE = TemplateConfig(
    prompt="{question}\n",
    response="{reasoning}\nAnswer: {answer}",
    response_without_reasoning="Answer: {answer}",
    step_separator="\n",
)


def fields(**changes: Any) -> FieldsConfig:
    return FieldsConfig(**{**FIELDS, **changes})


def data_config(source: Path | str, *, max_rows: int | None = None, **changes: Any) -> DataConfig:
    return DataConfig(
        name="toy",
        source=str(source),
        fields=fields(**changes),
        template=TEMPLATE,
        max_tokens=64,
        too_long="error",
        max_rows=max_rows,
        allow_eval_overlap=False,
    )


def example(question: str = "Q?", *steps: str, answer: str = "A", name: str = "x-1") -> Example:
    return Example(name, question, steps, answer, None, None, None, "toy.jsonl:1")
