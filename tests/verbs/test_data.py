import json
import re
import subprocess
import sys

import pytest

from tests.data.toys import TURNS, saved_tokenizer
from tunix_exp import cli

ROWS = [
    {"prompt": "1 + 1?", "response": "2", "note": [1]},
    {"prompt": "What is <|endoftext|>?", "response": "An end"},
    {"prompt": "2 + 2?", "response": "4"},
    {"prompt": "1 + 1?", "response": "2"},
    {"prompt": "1 + 1?", "response": "two"},
]
ITEMS = [{"question": "3 + 3?", "answer": "6"}, {"question": "What is  2 + 2?", "answer": "4"}]
LONG = "Anna has five apples and buys seven more of them on her way home"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def write(rows=ROWS, items=ITEMS):
        for name, lines in (("train.jsonl", rows), ("test.jsonl", items)):
            (tmp_path / name).write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        with (tmp_path / "train.jsonl").open("a") as train:
            train.write("\n")
        return ["data", "data=jsonl", "data.source=train.jsonl", "eval=jsonl", "eval.source=test.jsonl"]

    return write


def shown(capsys, words, status=0):
    assert cli.main(words) == status
    return capsys.readouterr()


def values(capsys, words):
    return json.loads(shown(capsys, [*words, "--json"]).out)


def test_all_of_it_is_shown_in_plain_lines_and_nothing_is_written(files, tmp_path, capsys):
    said = shown(capsys, files())
    assert said.err == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.jsonl", "train.jsonl"]
    assert (
        said.out
        == """\
training rows: train.jsonl
  JSON lines: 5 of 5 rows read
  question from `prompt` (found by its name)
  answer from `response` (found by its name)
  fields that are not read: `note`
  1 blank line
  1 row with the question of an earlier one and another answer
  1 row equal to an earlier one

3 of 5 rows, as the model sees them
  ^ is learnt   . is read only

  train-000001 (train.jsonl:1), the first: 17 tokens, 10 learnt
  1 + 1?⏎
  .......
  Answer: 2<|endoftext|>
  ^^^^^^^^^^^^^^^^^^^^^^

  train-000002 (train.jsonl:2), the longest: 38 tokens, 15 learnt
  What is <|endoftext|>?⏎
  .......................
  Answer: An end<|endoftext|>
  ^^^^^^^^^^^^^^^^^^^^^^^^^^^

  train-000003 (train.jsonl:3): 17 tokens, 10 learnt
  2 + 2?⏎
  .......
  Answer: 4<|endoftext|>
  ^^^^^^^^^^^^^^^^^^^^^^

tokens per row
  15 to 19  4  ████████████████████████████████████████
  20 to 24  0
  25 to 29  0
  30 to 34  0
  35 to 39  1  ██████████
  median 17, 95th percentile 34, longest 38
  learnt: 52.8 % of the tokens
  data.max_tokens is 48: the longest example has 38 tokens, and 1024 is the most that may be

batches
  padded; 5 rows, 0.1 steps per epoch (1 × 48 tokens); padding: 55.5 % of the token slots

names of special tokens
  in the text of 1 row, where they are text and no tokens:
    <|endoftext|>  1, first in train.jsonl:2

held-out items: test.jsonl
  JSON lines: 2 of 2 rows read
  question from `question` (found by its name)
  answer from `answer` (found by its name)
  no row has the optional field `section`
  no row has the optional field `category`
  no row has the optional field `difficulty`

overlap with the held-out items
  the question of an item: 0 rows
  13 consecutive words of an item's question: 0 rows
"""
    )


