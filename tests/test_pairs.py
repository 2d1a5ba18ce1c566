"""Any two options go together, or it is written here why no default could help."""

import itertools
import json
import re

import pytest
import yaml

from tests.composing import GROUPS, composed, options, with_sets
from tunix_exp.cli import conf_folder
from tunix_exp.config import validate
from tunix_exp.errors import UserError


def kinds_of_models() -> dict[str, list[str]]:
    """The options by what they pick beside the model itself: defaults, a chat template."""
    found: dict[str, list[str]] = {}
    for name in options("model"):
        document = yaml.safe_load((conf_folder() / "model" / f"{name}.yaml").read_text())
        picked = json.dumps({key: part for key, part in document.items() if key != "model"})
        found.setdefault(picked, []).append(name)
    return found


# With these groups every model is tried, with the others one of each kind.
OF_MODELS = ("adapter", "eval", "mode")
KINDS = [names[0] for names in kinds_of_models().values()]


def is_tried(one: str, other: str) -> bool:
    """Whether the pair is of two groups, and what it would show is not shown by another."""
    groups = {word.split("=")[0]: word.split("=")[1] for word in (one, other)}
    if len(groups) == 1:
        return False
    return "model" not in groups or groups["model"] in KINDS or not groups.keys().isdisjoint(OF_MODELS)


OPTIONS = [f"{group}={option}" for group in (*GROUPS, "experiment", "template") for option in options(group)]
PAIRS = [pair for pair in itertools.combinations(OPTIONS, 2) if is_tried(*pair)]

# What is refused, and why no default could avoid it.
REFUSED = {
    (
        "adapter=lora",
        "mode=eval",
    ): "mode=eval trains nothing, and a default knows no trained adapter",
    ("data=mix", "eval=split"): "rows are held out of one set, and a mixture has several",
    ("eval=split", "experiment=nano-mix"): "the same",
    ("eval=none", "mode=eval"): "mode=eval is to score a model, and eval=none says that none be scored",
}


def refusal(pair):
    try:
        validate(composed(*with_sets(*pair)))
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
    assert re.search(r"`(mode\.name=eval|data\.mix=\{…\})`(,| and) `", text)
    assert re.search("cannot be combined: (mode=eval|rows are held out)", text)
