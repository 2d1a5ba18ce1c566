"""Any two options go together, or it is written here why no default could help."""

import itertools

import pytest

from tests.composing import GROUPS, composed, options
from tunix_exp.config import validate
from tunix_exp.errors import UserError

OPTIONS = [f"{group}={option}" for group in (*GROUPS, "experiment", "template") for option in options(group)]
PAIRS = [
    (one, other)
    for one, other in itertools.combinations(OPTIONS, 2)
    if one.split("=")[0] != other.split("=")[0]
]

# What is refused, and why no default could avoid it.
REFUSED = {
    (
        "adapter=lora",
        "mode=eval",
    ): "mode=eval trains nothing, and a default knows no trained adapter",
    ("eval=none", "mode=eval"): "mode=eval is to score a model, and eval=none says that none be scored",
}


def refusal(pair):
    try:
        validate(composed(*pair))
    except UserError as error:
        return str(error)
    return None


def test_all_pairs_of_all_options_are_there():
    assert len(PAIRS) >= 989
    assert set(REFUSED) <= set(PAIRS)


@pytest.mark.slow
@pytest.mark.parametrize("first", sorted({one for one, _ in PAIRS}))
def test_two_options_go_together_or_are_refused_for_a_reason(first):
    pairs = [pair for pair in PAIRS if pair[0] == first]
    refused = {pair: text for pair in pairs if (text := refusal(pair)) is not None}
    assert refused.keys() == {pair for pair in REFUSED if pair[0] == first}, refused


@pytest.mark.parametrize("pair", REFUSED, ids=" ".join)
def test_a_pair_that_is_refused_is_told_with_keys_values_and_remedy(pair):
    text = refusal(pair)
    assert "`mode.name=eval` and" in text or "`mode.name=eval`, " in text
    assert "cannot be combined: mode=eval" in text