def test_json_has_the_same_as_values(files, capsys):
    found = values(capsys, files())
    assert list(found) == [
        *("source", "rows", "lengths", "batches", "special_tokens", "held_out", "overlap"),
    ]
    assert found["source"]["counts"]["blank_lines"] == 1
    assert [row["place"] for row in found["rows"]] == [f"train.jsonl:{line}" for line in (1, 2, 3)]
    assert found["rows"][0]["lines"] == [
        [{"text": "1 + 1?⏎", "is_learnt": False, "is_special": False}],
        [
            {"text": "Answer: 2", "is_learnt": True, "is_special": False},
            {"text": "<|endoftext|>", "is_learnt": True, "is_special": True},
        ],
    ]
    assert sum(one["number"] for one in found["lengths"]["histogram"]) == 5
    assert found["lengths"]["statistics"]["total_tokens"]["max"] == 38
    assert found["batches"]["batches_of_width"] == {"48": 1}
    assert found["special_tokens"] == {
        "rows": 1, "names": {"<|endoftext|>": {"count": 1, "place": "train.jsonl:2"}},
    }  # fmt: skip
    assert found["overlap"]["runs"] == {"rows": 0, "items": 0, "first": []}


@pytest.mark.parametrize(
    ("count", "lines"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4, 5])]
)
def test_as_many_rows_as_are_asked_for_are_rendered(files, capsys, count, lines):
    found = values(capsys, [*files(), "--rows", str(count)])["rows"]
    assert [row["place"] for row in found] == [f"train.jsonl:{line}" for line in lines]


def test_a_row_is_rendered_by_its_id(files, capsys):
    rows = [{"prompt": f"{n}?", "response": "x", "key": f"row-{n}"} for n in range(9)]
    words = [*files(rows), "data.fields.id=key"]
    assert [row["id"] for row in values(capsys, [*words, "--id", "row-7"])["rows"]] == ["row-7"]
    said = shown(capsys, [*words, "--id", "row-77"], status=2)
    assert "no row has the id 'row-77'" in said.err
    assert "ids are as 'row-0', the first" in said.err


def test_a_row_that_was_left_out_is_named_with_the_key(files, capsys):
    words = [*files(), "data.max_tokens=20", "data.too_long=drop"]
    said = shown(capsys, [*words, "--id", "train-000002"], status=2)
    assert "the row 'train-000002' is longer than 20 tokens, and left out" in said.err
    assert "left out, too long: 1 row (train-000002)" in shown(capsys, words).out


def test_overlap_is_shown_and_then_refused_as_a_run_refuses_it(files, capsys):
    rows = [{"prompt": f"{LONG}. How many?", "response": "12"}, {"prompt": "3 +  3?", "response": "6"}]
    words = files(rows, [*ITEMS, {"question": f"One day {LONG}!", "answer": "1"}])
    for more in ([], ["--json"]):
        said = shown(capsys, [*words, *more], status=2)
        assert "1 of 2 training questions are held out" in said.err
        assert "remedy: take those rows out" in said.err
    assert json.loads(said.out)["overlap"] == {
        "questions": {
            "rows": 1, "items": 1,
            "first": [{"row": "train.jsonl:2", "item": "test.jsonl:1", "text": "3 +  3?"}],
        },
        "runs": {
            "rows": 2, "items": 2,
            "first": [
                {"row": "train.jsonl:1", "item": "test.jsonl:3", "text": " ".join(LONG.lower().split()[:13])},
                {"row": "train.jsonl:2", "item": "test.jsonl:1", "text": "3 3"},
            ],
        },
    }  # fmt: skip
    allowed = shown(capsys, [*words, "data.allow_eval_overlap=true"]).out
    assert "the question of an item: 1 row, 1 item\n    train.jsonl:2 and test.jsonl:1: '3 + 3?'" in allowed
    assert "13 consecutive words of an item's question: 2 rows, 2 items\n" in allowed


def test_without_held_out_items_there_is_nothing_to_compare(files, capsys):
    words = files()[:3]
    out = shown(capsys, [*words, "eval=none"]).out
    assert out.endswith("held-out items: none (eval=none)\n")
    assert "overlap" not in out
    pytest.importorskip("lm_eval")
    out = shown(capsys, [*words, "eval=harness", "eval.tasks=[arc_easy]"]).out
    assert out.endswith("held-out items: in the harness's tasks, which are not read here (eval=harness)\n")


