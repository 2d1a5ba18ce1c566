"""Rows are held out by their question alone, whatever stands beside them."""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.toys import TEMPLATE, data_config
from tunix_exp.data import cache, sources
from tunix_exp.data import split as splitting
from tunix_exp.data.example import normalised
from tunix_exp.data.render import Renderer
from tunix_exp.data.sources import ExampleSet
from tunix_exp.data.split import split
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer
from tunix_exp.errors import UserError

ROWS = [{"q": f"What is {number} + 1?", "a": str(number + 1)} for number in range(200)]


def parted(path: Path, share: float = 0.25, most: int | None = None, **fields) -> ExampleSet:
    return split(sources.read(data_config(path, **fields)), share, most)


def items(rows: ExampleSet) -> ExampleSet:
    assert rows.held_out is not None
    return rows.held_out


def questions(examples: Iterable) -> list[str]:
    return [normalised(one.question) for one in examples]


def test_the_hash_of_its_question_says_on_which_side_a_row_is(toy):
    rows = parted(toy(*ROWS), 0.25)
    due = [
        row["q"].lower()
        for row in ROWS
        if int(hashlib.sha256(row["q"].lower().encode()).hexdigest()[:16], 16) / 2**64 < 0.25
    ]
    assert questions(items(rows)) == due
    assert questions(rows) == [row["q"].lower() for row in ROWS if row["q"].lower() not in due]
    assert 30 < len(due) < 70


def test_a_row_of_known_hash_is_on_its_side_of_the_bound(toy):
    # the hash of "what is it?" begins with a192afb8 cc0ee06d, which is 0.6311445 of 2⁶⁴
    path = toy({"q": "What  is\tIT?", "a": "1"}, *ROWS)
    assert "what is it?" in questions(items(parted(path, 0.63115)))
    assert "what is it?" in questions(parted(path, 0.63114))


def test_one_question_is_on_one_side_however_it_is_written_and_whatever_its_answer(toy):
    again = [{"q": row["q"].upper().replace(" ", "  "), "a": f"not {row['a']}"} for row in ROWS]
    rows = parted(toy(*ROWS, *again))
    assert not set(questions(rows)) & set(questions(items(rows)))
    assert sorted(questions(rows)) == sorted([*questions(parted(toy(*ROWS)))] * 2)


def test_a_question_that_is_held_out_twice_is_one_item_and_counted(toy):
    first = items(parted(toy(*ROWS)))
    again = [{"q": normalised(row["q"]), "a": "other"} for row in ROWS[:100]]
    rows = parted(toy(*ROWS, *again))
    assert [(one.question, one.answer) for one in items(rows)] == [(o.question, o.answer) for o in first]
    repeated = sum(int(one.id[-6:]) <= 100 for one in first)
    facts = items(rows).facts
    assert facts.counts == {"questions_of_earlier_items": repeated}
    assert (facts.rows, facts.rows_read) == (len(first) + repeated, len(first))
    assert rows.facts.counts["held_out"] == len(first) + repeated == 300 - len(rows)


def test_neither_order_nor_other_rows_change_the_side_of_a_row(toy):
    before = set(questions(items(parted(toy(*ROWS)))))
    more = [{"q": f"And {number}?", "a": "x"} for number in range(50)]
    after = set(questions(items(parted(toy(*more, *reversed(ROWS))))))
    assert {question for question in after if question.startswith("what")} == before


def test_a_larger_share_holds_out_the_same_rows_and_more(toy):
    path = toy(*ROWS)
    sides = [set(questions(items(parted(path, share)))) for share in (0.1, 0.2, 0.5, 0.9)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(sides))


def test_a_limit_of_items_gives_no_row_back_to_the_training(toy):
    path = toy(*ROWS)
    every, some = parted(path), parted(path, most=3)
    assert list(some) == list(every)
    assert list(items(some)) == list(items(every))[:3]
    assert (items(some).facts.rows, items(some).facts.rows_read) == (len(items(every)), 3)


