"""Shown traces: every verdict is due, and no held-out question is trained on in any wording."""

import itertools
import re
from collections import Counter

import pytest

from tests.data.generators.test_sets import ROWS
from tunix_exp.data.generators.questions import shown
from tunix_exp.data.generators.slips import KINDS, verdict

PAIRS = (("nano-slips", "nano-slips-eval"), ("dev-slips", "dev-slips-eval"))
SETS = [name for pair in PAIRS for name in pair]


def question(row) -> str:
    return row["question"] if "question" in row else row["prompt"]


def asked(row) -> tuple[str, ...]:
    """What is asked, in no wording: the kind of the question, its unit and its numbers, in no order."""
    text = question(row).split("\n")[0]
    words = re.sub(r"\d+|\b(?:car|train|bus|truck)\b|[^\w+*/%-]", " ", text).split()
    kind = " ".join(sorted(set(words) - {"and", "after", "+"})) if text[0].isdigit() else " ".join(words)
    return (kind, *sorted(re.findall(r"\d+", text)))


@pytest.mark.parametrize("name", SETS)
def test_every_verdict_is_what_the_question_and_its_trace_give(name):
    for row in ROWS[name]:
        found = shown(question(row))
        assert found is not None
        said = row["slip"] if "slip" in row else row["category"]
        assert (said, row["steps"]) == (
            "clean" if found.slip is None else found.slip.kind,
            [verdict(found.slip)],
        )
        assert found.answer == (row["answer"] if "answer" in row else row["expected_answer"])


@pytest.mark.parametrize(("train", "held_out"), PAIRS)
def test_no_held_out_question_is_trained_on_in_any_wording(train, held_out):
    trained = {asked(row) for row in ROWS[train]}
    items = {asked(row) for row in ROWS[held_out]}
    assert len(items) == len(ROWS[held_out])
    assert len(trained) * 2 == len(ROWS[train])
    assert not trained & items


@pytest.mark.parametrize(("name", "count"), [("nano-slips", 4_000), ("dev-slips", 600)])
def test_every_training_question_comes_right_and_faulty_and_every_kind_in_both_halves(name, count):
    rows = ROWS[name]
    assert len(rows) == 2 * count
    counts = Counter((row["slip"], row["half"]) for row in rows)
    assert counts == {
        **{("clean", half): count // 2 for half in "ab"},
        **dict.fromkeys(itertools.product(KINDS, "ab"), count // 8),
    }
    for clean, faulty in zip(rows[::2], rows[1::2], strict=True):
        assert question(clean).split("\n")[0] == question(faulty).split("\n")[0]
        assert (clean["slip"], clean["half"]) == ("clean", faulty["half"])
        assert faulty["slip"] in KINDS


@pytest.mark.parametrize(
    ("name", "clean", "of_each"), [("nano-slips-eval", 100, 50), ("dev-slips-eval", 80, 30)]
)
def test_the_items_are_of_every_kind(name, clean, of_each):
    counts = Counter(row["category"] for row in ROWS[name])
    assert counts == {"clean": clean, **dict.fromkeys(KINDS, of_each)}
