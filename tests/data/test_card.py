import json
from dataclasses import replace

import numpy as np

from tests.data.toys import TEMPLATE, data_config, example
from tunix_exp.data import sources
from tunix_exp.data.batch import laid_out
from tunix_exp.data.batches import Batches
from tunix_exp.data.card import composition, data_card, example_text, rows_text
from tunix_exp.data.mixture import Weighted
from tunix_exp.data.render import Renderer
from tunix_exp.data.tokenize import tokenize
from tunix_exp.data.tokenizer import load_tokenizer

BYTES = load_tokenizer("bundled:bytes", chat="none")
RENDERER = Renderer(TEMPLATE)


def statistics_of(read):
    """Of tokens and of batches."""
    tokenized = tokenize(read, RENDERER, BYTES, 64, "error")
    batches = Batches(
        [Weighted(tokenized.kept)],
        seed=0,
        batch_size=1,
        max_tokens=64,
        pad_id=256,
        batching="padded",
        bucket_widths=None,
    )
    return tokenized.statistics, batches.statistics()


def test_the_card_holds_sets_hashes_statistics_and_tokenizer_and_is_json(toy):
    config = data_config(toy({"q": "1?", "a": "x"}))
    read = sources.read(config)
    card = data_card(
        config,
        read.facts,
        read,
        *statistics_of(read),
        BYTES,
        row_tokens=64,
        eval_name="held",
        eval_facts=read.facts,
        overlap_count=0,
    )
    assert json.loads(json.dumps(card, allow_nan=False))["train"]["sha256"] == read.facts.sha256
    assert (card["train"]["name"], card["eval"]["name"], card["train"]["rows"]) == ("toy", "held", 1)
    assert card["statistics"]["total_tokens"]["max"] == 13
    assert card["batches"]["batches_of_width"] == {64: 1}
    assert card["batches"]["utilisation"] == 13 / 64
    assert card["tokenizer"]["digest"] == BYTES.digest
    assert (card["tokenizer"]["revision"], card["tokenizer"]["end_id"]) == (None, BYTES.end_id)
    assert card["template"]["prompt"] == "{question}\n"
    assert card["overlap"] == {"training_questions_held_out": 0, "allowed": False}


def test_the_card_of_a_run_without_evaluation_names_no_items(toy):
    config = data_config(toy({"q": "1?", "a": "x"}))
    read = sources.read(config)
    card = data_card(
        config,
        read.facts,
        read,
        *statistics_of(read),
        BYTES,
        row_tokens=64,
        eval_name=None,
        eval_facts=None,
        overlap_count=None,
    )
    assert card["eval"] is None


def test_the_card_counts_the_labels():
    made = [example("a", "s", answer="1"), example("b", "s", answer="2")]
    assert composition(made) == {"section": {}, "category": {}, "difficulty": {}}
    labelled = [replace(made[0], category="x"), replace(made[1], category="x", difficulty="easy")]
    assert composition(labelled) == {"section": {}, "category": {"x": 2}, "difficulty": {"easy": 1}}


def test_the_example_shows_its_parts_its_mask_and_every_token():
    kept = tokenize([example("Né?", "s", answer="A")], RENDERER, BYTES, 64, "error").kept[0]
    shown = example_text(kept, BYTES, "response")
    assert "question\n  Né?\nreasoning\n  s\nanswer\n  A\n" in shown
    assert "tokens    17: prompt 5, response 12\nlearnt    12 (data.learn=response)\n" in shown
    assert "  Né?⏎\n  ....\n  s⏎\n  ^^\n  Answer: A<|endoftext|>\n  ^^^^^^^^^^^^^^^^^^^^^^\n" in shown
    table = shown.split("place  id")[1].splitlines()[1:]
    assert len(table) == 17
    assert table[0].split() == ["0", "78", ".", "'N'"]
    assert table[5].split() == ["5", "115", "^", "'s'"]
    assert table[-1].split() == ["16", "256", "^", "'<|endoftext|>'", "(end)"]


def test_the_rows_of_a_batch_are_told_by_their_examples():
    made = [example("Q?", name=name) for name in ("one", "two")]
    first, second = tokenize(made, RENDERER, BYTES, 64, "error").kept
    assert rows_text(laid_out([(first, second), (second,)], ("one", "two", "two"), width=26, pad_id=256)) == (
        "the first batch of the training: 2 rows of 26 tokens\n"
        "row 0    one 13 | two 13\n"
        "row 1    two 13 | padding 13\n"
    )
    assert "one 13 | two 13 | padding 2\n" in rows_text(
        laid_out([(first, second)], ("one", "two"), width=28, pad_id=256)
    )


def test_an_example_without_reasoning_says_so():
    kept = tokenize([example("Q?")], RENDERER, BYTES, 64, "error").kept[0]
    assert "reasoning\n  (none)\n" in example_text(kept, BYTES, "response")


def test_long_text_is_broken_into_lines_and_nothing_of_it_is_lost():
    kept = tokenize([example("word " * 60)], RENDERER, BYTES, 999, "error").kept[0]
    shown = example_text(kept, BYTES, "response").split("learned\n")[1].split("\n\nplace")[0].split("\n")
    assert max(map(len, shown)) <= 100
    assert "".join(line[2:] for line in shown[::2]) == "word " * 60 + "⏎Answer: A<|endoftext|>"
    assert all(len(text) == len(marks) for text, marks in zip(shown[::2], shown[1::2], strict=True))


def test_the_marks_are_the_mask_s_wherever_it_stands():
    kept = tokenize([example("Q?", answer="A")], RENDERER, BYTES, 64, "error").kept[0]
    learnt_T = np.zeros(len(kept.tokens_T), dtype=bool)
    learnt_T[[1, 4]] = True
    shown = example_text(replace(kept, learnt_T=learnt_T), BYTES, "response")
    assert "  Q?⏎\n  .^.\n  Answer: A<|endoftext|>\n  .^....................\n" in shown
    assert [line.split()[2] for line in shown.split("place  id")[1].splitlines()[1:]] == [*".^..^", *"." * 8]