def test_names_of_special_tokens_in_the_items_are_counted_too(files, capsys):
    words = files(items=[{"question": "Is <|endoftext|> the end?", "answer": "<|endoftext|>"}])
    line = "  1 row holds the text of special tokens, read as text: <|endoftext|> 2\n"
    assert line in shown(capsys, words).out.partition("held-out items:")[2]
    assert values(capsys, words)["held_out"]["special_tokens"] == {"rows": 1, "names": {"<|endoftext|>": 2}}


def test_documents_are_shown_in_pieces(files, capsys):
    files([{"text": "word " * 20}, {"text": "short"}])
    words = ["data", "data=jsonl", "data.source=train.jsonl", "eval=none", "data.max_tokens=48"]
    out = shown(capsys, [*words, "training.batching=packed", "--id", "train-000001"]).out
    assert "3 of 4 pieces, as the model sees them" in out
    assert "2 documents in 4 pieces" in out
    assert "row 0    train-00000" in out
    assert "packed; 3 rows of 1.3 examples" in out


def test_a_conversation_shows_every_message_and_what_is_learnt_of_it(files, capsys, tmp_path):
    talk = [("user", "Hi"), ("assistant", "Hey"), ("user", "1?"), ("assistant", "2")]
    files([{"messages": [{"role": role, "content": text} for role, text in talk]}])
    own = saved_tokenizer(tmp_path / "own", *TURNS, adds_bos=True, eos_token="<|endoftext|>")
    words = ["data", "data=jsonl", "data.source=train.jsonl", "eval=none", "data.template.chat=gemma"]
    words += [f"model.tokenizer={own}", "model.vocab_size=260", "data.learn=assistant_turns"]
    assert (
        """\
  <bos><start_of_turn>user⏎
  .........................
  Hi<end_of_turn>⏎
  ................
  <start_of_turn>model⏎
  .....................
  Hey<end_of_turn>⏎
  ^^^^^^^^^^^^^^^^.
"""
        in shown(capsys, words).out
    )


ERRORS = [
    (["data.source=none.jsonl"], "none.jsonl", "remedy: "),
    (["data.max_tokens=20"], "1 of 5 examples are longer than 20 tokens", "data.too_long=drop"),
    (["data.fields.question=nope"], "nope", "train.jsonl"),
    (["data.sourc=x"], "`data.sourc` is not a key", "did you mean"),
    (["seed=1,2"], "seed", "where: "),
    (["data.max_tokens=-1"], "`data.max_tokens` = -1", "where: config"),
    (["--rows", "0"], "'0' is no count from 1 on", "[--rows N]"),
    (["--row", "1"], "unrecognized arguments: --row", "--rows N"),
]


@pytest.mark.parametrize(("words", "what", "more"), ERRORS, ids=[" ".join(case[0]) for case in ERRORS])
def test_what_a_run_would_refuse_is_refused_in_its_words(files, capsys, words, what, more):
    said = shown(capsys, [*files(), *words], status=2)
    assert what in said.err
    assert more in said.err


def test_the_source_is_shown_before_rows_that_are_too_long_are_refused(files, capsys):
    said = shown(capsys, [*files(), "data.max_tokens=20"], status=2)
    assert said.out.startswith("training rows: train.jsonl\n  JSON lines: 5 of 5 rows read\n")


def test_colours_are_for_terminals(files, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = shown(capsys, files()).out
    assert "\x1b[32mAnswer: 2\x1b[0m\x1b[1;35m<|endoftext|>\x1b[0m" in coloured
    assert "^^^" not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown(capsys, files()).out
    assert "^^^" in plain
    assert not re.search("\x1b\\[[0-9;]*3[0-9]m", plain)


def test_nothing_is_computed_on_a_device(files, tmp_path):
    code = (
        "import sys; from tunix_exp import cli; status = cli.main(sys.argv[1:]);"
        "from jax._src import xla_bridge; print(status, xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *files()], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False"


def test_a_reader_that_goes_away_is_no_error(files, tmp_path):
    rows = [{"prompt": f"{n}? " + "word " * 100, "response": "x"} for n in range(300)]
    words = " ".join([*files(rows), "--rows", "300"])
    line = f"set -o pipefail; {sys.executable} -m tunix_exp {words} | head -n 1"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "training rows: train.jsonl\n", "")
