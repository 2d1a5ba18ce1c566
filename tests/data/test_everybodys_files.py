"""Small files as people have them: read with the right rows, or refused at the right place."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.toys import FIELDS
from tunix_exp.data import sources
from tunix_exp.data.config import DataConfig, RowFieldsConfig
from tunix_exp.data.counted import described
from tunix_exp.errors import UserError

from .toys import TEMPLATE

PAIRS = [("2 + 2?", "4"), ("3 + 3?", "6")]


def config(source, form="auto", only=None, limit=None, **named):
    nothing = dict.fromkeys((*FIELDS, "text")) | {"strip_calculator_marks": False}
    return DataConfig(
        name="own",
        source=str(source),
        mix=None,
        format=form,
        fields=RowFieldsConfig(**{**nothing, **named}),
        only=only,
        template=TEMPLATE,
        max_tokens=None,
        learn="response",
        too_long="error",
        max_rows=limit,
        allow_eval_overlap=False,
    )


def lines(*rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def pairs(question: str, answer: str, **more) -> bytes:
    return lines(*({question: asked, answer: answered, **more} for asked, answered in PAIRS))


def turns(*messages: tuple[str, str], by=("role", "content")) -> list[dict[str, str]]:
    return [dict(zip(by, message, strict=True)) for message in messages]


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


PLAIN = pairs("question", "answer")
ALPACA = [
    {"instruction": "Add.", "input": "2, 2", "output": "4"},
    {"instruction": "Say 6", "input": "", "output": "6"},
]
TALK = (("user", "2 + 2?"), ("assistant", "4"))
SHARED = turns(("human", "2 + 2?"), ("gpt", "4"), by=("from", "value"))

# name of the file, its content, what is read: (question, answer) of each row, what is said of it
READ = {
    "question and answer": ("a.jsonl", PLAIN, PAIRS, ""),
    "prompt and response": ("a.jsonl", pairs("prompt", "response"), PAIRS, ""),
    "prompt and completion (TRL, OpenAI)": ("a.jsonl", pairs("prompt", "completion"), PAIRS, ""),
    "instruction and output": ("a.jsonl", pairs("instruction", "output"), PAIRS, ""),
    "input and output": ("a.jsonl", pairs("input", "output"), PAIRS, ""),
    "problem and solution": ("a.jsonl", pairs("problem", "solution", level="Level 5"), PAIRS, ""),
    "query and response": ("a.jsonl", pairs("query", "response"), PAIRS, ""),
    "Alpaca": (
        "alpaca.json",
        json.dumps(ALPACA, indent=2).encode(),
        [("Add.\n\n2, 2", "4"), ("Say 6", "6")],
        "1 row with an empty `input`",
    ),
    "Alpaca with its text": (
        "a.json",
        json.dumps([{**row, "text": "…"} for row in ALPACA]).encode(),
        [("Add.\n\n2, 2", "4"), ("Say 6", "6")],
        "1 row with an empty `input`",
    ),
    "Dolly": (
        "a.jsonl",
        lines({"instruction": "Add.", "context": "2, 2", "response": "4", "category": "x"}),
        [("Add.\n\n2, 2", "4")],
        "",
    ),
    "a JSON array": (
        "a.json",
        json.dumps([json.loads(line) for line in PLAIN.splitlines()]).encode(),
        PAIRS,
        "",
    ),
    "a JSON array called lines": ("a.jsonl", b"[" + PLAIN.strip().replace(b"\n", b",\n") + b"]\n", PAIRS, ""),
    "JSON lines called .json": ("a.json", PLAIN, PAIRS, ""),
    "gzip": ("a.jsonl.gz", gzip.compress(PLAIN), PAIRS, ""),
    "two gzip members": (
        "a.jsonl.gz",
        b"".join(gzip.compress(line) for line in PLAIN.splitlines(True)),
        PAIRS,
        "",
    ),
    "Zstandard": ("a.jsonl.zst", zstd(PLAIN), PAIRS, ""),
    "two Zstandard frames": ("a.jsonl.zst", b"".join(map(zstd, PLAIN.splitlines(True))), PAIRS, ""),
    "a byte-order mark": ("a.jsonl", b"\xef\xbb\xbf" + PLAIN, PAIRS, "1 byte-order mark"),
    "Windows line ends": ("a.jsonl", PLAIN.replace(b"\n", b"\r\n"), PAIRS, "2 Windows line ends"),
    "blank lines": ("a.jsonl", b"\n" + PLAIN.replace(b"\n", b"\n  \n"), PAIRS, "3 blank lines"),
    "no last line end": ("a.jsonl", PLAIN.rstrip(), PAIRS, ""),
    "numbers": (
        "a.jsonl",
        b'{"question": "1?", "answer": 42}\n{"question": "2?", "answer": 1.50}\n',
        [("1?", "42"), ("2?", "1.50")],
        "2 numbers read as text in `answer`",
    ),
    "a long number": (
        "a.jsonl",
        b'{"question": "1?", "answer": ' + b"9" * 700 + b"}\n",
        [("1?", "9" * 700)],
        "1 number read as text in `answer`",
    ),
    "an exponent": (
        "a.jsonl",
        b'{"question": "1?", "answer": 1E400}\n',
        [("1?", "1E400")],
        "1 number read as text in `answer`",
    ),
    "truth values": (
        "a.jsonl",
        b'{"question": "1?", "answer": true}\n{"question": "2?", "answer": false}\n',
        [("1?", "true"), ("2?", "false")],
        "2 truth values read as text in `answer`",
    ),
    "NaN in a field that nothing reads": (
        "a.jsonl",
        b'{"question": "1?", "answer": "x", "score": NaN}\n',
        [("1?", "x")],
        "",
    ),
    "fields of any kind beside": (
        "a.jsonl",
        lines(
            {"question": "1?", "answer": "x", "m": {"a": [1, None]}, "n": 1e9},
            {"question": "2?", "answer": "y", "k": True},
        ),
        [("1?", "x"), ("2?", "y")],
        "",
    ),
    "OpenAI's messages": (
        "a.jsonl",
        lines({"messages": turns(("system", "Be brief."), *TALK)}),
        [PAIRS[0]],
        "",
    ),
    "messages of parts": (
        "a.jsonl",
        lines(
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
                    {"role": "assistant", "content": "4", "name": "a"},
                ]
            }
        ),
        [PAIRS[0]],
        "1 message with `name`, not read",
    ),
    "ShareGPT": ("a.json", json.dumps([{"id": "x_0", "conversations": SHARED}]).encode(), [PAIRS[0]], ""),
    "prompt and completion as messages (TRL)": (
        "a.jsonl",
        lines({"prompt": turns(TALK[0]), "completion": turns(TALK[1])}),
        [PAIRS[0]],
        "",
    ),
    "comma-separated": ("a.csv", b"question,answer\n2 + 2?,4\n3 + 3?,6\n", PAIRS, ""),
    "semicolons, as a European spreadsheet writes": (
        "a.csv",
        b"\xef\xbb\xbfquestion;answer\r\n2 + 2?;4\r\n3 + 3?;6\r\n",
        PAIRS,
        "1 byte-order mark; 3 Windows line ends",
    ),
    "tabs": ("a.tsv", b"question\tanswer\n2 + 2?\t4\n3 + 3?\t6\n", PAIRS, ""),
    "tabs called .csv": ("a.csv", b"question\tanswer\n2 + 2?\t4\n3 + 3?\t6\n", PAIRS, ""),
    "quoted line breaks and separators": (
        "a.csv",
        b'question,answer\n"a,\nb ""c""",x\n',
        [('a,\nb "c"', "x")],
        "",
    ),
    "text that looks like something else": (
        "a.csv",
        b"question,answer\n1?,007\n2?,NA\n3?,1e5\n",
        [("1?", "007"), ("2?", "NA"), ("3?", "1e5")],
        "",
    ),
    "an index column without a name": ("a.csv", b",question,answer\n0,2 + 2?,4\n1,3 + 3?,6\n", PAIRS, ""),
    "a packed table": (
        "a.csv.gz",
        gzip.compress(b"question,answer\n2 + 2?,4\n\n3 + 3?,6\n"),
        PAIRS,
        "1 blank line",
    ),
    "equal rows": ("a.jsonl", PLAIN * 20, PAIRS * 20, "38 rows equal to an earlier one"),
    "one question, other answers": (
        "a.jsonl",
        lines(*({"question": "1?", "answer": f"{n}"} for n in range(40))),
        [("1?", f"{n}") for n in range(40)],
        "39 rows with the question of an earlier one and another answer",
    ),
}

