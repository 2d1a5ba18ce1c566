"""Toy configs and examples."""

import json
from pathlib import Path
from typing import Any

from tunix_exp.data.config import DataConfig, FieldsConfig, Format, RowFieldsConfig, TemplateConfig
from tunix_exp.data.example import Example
from tunix_exp.data.tokenizer import load_tokenizer

FIELDS = {
    "id": None,
    "question": "q",
    "input": None,
    "reasoning": None,
    "answer": "a",
    "messages": None,
    "answer_marker": None,
    "strip_calculator_marks": False,
    "section": None,
    "category": None,
    "difficulty": None,
}
TEMPLATE = TemplateConfig(
    chat="none",
    system=None,
    date=None,
    prompt="{question}\n",
    response="{reasoning}\nAnswer: {answer}",
    response_without_reasoning="Answer: {answer}",
    step_separator="\n",
)


def fields(**changes: Any) -> FieldsConfig:
    return FieldsConfig(**{**FIELDS, **changes})


def data_config(
    source: Path | str,
    *,
    max_rows: int | None = None,
    form: Format = "auto",
    only: dict[str, tuple[str, ...]] | None = None,
    **changes: Any,
) -> DataConfig:
    return DataConfig(
        name="toy",
        source=str(source),
        mix=None,
        format=form,
        only=only,
        fields=RowFieldsConfig(**{**FIELDS, "text": None, **changes}),
        template=TEMPLATE,
        learn="response",
        max_tokens=64,
        too_long="error",
        max_rows=max_rows,
        allow_eval_overlap=False,
    )


def example(question: str = "Q?", *steps: str, answer: str = "A", name: str = "x-1") -> Example:
    return Example(name, question, steps, answer, None, None, None, "toy.jsonl:1")


TURNS = ("<start_of_turn>", "<end_of_turn>")


def saved_tokenizer(folder: Path, *tokens: str, adds_bos: bool = False, **settings: Any) -> str:
    """A folder as transformers reads it: the byte tokenizer with `<bos>`, 257, and `tokens` after it.

    `<bos>` is put in front when asked to.
    """
    state = json.loads(load_tokenizer("bundled:bytes", chat="none").backend.to_str())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    state["added_tokens"] += [
        {"id": id_, "content": content, **plain} for id_, content in enumerate(("<bos>", *tokens), start=257)
    ]
    if adds_bos:
        special = {"id": "<bos>", "ids": [257], "tokens": ["<bos>"]}
        state["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<bos>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": special},
        }
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return str(folder)
