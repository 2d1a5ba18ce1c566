import hashlib
import json
import re
import runpy
from collections import Counter
from importlib import resources
from operator import add, mul, sub, truediv
from pathlib import Path

import pytest
import yaml

from tunix_exp.data import sources
from tunix_exp.data.config import DataConfig
from tunix_exp.data.files import bundled_names
from tunix_exp.data.generators.sets import SETS, files
from tunix_exp.data.generators.traces import in_decimals
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import normalised
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer

BUNDLED = Path(str(resources.files("tunix_exp.data") / "bundled"))
CONF = Path(__file__).parents[3] / "conf"
MADE = files()
ROWS = {name: [json.loads(line) for line in MADE[f"{name}.jsonl"].decode().splitlines()] for name in SETS}
TRACES = ("golden-v1", "golden-v2", "dev-reasoning-v1", "dev-reasoning-v2")
HELD_OUT = ("nano-eval", "eval-v1", "eval-v2")
TRAINING = ("nano-reasoning", "nano-checks", "dev-checks", *TRACES)


def prompt(row) -> str:
    return row["question"] if "question" in row else row["prompt"]


@pytest.mark.parametrize("name", sorted(MADE))
def test_the_shipped_file_is_what_its_generator_makes(name):
    assert (BUNDLED / name).read_bytes() == MADE[name]


def test_every_shipped_file_has_a_generator():
    assert {file.name for file in BUNDLED.iterdir()} == set(MADE)
    assert set(bundled_names()) == set(SETS)


def test_the_list_of_hashes_is_of_the_shipped_bytes():
    lines = (BUNDLED / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert listed == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in BUNDLED.glob("*.jsonl")
    }