# what is said, and where
REFUSED = {
    "a key twice": (
        "a.jsonl",
        PLAIN + b'{"question": "1", "question": "2", "answer": "x"}\n',
        "a.jsonl:3",
        "the field `question` stands twice",
        "keep one of the two",
    ),
    "two answers": (
        "a.jsonl",
        lines({"question": "1?", "answer": "x", "response": "y"}),
        "a.jsonl:1 (data.fields.answer)",
        "2 fields of the row could be its answer: answer and response",
        "data.fields.answer=answer",
    ),
    "a conversation or a pair": (
        "a.jsonl",
        lines({"messages": turns(*TALK), "prompt": "p", "answer": "a"}),
        "a.jsonl:1 (data.format)",
        "could be a conversation or a question with its answer",
        "data.format=messages",
    ),
    "a number among texts": (
        "a.jsonl",
        lines({"question": "1?", "answer": "x"}, {"question": "2?", "answer": 2}),
        "a.jsonl:2",
        "`answer` is a number, and a text at",
        "in the same way in all rows",
    ),
    "half a character": (
        "a.jsonl",
        lines({"question": "1?", "answer": "\ud83d"}),
        "a.jsonl:1",
        "`answer` holds half a character, \\ud83d",
        "the surrogate pair",
    ),
    "a row without the answer": (
        "a.jsonl",
        PLAIN + lines({"question": "5?"}),
        "a.jsonl:3",
        "the field `answer` is missing; the row has question",
        "data.fields.answer",
    ),
    "reasoning in some rows": (
        "a.jsonl",
        lines({"question": "1?", "reasoning": "r", "answer": "x"}, {"question": "2?", "answer": "y"}),
        "a.jsonl:2",
        "the field `reasoning` is missing",
        "data.fields.reasoning",
    ),
    "null as an answer": (
        "a.jsonl",
        lines({"question": "1?", "answer": None}),
        "a.jsonl:1",
        "`answer` is null",
        "write the answer or take the row out",
    ),
    "unknown names": (
        "a.jsonl",
        lines({"frage": "1?", "antwort": "x"}),
        "a.jsonl:1 (data.fields)",
        "no field of the row has a known name of its question and answer; the row has frage, antwort",
        "data.fields.question=…",
    ),
    "a cut line": (
        "a.jsonl",
        PLAIN + b'{"question": "5',
        "a.jsonl:3",
        "bad JSON at column 14",
        "one whole JSON object",
    ),
    "a cut array": (
        "a.json",
        b'[{"question": "1?", "answer": "x"},\n{"question": "2?", "answer": "y"}',
        "data.source",
        "a.json:2 the array has no end: ] is missing",
        "one whole JSON array",
    ),
    "an array with a bad element": (
        "a.json",
        b'[{"question": "1?", "answer": "x"},\n{"question": }]',
        "a.json:2 (element 2)",
        "bad JSON at column 14",
        "JSON object",
    ),
    "an array and more": (
        "a.json",
        b'[{"question": "1?", "answer": "x"}]\n{}',
        "data.source",
        "a.json:2 holds more after the end of the array",
        "one JSON array",
    ),
    "Latin-1": (
        "a.csv",
        "question,answer\n2 + 2?,vière\n".encode("latin-1"),
        "data.source",
        "a.csv:2 is not UTF-8",
        "UTF-8",
    ),
    "UTF-16": ("a.csv", "question,answer\n".encode("utf-16"), "data.source", "a.csv:1 is UTF-16", "UTF-8"),
    "a row with fewer cells": (
        "a.csv",
        b"question,answer\n1?\n",
        "a.csv:2",
        "the row has 1 cells between commas, the header 2",
        "into quotes",
    ),
    "a row with more cells": (
        "a.csv",
        b"question,answer\n1?,x\n2?,y,z\n",
        "a.csv:3",
        "the row has 3 cells between commas, the header 2",
        "into quotes",
    ),
    "an open quote": (
        "a.csv",
        b'question,answer\n1?,x\n2?,"y\n3?,z\n',
        "data.source",
        "a.csv:3 is no row of cells",
        "close every quote",
    ),
    "a column twice": (
        "a.csv",
        b"question,answer,answer\n1?,x,y\n",
        "data.source",
        "names the column 'answer' twice",
        "its own name",
    ),
    "commas and semicolons": (
        "a.csv",
        b"question;answer,more\n1?;2,3\n",
        "data.source",
        "can be read with commas or with semicolons between its cells",
        "ends in .tsv",
    ),
    "a damaged archive": (
        "a.jsonl.gz",
        gzip.compress(PLAIN)[:-9],
        "data.source",
        "cannot be unpacked",
        "again",
    ),
    "a damaged frame": ("a.jsonl.zst", zstd(PLAIN)[:-5], "data.source", "cannot be unpacked", "again"),
    "no archive": (
        "a.jsonl.gz",
        PLAIN,
        "data.source",
        "cannot be unpacked: Not a gzipped file",
        "its name must end",
    ),
    "the user's message last": (
        "a.jsonl",
        lines({"messages": turns(TALK[0])}),
        "a.jsonl:1",
        "`messages` ends with the user's message",
        "take the row out",
    ),
    "two of the user's in a row": (
        "a.jsonl",
        lines({"messages": turns(TALK[0], *TALK)}),
        "a.jsonl:1",
        "message 2 of `messages` is the user's, where the assistant's is due",
        "in turn",
    ),
    "null as a message": (
        "a.jsonl",
        lines({"messages": turns(TALK[0], ("assistant", None))}),
        "a.jsonl:1",
        "the text of message 2 of `messages` is null",
        "write the message, or take the row out",
    ),
    "a tool's message": (
        "a.jsonl",
        lines({"messages": turns(TALK[0], ("tool", "4"), TALK[1])}),
        "a.jsonl:1",
        "the role of message 2 of `messages` is 'tool'",
        "known are",
    ),
    "a message that is not to be learnt": (
        "a.jsonl",
        lines({"messages": [*turns(TALK[0]), {"role": "assistant", "content": "4", "weight": 0}]}),
        "a.jsonl:1",
        "message 2 of `messages` has `weight`",
        "take the key or the row out",
    ),
    "an image": (
        "a.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *turns(TALK[1])]}),
        "a.jsonl:1",
        "message 1 of `messages` holds more than text",
        "images and sound are not read here",
    ),
}


