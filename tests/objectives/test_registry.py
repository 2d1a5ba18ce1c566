"""What every registered objective says, and that what it says fits."""

import jax
import pytest

from tests.composing import composed
from tests.objectives.registering import registered
from tests.training.toy import MODEL, toy
from tunix_exp.config import known_keys, validate
from tunix_exp.errors import UserError
from tunix_exp.models.adapter import NoAdapterConfig
from tunix_exp.objectives import registry
from tunix_exp.objectives.objective import Held
from tunix_exp.training.config import AdamWConfig
from tunix_exp.training.step import make_step, step_scalars

CHOSEN = {
    "sft": (),
    "unlikelihood": ("+objective.avoid=repetition", "+objective.weight=0.5"),
    "reinforce": ("+objective.beta=0.1",),
}


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with registered("unlikelihood", "reinforce"):
        yield


def chosen(name):
    return validate(composed(f"objective.name={name}", *CHOSEN[name])).objective


def test_every_registered_objective_is_looked_at():
    assert CHOSEN.keys() == registry.PACKAGES.keys()


@pytest.mark.parametrize("name", CHOSEN)
def test_a_step_reports_the_metrics_that_the_objective_describes(name):
    objective = registry.objective(chosen(name))
    assert objective.updates == chosen(name).updates
    rule = validate(composed("optim=adamw")).optim
    assert isinstance(rule, AdamWConfig)
    graphdef, state = toy(rule)
    scalars = step_scalars(rule, NoAdapterConfig(name="none"), objective.scalars, total_steps=1, seed=0)
    held = Held((), objective.kept(state.params, ()))
    step = make_step(graphdef, rule, objective.loss)
    _, metrics = jax.eval_shape(step, state, objective.shapes(4, MODEL.num_positions), scalars, held)
    described = {metric.name for metric in registry.metrics(name)}
    assert "loss" in described
    reported = {"loss", *metrics.own}
    # the host may report more, of how it made a batch
    assert reported == described if objective.collect is None else reported <= described
    assert objective.loss.metrics == registry.metrics(name)


@pytest.mark.parametrize("name", CHOSEN)
def test_equal_configs_share_one_program_and_an_objective_s_kinds_are_found_by_their_file(name):
    one, other = (registry.objective(chosen(name)) for _ in range(2))
    assert one.loss == other.loss
    assert hash(one.loss) == hash(other.loss)
    assert all(one.kind(kind.path) is kind for kind in registry.kinds(name))


def test_a_file_without_a_kind_is_named():
    with pytest.raises(KeyError, match=r"the objective sft gives lines of x\.jsonl, which KINDS does not"):
        registry.objective(chosen("sft")).kind("x.jsonl")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["~objective.name"], "`objective.name` is missing"),
        (["+objective.beta=1"], "`objective.beta` is a key of objective.name=reinforce, and another option"),
        (["objective.name=reinforce", "+objective.bet=1"], "`objective.bet` is not a key — did you mean"),
        (["objective.name=reinforce"], "`objective.beta` is missing"),
        (
            ["objective.name=reinforce", "+objective.beta=-1"],
            "`objective.beta` = -1: input should be greater",
        ),
    ],
)
def test_a_wrong_objective_is_refused_by_key(words, text):
    with pytest.raises(UserError) as caught:
        validate(composed(*words))
    assert text in str(caught.value)


def test_an_unknown_objective_is_refused_with_all_that_there_are():
    with pytest.raises(UserError) as caught:
        validate(composed("objective.name=nonesuch"))
    names = ", ".join(f"'{name}'" for name in registry.PACKAGES)
    assert f"`objective.name` = 'nonesuch': input should be one of {names}\n" in str(caught.value)


def test_its_keys_are_known():
    assert {"objective.name", "objective.beta", "objective.weight"} <= known_keys()


def test_a_run_from_before_there_was_a_choice_was_supervised_fine_tuning():
    assert registry.name_in({"seed": 0}) == "sft"
    assert registry.name_in({"objective": {"name": "unlikelihood"}}) == "unlikelihood"
    assert registry.completed({"seed": 0}) == {"seed": 0, "objective": {"name": "sft"}}
    chosen = {"objective": {"name": "unlikelihood"}}
    assert registry.completed(chosen) is chosen


def test_metrics_of_an_unknown_objective_cannot_be_checked_and_that_is_said():
    (what,) = registry.contradictions("nonesuch", {})
    assert what.startswith("it is of the objective nonesuch, which is none of sft")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"loss": 1.0, "response_tokens": 3, "tokens": 9}, []),
        ({"loss": 1.0, "tokens": 9}, ["has no `response_tokens`"]),
        (
            {"loss": 1.0, "response_tokens": 10, "tokens": 9},
            ["`response_tokens` and `tokens` do not contain"],
        ),
    ],
)
def test_the_metrics_of_fine_tuning_follow_from_each_other(line, says):
    found = list(registry.contradictions("sft", line))
    assert [one[: len(said)] for one, said in zip(found, says, strict=True)] == says