def test_the_command_writes_the_files(tmp_path, monkeypatch):
    import tunix_exp.data.generators.__main__ as command

    fake = tmp_path / "data" / "generators" / "__main__.py"
    fake.parent.mkdir(parents=True)
    fake.write_text(Path(command.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    runpy.run_path(str(fake), run_name="__main__")
    assert {file.name for file in (tmp_path / "data" / "bundled").iterdir()} == set(MADE)


@pytest.mark.parametrize("name", SETS)
def test_the_bytes_are_lines_of_utf_8(name):
    content = MADE[f"{name}.jsonl"]
    assert b"\r" not in content
    assert content.endswith(b"}\n")
    assert content.count(b"\n") == len(content.decode("utf-8").split("\n")) - 1


@pytest.mark.parametrize("name", SETS)
def test_no_question_stands_twice(name):
    counted = Counter(normalised(prompt(row)) for row in ROWS[name])
    assert max(counted.values()) == 1


@pytest.mark.parametrize("train", TRAINING)
@pytest.mark.parametrize("held_out", HELD_OUT)
def test_no_training_question_is_held_out(train, held_out):
    asked = {normalised(prompt(row)) for row in ROWS[train]}
    assert not asked & {normalised(prompt(row)) for row in ROWS[held_out]}


@pytest.mark.parametrize("name", TRACES)
def test_every_row_of_the_old_sets_is_a_canonical_trace(name):
    for row in ROWS[name]:
        assert list(row) == ["trace_version", "prompt", "final_answer", "steps", "meta"]
        assert row["trace_version"] == "1.0"
        assert 1 <= len(row["prompt"]) <= 50_000
        assert row["final_answer"].strip()
        assert row["steps"]
        assert [step["i"] for step in row["steps"]] == list(range(len(row["steps"])))
        assert all(
            list(step) == ["i", "type", "content"] and step["content"].strip() for step in row["steps"]
        )


# Compositions.


def test_nano_sets_have_their_sizes_tasks_and_sections():
    assert len(ROWS["nano-reasoning"]) == 6_000
    tasks = Counter(row["category"] for row in ROWS["nano-reasoning"])
    assert set(tasks) == {"addition", "repetition", "reversal"}
    assert min(tasks.values()) > 1_000
    assert Counter(row["section"] for row in ROWS["nano-eval"]) == {
        "core": 180,
        "trace_sensitive": 80,
        "edge_case": 40,
    }
    assert {row["difficulty"] for row in ROWS["nano-eval"]} == {"easy", "medium", "hard"}
    assert {row["category"] for row in ROWS["nano-eval"]} == set(tasks)


def test_golden_sets_have_their_cases():
    assert [row["meta"] for row in ROWS["golden-v1"]] == [
        {"golden": "v1", "case": case}
        for case in ("basic_math", "knowledge", "normalization", "format", "boolean")
    ]
    assert [row["meta"] for row in ROWS["golden-v2"]] == [
        {"golden": "v2", "case": "math_gen" if index < 50 else "text_gen", "idx": index}
        for index in range(100)
    ]
    assert {len(row["steps"]) for row in ROWS["golden-v2"]} == {1}


def test_dev_reasoning_v1_has_its_composition():
    kinds = Counter(
        (row["meta"]["category"], row["meta"].get("template_id"), row["meta"].get("task_type"))
        for row in ROWS["dev-reasoning-v1"]
    )
    assert kinds == {
        ("reasoning", 0, None): 47,
        ("reasoning", 1, None): 47,
        ("reasoning", 2, None): 46,
        ("synthetic", None, "arithmetic"): 23,
        ("synthetic", None, "logic"): 20,
        ("synthetic", None, "string_reverse"): 17,
    }


def test_dev_reasoning_v2_has_its_composition():
    rows = ROWS["dev-reasoning-v2"]
    assert Counter(row["meta"]["category"] for row in rows) == {
        "reasoning": 385,
        "synthetic": 110,
        "golden_style": 35,
        "edge_case": 20,
    }
    templates = Counter(row["meta"]["template_id"] for row in rows if "template_id" in row["meta"])
    assert templates == {0: 65, 1: 64, 2: 64, 3: 64, 4: 64, 5: 64}
    assert Counter(row["meta"]["task_type"] for row in rows if "task_type" in row["meta"]) == {
        "arithmetic": 28,
        "string_reverse": 28,
        "string_sort": 27,
        "logic": 27,
        "text_repeat": 12,
        "word_count": 12,
        "uppercase": 11,
    }
    cases = Counter(row["meta"]["case_type"] for row in rows if "case_type" in row["meta"])
    assert len(cases) == 10
    assert set(cases.values()) == {2}
    assert Counter(len(row["steps"]) for row in rows) == {1: 6, 2: 157, 3: 64, 4: 321, 6: 2}
    assert [row["meta"]["index"] for row in rows] == list(range(550))


def test_eval_v1_has_its_composition():
    rows = ROWS["eval-v1"]
    assert [row["id"] for row in rows] == [f"eval-{number:03d}" for number in range(1, 26)]
    assert all(list(row) == ["id", "prompt", "expected_answer", "category", "difficulty"] for row in rows)
    assert Counter(row["difficulty"] for row in rows) == {"easy": 12, "medium": 13}
    assert Counter(row["category"] for row in rows) == {
        "arithmetic": 8,
        "knowledge": 4,
        "word_problem": 4,
        "geometry": 4,
        "conversion": 2,
        "pattern": 1,
        "number_theory": 1,
        "probability": 1,
    }
    assert len({row["prompt"] for row in rows} & {row["prompt"] for row in ROWS["eval-v2"]}) == 15


def test_eval_v2_has_its_composition():
    rows = ROWS["eval-v2"]
    assert [row["id"] for row in rows] == [f"eval-v2-{number:03d}" for number in range(1, 101)]
    assert Counter((row["section"], row["difficulty"]) for row in rows) == {
        ("core", "easy"): 34,
        ("core", "medium"): 25,
        ("core", "hard"): 1,
        ("trace_sensitive", "easy"): 3,
        ("trace_sensitive", "medium"): 12,
        ("trace_sensitive", "hard"): 10,
        ("edge_case", "easy"): 15,
    }
    assert Counter(row["category"] for row in rows) == {
        "arithmetic": 35,
        "word_problem": 16,
        "geometry": 15,
        "formatting": 12,
        "knowledge": 6,
        "conversion": 6,
        "number_theory": 5,
        "pattern": 2,
        "statistics": 1,
        "probability": 1,
        "algebra": 1,
    }
    words = [
        row["expected_answer"] for row in rows if not re.fullmatch(r"-?\d+(\.\d+)?", row["expected_answer"])
    ]
    assert sorted(words) == ["1/216", "Friday", "Paris", "Paris", "true"]


# Answers, recomputed from the text of the question alone.

_OPERATIONS = {"+": add, "-": sub, "*": mul, "/": truediv}


def _computed(question: str) -> float | str | None:
    """The answer as a reader would work it out; None where the question is of no known form."""
    if found := re.fullmatch(r"(?:What is|Compute)?([-\d+*/ ().]+)[?.]?", question):
        return _left_to_right(found[1].replace(" ", ""))
    if found := re.fullmatch(r"What is (\d+)% of (\d+)\?", question):
        return int(found[1]) * int(found[2]) / 100
    if found := re.fullmatch(r"Add (\d+) and (\d+)", question):
        return int(found[1]) + int(found[2])
    if found := re.fullmatch(r"A \w+ drives at (\d+) km/h for (\d+) hours\..*", question):
        return int(found[1]) * int(found[2])
    if found := re.fullmatch(r"(\d+) items cost \$(\d+) in total\..*", question):
        return int(found[2]) / int(found[1])
    if found := re.fullmatch(r"Reverse (?:the string ')?(\w+)(?:'\.)?", question):
        return "".join(reversed(found[1]))
    if found := re.fullmatch(r"(?:Say|Repeat the word|Write the word) '?(\w+)'? (\d) times.*", question):
        return " ".join(found[1] for _ in range(int(found[2])))
    if found := re.fullmatch(r"Sort the letters '(\w+)' in alphabetical order\.", question):
        return "".join(sorted(found[1]))
    if found := re.fullmatch(r"How many words are in '([\w ]+)'\?", question):
        return len(found[1].split())
    if found := re.fullmatch(r"Write '([\w ]+)' in upper case\.", question):
        return found[1].upper()
    if found := re.fullmatch(r"(All|No) (.+?)\. .* Answer Yes or No\.", question):
        return {"All": "Yes", "No": "No"}[found[1]]
    if question.endswith("How many loaves did the baker sell in all?"):
        return sum(int(count) for count in re.findall(r"sold (\d+) loaves", question))
    return None


def _left_to_right(text: str) -> float:
    """Points before strokes, brackets first: a small reader of its own."""
    while inner := re.search(r"\(([^()]+)\)", text):
        text = text.replace(inner[0], f"{_left_to_right(inner[1]):g}")
    for signs in (r"[*/]", r"[+-]"):
        pattern = rf"(?<![\d.])(-?[\d.]+)({signs})([\d.]+)"
        while found := re.search(pattern, text):
            value = _OPERATIONS[found[2]](float(found[1]), float(found[3]))
            text = text.replace(found[0], f"{value:.10g}", 1)
    return float(text)


def _agree(computed: float | str, written: str) -> bool:
    if isinstance(computed, str):
        return computed == written
    return float(written) == pytest.approx(computed)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("nano-reasoning", 6_000),
        ("nano-eval", 300),
        ("golden-v2", 100),
        ("dev-reasoning-v1", 200),
        ("dev-reasoning-v2", 534),
        ("eval-v2", 30),
        ("eval-v1", 8),
    ],
)
def test_every_answer_that_can_be_recomputed_is_right(name, known):
    count = 0
    for row in ROWS[name]:
        answer = next(row[field] for field in ("answer", "final_answer", "expected_answer") if field in row)
        computed = _computed(prompt(row))
        if computed is not None:
            count += 1
            assert _agree(computed, answer), row
    assert count >= known


