"""Outputs labelled by hand: what is extracted, by which rule, and whether it is right."""

import json
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from tunix_exp.scoring.extract import EXTRACTOR_VERSION, extract
from tunix_exp.scoring.marks import Rule
from tunix_exp.scoring.match import matches
from tunix_exp.scoring.scorecard import score

LABELLED = [
    json.loads(line)
    for line in (Path(__file__).parent / "labelled_outputs.jsonl").read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize("row", LABELLED, ids=lambda row: f"{row['output']!r:.60} for {row['expected']}")
def test_extraction_and_verdict_are_as_labelled(row):
    found = extract(row["output"])
    verdict = matches(found.answer, row["expected"])
    assert (found.answer, found.rule, verdict) == (row["extracted"], row["rule"], row["correct"])


def test_the_labelled_set_is_large_and_covers_every_rule_both_ways():
    verdicts = Counter((row["rule"], row["correct"]) for row in LABELLED)
    assert len(LABELLED) >= 340
    assert {rule for rule, _ in verdicts} == set(get_args(Rule))
    assert sum(count for (_, correct), count in verdicts.items() if not correct) >= 50


def test_a_row_is_labelled_once():
    assert len({(row["output"], row["expected"]) for row in LABELLED}) == len(LABELLED)


def test_the_labels_are_of_this_extractor_version():
    assert EXTRACTOR_VERSION == "v2"


def test_score_is_extraction_and_match_together():
    assert score("Answer: 42", "42") == ("42", True)
    assert score("", "42") == (None, False)
