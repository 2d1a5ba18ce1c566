"""Tokenizer folders and data files damaged at random are refused in plain words, or read."""

import json
import os
import shutil

import pyarrow
import pyarrow.parquet
from pydantic import ValidationError

from tests.damage import refusals
from tests.data.toys import TURNS, data_config, saved_tokenizer
from tunix_exp.data import sources
from tunix_exp.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer
from tunix_exp.errors import UserError

# A few seeds always; more by hand: DAMAGED_SEEDS=0:6000 pytest tests/data/test_damaged.py
SEEDS = range(*map(int, os.environ.get("DAMAGED_SEEDS", "0:40").split(":")))
ROWS = [
    {"id": f"row {number}", "q": f"What is {number} + 1, größer?", "a": str(number + 1), "label": "sum",
     "steps": ["one", "two"], "nested": {"more": [number, 2.5, None, True]}}
    for number in range(12)
]  # fmt: skip
FLAT = [{key: value for key, value in row.items() if key != "nested"} for row in ROWS]
FIELDS = {"id": "id", "question": "q", "reasoning": "steps", "answer": "a", "category": "label"}


def test_a_damaged_tokenizer_is_refused_or_encodes(tmp_path):
    whole = tmp_path / "whole"
    saved_tokenizer(whole, *TURNS, eos_token=END_OF_TEXT, adds_bos=True)
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    (whole / "special_tokens_map.json").write_text(json.dumps({"eos_token": END_OF_TEXT}))
    (whole / "generation_config.json").write_text(json.dumps({"eos_token_id": 256}))
    (whole / "chat_template.jinja").write_text(template)

    def read(folder):
        tokenizer = load_tokenizer(str(folder), chat="none")
        shutil.copytree(folder, folder.parent / "copy", symlinks=True)
        ids = tokenizer.encode_prompt("Größe 12")
        tokenizer.decode(ids)
        tokenizer.encode_all(["a", "b c"])
        (folder.parent / "out").mkdir()
        tokenizer.save(folder.parent / "out")
        return tokenizer

    refused = refusals(whole, tmp_path, SEEDS, read, lambda result, _: isinstance(result, Tokenizer))
    assert len(refused) > len(SEEDS) // 5


def read_lines(folder):
    return read(folder / "rows.jsonl")


def read_table(folder):
    return read(folder / "rows.parquet")


def read(file):
    try:
        config = data_config(file, **FIELDS)
    except ValidationError as error:  # the config refuses a place that cannot be looked for
        raise UserError(str(error), where="config", remedy=error.errors()[0]["msg"]) from error
    return sources.read(config)


def are_sound(examples, _):
    return all(one.question.strip() and one.answer.strip() for one in examples)


def test_damaged_lines_are_refused_or_read(tmp_path):
    (tmp_path / "whole").mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "whole" / "rows.jsonl").write_text(lines, encoding="utf-8")
    assert len(refusals(tmp_path / "whole", tmp_path, SEEDS, read_lines, are_sound)) > len(SEEDS) // 3


def test_a_damaged_table_is_refused_or_read(tmp_path):
    (tmp_path / "whole").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(FLAT), tmp_path / "whole" / "rows.parquet")
    assert len(refusals(tmp_path / "whole", tmp_path, SEEDS, read_table, are_sound)) > len(SEEDS) // 3
