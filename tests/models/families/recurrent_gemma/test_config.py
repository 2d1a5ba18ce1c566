import pytest
from flax import nnx
from pydantic import ValidationError

from tests.composing import composed, options
from tests.models.families.recurrent_gemma.toys import recurrent_config
from tunix_exp.config import RunConfig, validate
from tunix_exp.errors import UserError
from tunix_exp.models.architecture import abstract
from tunix_exp.models.digest import parameter_count
from tunix_exp.models.families.recurrent_gemma.config import RecurrentGemmaConfig

PUBLISHED = ("recurrentgemma-2b", "recurrentgemma-2b-it")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"num_key_heads": 3}, "`num_key_heads=3` and `num_heads=4` cannot be combined"),
        ({"rotated_share": 0.4}, "`rotated_share=0.4` and `head_width=8` cannot be combined: 3 channels"),
        ({"rotated_share": 0.1}, "`rotated_share=0.1` and `head_width=8` cannot be combined: 0 channels"),
        ({"recurrence_width": 22}, "`recurrence_width=22` and `num_heads=4` cannot be combined"),
        ({"block_types": ()}, "at least 1 item"),
        ({"block_types": ("global",)}, "'recurrent' or 'attention'"),
    ],
)
def test_a_contradiction_is_refused(changes, text):
    with pytest.raises(ValidationError, match=text):
        recurrent_config(**changes)


def test_kinds_of_blocks_come_round_and_stop_with_the_layers():
    kinds = recurrent_config(num_layers=5).kinds
    assert kinds == ("recurrent", "recurrent", "attention", "recurrent", "recurrent")
    assert recurrent_config(num_layers=2, block_types=["attention"]).kinds == ("attention", "attention")


def run_config(*overrides: str) -> RunConfig:
    return validate(composed(*overrides))


def test_the_options_were_found():
    found = {name for name in options("model") if "recurrent" in name}
    assert found == {*PUBLISHED, "tiny-recurrentgemma"}


@pytest.mark.parametrize("option", PUBLISHED)
def test_a_published_model_has_as_many_parameters_as_published(option):
    config = run_config(f"model={option}", "device=cpu")
    model = abstract(config.model, param_dtype="bfloat16", compute_dtype="bfloat16")
    # 26 blocks of 2560 channels (18 recurrent, 8 of attention) and the table, by the names and shapes of
    # transformers.RecurrentGemmaForCausalLM with intermediate_size 15360 and one key head.
    assert parameter_count(nnx.state(model)) == 2_682_862_080
    assert config.model.weights == config.model.tokenizer
    assert (config.model.layer_loop, config.model.remat) == ("scan", "auto")
    assert (config.data.name, config.eval.name) == ("dev-reasoning-v2", "eval-v2")
    assert config.data.template.chat == ("gemma" if option.endswith("-it") else "none")


def test_the_tiny_model_needs_no_network_and_its_window_is_shorter_than_its_positions():
    config = run_config("model=tiny-recurrentgemma").model
    assert isinstance(config, RecurrentGemmaConfig)
    assert (config.weights, config.tokenizer) == ("random", "bundled:bytes")
    assert config.window < config.num_positions / 4
    assert config.num_layers % len(config.block_types)


def test_a_contradiction_is_told_with_the_key_that_was_typed():
    with pytest.raises(UserError) as caught:
        run_config("model=recurrentgemma-2b", "device=cpu", "model.recurrence_width=2561")
    assert "`model.recurrence_width=2561` and `model.num_heads=10` cannot be combined" in str(caught.value)