@pytest.mark.parametrize("form", READ)
def test_a_file_as_people_have_it_is_read(form, tmp_path):
    name, content, expected, said = READ[form]
    (tmp_path / name).write_bytes(content)
    read = sources.read(config(tmp_path / name))
    assert [(row.question, row.answer) for row in read] == expected
    assert "; ".join(described(read.facts.counts, read.facts.fields)) == said


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_broken_or_ambiguous_is_refused_with_its_place_and_remedy(form, tmp_path):
    name, content, place, said, remedy = REFUSED[form]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        sources.read(config(tmp_path / name))
    assert said in caught.value.what
    assert place in str(caught.value.where)
    assert remedy in caught.value.remedy


TABLE = {
    "question": ["2 + 2?", "3 + 3?"],
    "answer": [4, 6],
    "meta": [{"a": [1]}, {"a": []}],
    "kind": ["sum", "sum"],
}


def table():
    made = pyarrow.table(TABLE)
    return made.set_column(3, "kind", made.column("kind").dictionary_encode())


def write_stream(made, path):
    with pyarrow.ipc.new_stream(str(path), made.schema) as writer:
        writer.write_table(made)


def write_file(made, path):
    with pyarrow.ipc.new_file(str(path), made.schema) as writer:
        writer.write_table(made)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", pyarrow.parquet.write_table),
        ("zstd.parquet", lambda made, path: pyarrow.parquet.write_table(made, path, compression="zstd")),
        ("a.arrow", write_stream),
        ("b.arrow", write_file),
        ("a.feather", write_file),
    ],
)
def test_columns_are_read_dictionaries_and_nested_ones_too(name, write, tmp_path):
    write(table(), tmp_path / name)
    read = sources.read(config(tmp_path / name, category="kind"))
    assert [(row.question, row.answer, row.category) for row in read] == [
        ("2 + 2?", "4", "sum"),
        ("3 + 3?", "6", "sum"),
    ]
    assert read.facts.unread == ("meta",)
    assert read.facts.counts == {"numbers_as_text.answer": 2}