@pytest.mark.parametrize("name", ["nano-reasoning", "nano-eval", *TRACES])
def test_every_equation_in_the_steps_holds(name):
    equation = re.compile(
        r"(?<![\d.+*/-])(?<![+*/-] )(-?\d+(?:\.\d+)?(?: ?[-+*/] ?\d+(?:\.\d+)?)+) ?= ?(-?\d+(?:\.\d+)?)"
    )
    count = 0
    for row in ROWS[name]:
        for step in row["steps"]:
            content = step if isinstance(step, str) else step["content"]
            for left, right in equation.findall(content):
                count += 1
                assert _left_to_right(left.replace(" ", "")) == pytest.approx(float(right)), row
    assert count > (0 if name == "golden-v1" else 40)


def test_the_last_column_and_the_answer_of_a_nano_sum_agree():
    for row in ROWS["nano-reasoning"]:
        if row["category"] == "addition":
            totals = [step.split("=")[1] for step in row["steps"]]
            assert totals[-1] + "".join(total[-1] for total in reversed(totals[:-1])) == row["answer"]


def test_logic_rows_are_distinct_and_their_articles_right():
    logic = [row for row in ROWS["dev-reasoning-v2"] if row["meta"].get("task_type") == "logic"]
    assert len({row["prompt"] for row in logic}) == 27
    assert {row["final_answer"] for row in logic} == {"Yes", "No"}
    for row in logic:
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", row["prompt"]), row


def test_template_ids_name_their_templates():
    starts = {
        0: "A ",
        1: "What is",
        2: r"\d+ items",
        3: r"What is \d+ \+",
        4: r"What is \d+ -",
        5: r"What is \d+ \*",
    }
    for name in ("dev-reasoning-v1", "dev-reasoning-v2"):
        for row in ROWS[name]:
            if "template_id" in row["meta"]:
                number = row["meta"]["template_id"]
                assert re.match(starts[number], row["prompt"]), row
                assert ("%" in row["prompt"]) == (number == 1)


def test_hundredths_are_written_as_by_hand():
    assert [in_decimals(number) for number in (3150, 1200, 5, 240)] == ["31.5", "12", "0.05", "2.4"]


# The option files hold every example of their set.


@pytest.mark.parametrize("name", ["nano-reasoning", *TRACES])
def test_the_option_reads_its_whole_set_and_nano_fits_in_bytes(name):
    config = DataConfig(**yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8")))
    read = sources.read(config)
    assert len(read) == len(ROWS[name])
    assert all(row.category is not None and row.steps for row in read)
    if name == "nano-reasoning":
        tokenized = tokenize(
            read,
            Renderer(config.template),
            load_tokenizer("bundled:bytes", chat="none"),
            config.max_tokens,
            "error",
        )
        assert tokenized.statistics.total_tokens.max == config.max_tokens == 48
