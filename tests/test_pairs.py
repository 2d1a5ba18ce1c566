"""Any two options go together, or it is written here why no default could help."""

import functools
import itertools
import json
import re

import pytest
import yaml

from tests.composing import GROUPS, composed, options, with_sets, with_their_own_sets
from tests.test_experiments import CONTROLS
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
# The first of each kind: what is composed with it differs from the others in keys of the model alone.
FIRST = {f"model={name}": f"model={names[0]}" for names in kinds_of_models().values() for name in names}


def is_tried(one: str, other: str) -> bool:
    """Whether the pair is of two groups, and what it would show is not shown by another."""
    groups = {word.split("=")[0]: word.split("=")[1] for word in (one, other)}
    if len(groups) == 1:
        return False
    return "model" not in groups or groups["model"] in KINDS or not groups.keys().isdisjoint(OF_MODELS)


# The controls of a study differ from it in their rows alone; m24 has its adapter from an option.
LIKE_ANOTHER = {f"experiment={name}" for name in (*CONTROLS, "m24-distilgpt2-lora")}
OPTIONS = [
    word
    for group in (*GROUPS, "experiment", "template")
    for option in options(group)
    if (word := f"{group}={option}") not in LIKE_ANOTHER
]
PAIRS = [pair for pair in itertools.combinations(OPTIONS, 2) if is_tried(*pair)]

NEW_ADAPTERS = ("m45-curriculum", "m46-self-correction", "m47-error-awareness", "m48-failures")
# What is refused, and why no default could avoid it.
REFUSED = {
    (
        "adapter=lora",
        "mode=eval",
    ): "mode=eval trains nothing, and a default knows no trained adapter",
    ("data=mix", "eval=split"): "rows are held out of one set, and a mixture has several",
    **{("eval=split", word): "the same" for word in with_their_own_sets() if word in OPTIONS},
    ("data=mix", "experiment=m48-failures"): "the same",
    **{("mode=eval", f"experiment={name}"): "its adapter is yet to be trained" for name in NEW_ADAPTERS},
    ("eval=none", "mode=eval"): "mode=eval is to score a model, and eval=none says that none be scored",
}


@functools.cache
def said(word):
    """The sections of which the option's file says something, itself or by another that it picks."""
    group, name = word.split("=")
    text = (conf_folder() / group / f"{name}.yaml").read_text()
    package = re.search("^# @package (.*)$", text, re.MULTILINE)
    if package is None:
        sizes = conf_folder() / "sizes" / f"{name}.yaml"
        return {group, *yaml.safe_load(sizes.read_text())} if group == "mode" else {group}
    if package[1] != "_global_":
        return {package[1].split(".")[0]}
    document = yaml.safe_load(text)
    picked = [item for default in document.pop("defaults", ()) for item in default.items()]
    picked = [f"{key.removeprefix('override').strip(' /')}={option}" for key, option in picked]
    return set(document).union(*map(said, picked))


@functools.cache
def decided(word):
    """The sections that are as they are by the option: those it says something of, and those it changes."""
    alone, default = composed(*with_sets(word)), composed()
    return said(word) | {section for section in alone if alone[section] != default[section]}


def apart(pair):
    """Whether neither decides anything of what the other decides, but for the run's name."""
    return decided(pair[0]) & decided(pair[1]) <= {"name"}


def config_of(pair):
    """The pair's config; what is apart is put together, and with the models of one kind one is composed."""
    first = tuple(FIRST.get(word, word) for word in pair)
    if apart(first):
        parts = [(decided(word), composed(*with_sets(word))) for word in first]
        config = composed() | {key: of_one[key] for sections, of_one in parts for key in sections}
    else:
        config = composed(*with_sets(*first))
    for word, other in zip(pair, first, strict=True):
        if word != other:
            assert config["model"] == composed(other)["model"], f"{first}: one changes keys of the other"
            config |= {"model": composed(word)["model"]}
    return config


def refusal(pair):
    try:
        validate(config_of(pair))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("option", ["adapter=lora", "eval=split", "mode=preflight"])
@pytest.mark.parametrize("model", ["hf", "tiny-gemma", "qwen3-0.6b"])
def test_what_is_put_together_is_what_would_be_composed(option, model):
    pair = (option, f"model={model}")
    assert FIRST[pair[1]] != pair[1]
    there = config_of(pair)
    assert there.pop("name") != (due := composed(*pair)).pop("name")
    assert there == due


def test_two_that_are_apart_are_put_together_as_they_would_be_composed():
    # one pair of every two groups
    pairs = {tuple(word.split("=")[0] for word in pair): pair for pair in PAIRS if apart(pair)}
    assert len(pairs) >= 38
    for pair in pairs.values():
        there, due = config_of(pair), composed(*with_sets(*pair))
        assert {**there, "name": due["name"]} == due, pair


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
    keys = r"mode\.name=eval|data\.mix=\{…\}|data\.source=[\w:-]+|data\.fields\.reasoning=\w+"
    assert re.search(rf"`({keys})`(,| and) `", text)
    why = "mode=eval|rows are held out|the text before the marker|one of them is the training data"
    assert re.search(f"cannot be combined: ({why})", text)