def test_a_column_that_stands_twice_is_refused(tmp_path):
    made = pyarrow.table(
        [pyarrow.array(["1?"]), pyarrow.array(["x"]), pyarrow.array(["y"])], ["question", "answer", "answer"]
    )
    write_file(made, tmp_path / "a.arrow")
    with pytest.raises(UserError, match="the column `answer` stands twice"):
        sources.read(config(tmp_path / "a.arrow"))


def test_a_pattern_names_several_files_and_rows_go_by_their_own(tmp_path):
    for name, line in zip("ba", PLAIN.splitlines(), strict=True):
        (tmp_path / f"{name}.jsonl").write_bytes(line)
    read = sources.read(config(tmp_path / "*.jsonl"))
    assert [(row.id, row.question) for row in read] == [("a-000001", "3 + 3?"), ("b-000001", "2 + 2?")]
    assert read.facts.files == 2
    alone = [sources.read(config(tmp_path / f"{name}.jsonl")).facts.sha256 for name in "ab"]
    assert read.facts.sha256 not in alone
    (tmp_path / "c.csv").write_bytes(b"question,answer\n")
    with pytest.raises(UserError, match=r"matches files of several kinds: \.csv, \.jsonl"):
        sources.read(config(tmp_path / "*"))
    with pytest.raises(UserError, match="no file matches"):
        sources.read(config(tmp_path / "*.parquet"))