def test_the_facts_say_where_the_items_come_from(toy):
    rows = parted(toy(*ROWS))
    told, facts = rows.facts, items(rows).facts
    assert (facts.source, facts.sha256, facts.kind) == ("data", told.sha256, "JSON lines")
    assert (facts.fields, facts.guessed) == (told.fields, {})
    assert (told.rows, told.rows_read, told.counts) == (200, 200, {"held_out": facts.rows})


def test_a_commit_of_the_hub_is_that_of_the_training_rows_alone(toy):
    read = sources.read(data_config(toy(*ROWS)))
    rows = split(replace(read, facts=replace(read.facts, revision="c" * 40)), 0.25, None)
    assert (rows.facts.revision, items(rows).facts.revision) == ("c" * 40, None)


def test_a_conversation_goes_by_the_message_before_its_last_answer(toy):
    talks = [
        {"m": [*before, {"role": "user", "content": row["q"]}, {"role": "assistant", "content": "a"}]}
        for row in ROWS
        for before in ([], [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    ]
    rows = parted(toy(*talks), question=None, answer=None, messages="m")
    assert questions(items(rows)) == questions(items(parted(toy(*ROWS))))
    assert items(rows).facts.counts == {"questions_of_earlier_items": len(items(rows))}


def test_documents_are_refused(toy):
    with pytest.raises(UserError, match="documents have no question") as caught:
        parted(toy({"t": "One."}, {"t": "Two."}), question=None, answer=None, text="t")
    assert caught.value.remedy.startswith("name a file of held-out items")


@pytest.mark.parametrize(
    ("rows", "share", "says", "remedy"),
    [
        (ROWS[:5], 1e-9, "eval.share=1e-09 holds out 0 of 5 rows: nothing could be scored", "raise it"),
        (ROWS[:5], 1 - 1e-9, "holds out 5 of 5 rows: none is left to train on", "lower it"),
    ],
)
def test_a_split_with_an_empty_side_is_refused_with_its_counts(toy, rows, share, says, remedy):
    with pytest.raises(UserError, match=says) as caught:
        parted(toy(*rows), share)
    assert caught.value.remedy.startswith(remedy)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Every file is large enough for the cache."""
    monkeypatch.setenv("TUNIX_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_LEAST_BYTES", 0)


@pytest.mark.parametrize("batch", [7, 8192])
def test_both_parts_are_found_again_in_the_cache(toy, kept, monkeypatch, batch):
    monkeypatch.setattr("tunix_exp.data.table._BATCH", batch)
    path = toy(*ROWS, *ROWS[:20])
    first = parted(path)
    with monkeypatch.context() as patch:
        patch.setattr(splitting, "_parts", None)  # nothing is hashed again
        second = parted(path)
        limited = parted(path, most=2)
    monkeypatch.setenv("TUNIX_EXP_CACHE", "")
    for other in (second, parted(path)):
        assert list(other) == list(first)
        assert other.facts == first.facts
        assert list(items(other)) == list(items(first))
        assert items(other).facts == items(first).facts
    assert list(items(limited)) == list(items(first))[:2]


def test_another_share_has_other_parts_and_tokens_in_the_cache(toy, kept):
    path, sizes = toy(*ROWS), []
    tokenizer = load_tokenizer("bundled:bytes", chat="none")
    for share in (None, 0.25, 0.5, 0.25):
        rows = sources.read(data_config(path)) if share is None else parted(path, share)
        kept_rows = tokenize(rows, Renderer(TEMPLATE), tokenizer, 64, "error").kept
        assert [row.example for row in kept_rows] == list(rows)
        assert all(
            tokenizer.decode(row.tokens_T.tolist()).startswith(row.example.question) for row in kept_rows
        )
        sizes.append(len(rows))
    assert sizes[0] == 200 > sizes[1] == sizes[3] > sizes[2]
