import math
import re
from pathlib import Path

import pytest

from tunix_exp.errors import UserError
from tunix_exp.evidence.strict_json import (
    BrokenFile,
    canonical_json,
    json_line,
    json_text,
    parse_json,
    read_json_object,
    read_jsonl,
    read_text,
)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_key(number: float) -> None:
    with pytest.raises(UserError, match=r"`runs\[1\]\.loss` is -?(nan|inf), and evidence holds finite"):
        json_text({"runs": [{"loss": 1.0}, {"loss": number}]}, file="summary.json")


def test_the_refusal_names_file_and_remedy() -> None:
    with pytest.raises(UserError) as caught:
        json_line({"loss": math.nan}, file="metrics.jsonl")
    assert caught.value.where == "metrics.jsonl"
    assert "optim.peak_lr" in str(caught.value.remedy)


def test_json_keeps_the_order_of_keys_and_ends_in_a_newline() -> None:
    assert json_text({"b": 1, "a": "é"}, file="x") == '{\n  "b": 1,\n  "a": "é"\n}\n'


def test_canonical_json_is_the_same_for_every_order_of_keys() -> None:
    assert canonical_json({"b": 1, "a": [2]}, file="x") == canonical_json({"a": [2], "b": 1}, file="x")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1}\n{"a": NaN}\n', "line 2: holds NaN"),
        (b'{"a": 1}\n\n{"a": 2}\n', "line 2: is not JSON"),
        (b'{"a": 1, "a": 2}\n', "line 1: has the key `a` twice"),
        (b'{"a": 1}\n{"a"', "line 2: the last line is cut"),
        (b'{"a": ' + b"9" * 6000 + b"}\n", "line 1: holds a number of 6000 digits"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "line 1: is nested too deep"),
        (b'{"a": 1e999}\n', "line 1: holds 1e999"),
        (b"[1]\n", "line 1: is not a JSON object"),
        (b'{"a": "\xff"}\n', r"is not UTF-8 \(byte 7\)"),
        (b"\xef\xbb\xbf{}\n", "begins with a byte order mark"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(BrokenFile) as caught:
        read_jsonl(tmp_path / "rows.jsonl", file="rows.jsonl")
    assert caught.value.file == "rows.jsonl"
    assert re.match(says, caught.value.finding)


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json_line({"output": "a\u2028b\x0cc"}, file="x"), encoding="utf-8", newline="\n")
    assert read_jsonl(file, file="rows.jsonl") == [{"output": "a\u2028b\x0cc"}]


def test_a_json_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    assert parse_json("[1]", file="config.json") == [1]
    with pytest.raises(BrokenFile, match="is not a JSON object"):
        read_json_object(tmp_path / "config.json", file="config.json")


def test_the_text_of_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes("größer\r\n".encode())
    assert read_text(tmp_path / "log.txt", file="log.txt") == "größer\r\n"