def test_files_of_one_name_in_several_folders_have_rows_of_several_names(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.jsonl").write_bytes(PLAIN.splitlines()[0])
    assert [row.id for row in sources.read(config(tmp_path / "*" / "rows.jsonl"))] == [
        "rows.1-000001",
        "rows.2-000001",
    ]


def test_rows_are_chosen_by_what_their_fields_hold(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        lines(
            *({"question": f"{n}?", "answer": "x", "lang": "en" if n % 2 else "de", "n": n} for n in range(6))
        )
    )
    read = sources.read(config(tmp_path / "a.jsonl", only={"lang": ("en",), "n": ("1", "3", "4")}))
    assert [row.question for row in read] == ["1?", "3?"]
    assert read.facts.counts == {"filtered_out": 4}
    assert [
        row.question for row in sources.read(config(tmp_path / "a.jsonl", only={"lang": ("en",)}, limit=1))
    ] == ["1?"]
    either = ({"lang": ("en",), "n": ("1",)}, {"n": ("2", "4")})
    assert [row.question for row in sources.read(config(tmp_path / "a.jsonl", only=either))] == [
        "1?",
        "2?",
        "4?",
    ]
    with pytest.raises(UserError, match=r"none of the 6 rows is what data\.only asks for"):
        sources.read(config(tmp_path / "a.jsonl", only={"lang": ("fr",)}))
    with pytest.raises(UserError, match=r"the field `tongue` of data\.only is missing"):
        sources.read(config(tmp_path / "a.jsonl", only={"tongue": ("en",)}))


def test_what_was_found_by_looking_is_told_and_names_that_are_given_are_kept(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        lines({"prompt": "1?", "answer": "x", "response": "y", "steps": ["s"]})
    )
    read = sources.read(config(tmp_path / "a.jsonl", answer="response"))
    assert (read[0].question, read[0].steps, read[0].answer) == ("1?", ("s",), "y")
    assert read.facts.guessed == {"question": "prompt", "reasoning": "steps"}
    assert read.facts.unread == ("answer",)
    named = sources.read(config(tmp_path / "a.jsonl", question="prompt", answer="response"))
    assert (named[0].steps, named.facts.guessed) == ((), {})


def test_a_format_by_name_reads_its_fields_alone(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines({"messages": turns(*TALK), "prompt": "p", "response": "a"}))
    assert sources.read(config(tmp_path / "a.jsonl", "messages"))[0].messages == TALK
    assert sources.read(config(tmp_path / "a.jsonl", "prompt-response"))[0].question == "p"
    with pytest.raises(UserError, match="the field `output` is missing"):
        sources.read(config(tmp_path / "a.jsonl", "alpaca", question="prompt"))


def test_a_conversation_keeps_its_turns(tmp_path):
    told = turns(
        ("system", "Be brief."),
        ("human", "1?"),
        ("gpt", "x"),
        ("human", "2?"),
        ("gpt", "y"),
        by=("from", "value"),
    )
    (tmp_path / "a.json").write_text(json.dumps([{"conversations": told}]))
    read = sources.read(config(tmp_path / "a.json"))[0]
    assert [role for role, _ in read.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert (read.question, read.answer) == ("2?", "y")


def test_plain_text_is_a_document_a_file_or_a_row(tmp_path):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    (tmp_path / "a.jsonl").write_bytes(lines({"text": "One."}, {"text": "Two."}))
    assert [row.answer for row in sources.read(config(tmp_path / "a.txt"))] == ["One.\n\nTwo.\n"]
    read = sources.read(config(tmp_path / "a.jsonl"))
    assert [(row.question, row.answer) for row in read] == [("", "One."), ("", "Two.")]


def test_elements_that_share_a_line_have_ids_of_their_own(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"question": q, "answer": a} for q, a in PAIRS]))
    read = sources.read(config(tmp_path / "a.json"))
    assert [row.id for row in read] == ["a-000001", "a-000002"]
    assert [row.place for row in read] == [f"{tmp_path / 'a.json'}:1 (element {n})" for n in (1, 2)]


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_read_the_same_in_pieces_of_any_size(size, packed, tmp_path, monkeypatch):
    content = (
        '\ufeff{"question": "größer 🙂?", "answer": 1}\r\n\r\n{"question": "2?", "answer": 2}\r\n'.encode()
    )
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    whole = sources.read(config(path))
    assert whole.facts.counts["windows_line_ends"] == 3
    monkeypatch.setattr("tunix_exp.data.reading.text._CHUNK", size)
    pieces = sources.read(config(path))
    assert list(pieces) == list(whole)
    assert pieces.facts == whole.facts


def test_a_stored_number_is_read_in_its_shortest_form(tmp_path):
    made = pyarrow.table({"question": ["1?", "2?", "3?"], "answer": [1.25, 42.0, 1e300]})
    pyarrow.parquet.write_table(made, tmp_path / "a.parquet")
    assert [row.answer for row in sources.read(config(tmp_path / "a.parquet"))] == ["1.25", "42.0", "1e+300"]
