import pytest
from flax import nnx
from pydantic import ValidationError

from tests.composing import composed, options
from tests.models.families.gemma.toys import gemma_config
from tunix_exp.config import RunConfig, validate
from tunix_exp.errors import UserError
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.families.gemma.config import GemmaConfig


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        ({"num_key_heads": 3}, "num_key_heads", "`num_key_heads=3` and `num_heads=4` cannot be combined"),
        ({"head_width": 7}, "head_width", "multiple of 2"),
        (
            {"window": None},
            "window",
            "`window=null` and `global_every=2` cannot be combined",
        ),
        (
            {"rope_local_base": None},
            "rope_local_base",
            "`rope_local_base=null` and `global_every=2`",
        ),
        ({"global_every": 1}, "window", "`window=3` and `global_every=1` cannot be combined"),
    ],
)
def test_a_contradiction_is_refused_at_its_key(changes, key, text):
    with pytest.raises(ValidationError, match=text) as caught:
        gemma_config("gemma2", **changes)
    assert (key,) in [fault["loc"] for fault in caught.value.errors()]


def test_heads_need_not_divide_the_width():
    config = gemma_config("gemma", width=10, num_heads=4)
    assert config.width % config.num_heads


@pytest.mark.parametrize(
    ("global_every", "is_global"), [(1, [True] * 4), (2, [False, True] * 2), (6, [False] * 4)]
)
def test_every_nth_layer_is_global(global_every, is_global):
    changes = {"window": None, "rope_local_base": None} if global_every == 1 else {}
    config = gemma_config("gemma2", global_every=global_every, **changes)
    assert [config.is_global(layer) for layer in range(4)] == is_global


# Published by the Hub as the number of stored parameters.
PARAMETERS = {
    "gemma2b": 2_506_172_416,
    "gemma-2b": 2_506_172_416,
    "gemma2b-it": 2_506_172_416,
    "gemma2-2b": 2_614_341_888,
    "gemma2-2b-it": 2_614_341_888,
    "gemma2-9b": 9_241_705_984,
    "gemma2-9b-it": 9_241_705_984,
    "gemma3-270m": 268_098_176,
    "gemma3-1b": 999_885_952,
    "gemma3-1b-it": 999_885_952,
}
TINY = ("tiny-gemma", "tiny-gemma2", "tiny-gemma3")


def run_config(*overrides: str) -> RunConfig:
    return validate(composed(*overrides))


def test_the_options_were_found():
    found = {name for name in options("model") if "gemma" in name and "recurrent" not in name}
    assert found == {*PARAMETERS, *TINY}


@pytest.mark.parametrize("option", PARAMETERS)
def test_a_published_model_has_as_many_parameters_as_published(option):
    config = run_config(f"model={option}").model
    model = abstract(config, param_dtype="bfloat16", compute_dtype="bfloat16")
    assert parameter_count(nnx.state(model)) == PARAMETERS[option]
    assert config.weights == config.tokenizer
    assert (config.layer_loop, config.remat) == ("scan", "auto")


def test_a_model_is_known_by_the_hub_s_name_too():
    assert run_config("model=gemma-2b") == run_config("model=gemma2b")


def test_the_bare_command_trains_on_dev_reasoning_and_evaluates_on_eval_and_the_command_line_wins():
    config = run_config("model=gemma2b", "device=tpu")
    assert (config.data.name, config.eval.name, config.mode.name) == ("dev-reasoning-v2", "eval-v2", "full")
    assert config.name == "gemma2b-dev-reasoning-v2"
    config = run_config("model=gemma2b", "device=tpu", "data=gsm8k", "eval=eval-v1")
    assert (config.data.name, config.eval.name) == ("gsm8k", "eval-v1")


@pytest.mark.parametrize("option", TINY)
def test_a_tiny_model_needs_no_network_and_its_window_is_shorter_than_its_positions(option):
    config = run_config(f"model={option}").model
    assert isinstance(config, GemmaConfig)
    assert (config.weights, config.tokenizer) == ("random", "bundled:bytes")
    assert config.window is None or config.window < config.num_positions / 4


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("model.num_key_heads=3", "`model.num_key_heads=3` and `model.num_heads=8` cannot be combined"),
        (
            "model.global_every=2",
            "`model.window=null` and `model.global_every=2` cannot be combined: it is of",
        ),
    ],
)
def test_a_contradiction_is_told_with_the_key_that_was_typed(override, text):
    with pytest.raises(UserError) as caught:
        run_config("model=gemma2b", override)
    assert text in str(caught.value)
